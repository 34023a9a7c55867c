"""Which addresses a pool may hand out."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipam_operator.domain.layout import WHOLE_NETWORK_TYPES, NetworkFacts, effective_ranges, outside, parts
from ipam_operator.net.ranges import Range, parse_range, size

pytestmark = pytest.mark.unit

ON_LINK, OFF_LINK = "Dynamic", "NAT"


def facts(cidr: str, gateway: str | None = None, *reserved: str) -> NetworkFacts:
    return NetworkFacts(ip_network(cidr), ip_address(gateway) if gateway else None, ranges(*reserved))


def ranges(*texts: str) -> tuple[Range, ...]:
    return tuple(parse_range(text) for text in texts)


def shown(found: tuple[Range, ...]) -> list[str]:
    return [str(one) for one in found]


@pytest.mark.parametrize(
    ("cidr", "on_link", "off_link"),
    [
        ("10.0.0.0/24", "10.0.0.1-10.0.0.254", "10.0.0.0-10.0.0.255"),
        ("10.0.0.128/25", "10.0.0.129-10.0.0.254", "10.0.0.128-10.0.0.255"),
        ("10.0.0.4/30", "10.0.0.5-10.0.0.6", "10.0.0.4-10.0.0.7"),
        ("10.0.0.4/31", "10.0.0.4-10.0.0.5", "10.0.0.4-10.0.0.5"),
        ("10.0.0.4/32", "10.0.0.4", "10.0.0.4"),
        ("2001:db8::/64", "2001:db8::1-2001:db8::ffff:ffff:ffff:ffff", "2001:db8::-2001:db8::ffff:ffff:ffff:ffff"),
        ("2001:db8::/120", "2001:db8::1-2001:db8::ff", "2001:db8::-2001:db8::ff"),
        ("2001:db8::4/127", "2001:db8::4-2001:db8::5", "2001:db8::4-2001:db8::5"),
        ("2001:db8::4/128", "2001:db8::4", "2001:db8::4"),
        ("0.0.0.0/0", "0.0.0.1-255.255.255.254", "0.0.0.0-255.255.255.255"),
        (
            "8000::/1",
            "8000::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "8000::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        ),
    ],
)
def test_whole_network(cidr: str, on_link: str, off_link: str) -> None:
    """A pool without ranges hands out its network less the unusable ends (adversarial D1, D2, D3, D5)."""
    assert [on_link] == shown(effective_ranges(facts(cidr), (), (), ON_LINK))
    assert [off_link] == shown(effective_ranges(facts(cidr), (), (), OFF_LINK))


def test_f1_ipv4_hosts_are_no_ipv6_addresses() -> None:
    """A network that covers ::ffff:0:0/96, where IPv4 hosts have a second name, hands out what is around it."""
    assert shown(effective_ranges(facts("::/64"), (), (), ON_LINK)) == [
        "::1-::fffe:ffff:ffff",
        "::1:0:0:0-::ffff:ffff:ffff:ffff",
    ]


@pytest.mark.parametrize("length", range(24, 33))
def test_sizes_ipv4(length: int) -> None:
    """From /24 to /32: all but two, both of a /31, the one of a /32 (adversarial D1, D2)."""
    found = effective_ranges(facts(f"10.0.0.0/{length}"), (), (), ON_LINK)
    assert size(found) == {31: 2, 32: 1}.get(length, 2 ** (32 - length) - 2)


@pytest.mark.parametrize("length", range(120, 129))
def test_sizes_ipv6(length: int) -> None:
    """From /120 to /128: all but the first, both of a /127, the one of a /128 (adversarial D2, D3)."""
    found = effective_ranges(facts(f"2001:db8::/{length}"), (), (), ON_LINK)
    assert size(found) == {127: 2, 128: 1}.get(length, 2 ** (128 - length) - 1)


def test_ends_are_the_networks() -> None:
    """The unusable ends are those of the network, not of a pool's range (adversarial D1)."""
    middle = effective_ranges(facts("10.0.0.0/24"), ranges("10.0.0.64/26"), (), ON_LINK)
    assert shown(middle) == ["10.0.0.64-10.0.0.127"]
    first = effective_ranges(facts("10.0.0.0/24"), ranges("10.0.0.0/26"), (), ON_LINK)
    assert shown(first) == ["10.0.0.1-10.0.0.63"]
    last = effective_ranges(facts("10.0.0.0/24"), ranges("10.0.0.192/26"), (), ON_LINK)
    assert shown(last) == ["10.0.0.192-10.0.0.254"]


def test_everything_is_taken_away() -> None:
    """Excluded, reserved and gateway addresses are never handed out (adversarial D4)."""
    network = facts("10.0.0.0/28", "10.0.0.1", "10.0.0.2-10.0.0.3", "10.0.0.14")
    found = effective_ranges(network, ranges("10.0.0.0-10.0.0.9", "10.0.0.12/30"), ranges("10.0.0.6"), ON_LINK)
    assert shown(found) == ["10.0.0.4-10.0.0.5", "10.0.0.7-10.0.0.9", "10.0.0.12-10.0.0.13"]


def test_gateway_of_an_off_link_pool() -> None:
    """A gateway is held back from every type of pool."""
    found = effective_ranges(facts("10.0.0.0/30", "10.0.0.0"), (), (), OFF_LINK)
    assert shown(found) == ["10.0.0.1-10.0.0.3"]


def test_nothing_is_left() -> None:
    """A pool may be emptied: no range, no error."""
    assert effective_ranges(facts("10.0.0.4/32", "10.0.0.4"), (), (), ON_LINK) == ()
    assert effective_ranges(facts("10.0.0.0/30"), ranges("10.0.0.0"), (), ON_LINK) == ()


def test_holes_of_the_other_family() -> None:
    """An exclusion of the other family takes nothing away."""
    found = effective_ranges(facts("10.0.0.0/30"), (), ranges("::/0"), ON_LINK)
    assert shown(found) == ["10.0.0.1-10.0.0.2"]


def test_outside() -> None:
    """Asked ranges that leave the network, or its family, are named."""
    asked = ranges("10.0.0.0/25", "10.0.0.250-10.0.1.5", "10.1.0.1", "2001:db8::1")
    assert shown(outside(facts("10.0.0.0/24"), asked)) == ["10.0.0.250-10.0.1.5", "10.1.0.1", "2001:db8::1"]


def test_parts() -> None:
    """A pool takes what it asks for, joined, and the whole network if it asks for nothing."""
    assert shown(parts(facts("10.0.0.0/24"), ())) == ["10.0.0.0-10.0.0.255"]
    asked = ranges("10.0.0.128/25", "10.0.0.0/26", "10.0.0.32-10.0.0.79")
    assert shown(parts(facts("10.0.0.0/24"), asked)) == ["10.0.0.0-10.0.0.79", "10.0.0.128-10.0.0.255"]


octet = st.integers(min_value=0, max_value=255)
span = st.tuples(octet, octet).map(lambda ends: parse_range(f"10.0.0.{min(ends)}-10.0.0.{max(ends)}"))
several = st.lists(span, max_size=5)


@given(several, several, several, octet, st.sampled_from([ON_LINK, "NAT", "Loopback", "VIP"]))
def test_effective_address_by_address(
    asked: list[Range], exclude: list[Range], reserved: list[Range], gateway: int, kind: str
) -> None:
    """The arithmetic agrees with asking for every address of a /24 whether it may be handed out."""
    network = NetworkFacts(ip_network("10.0.0.0/24"), ip_address(f"10.0.0.{gateway}"), tuple(reserved))
    found = effective_ranges(network, asked, exclude, kind)
    for one in network.cidr:
        taken = any(one in hole for hole in (*exclude, *reserved)) or one == network.gateway
        end = kind not in WHOLE_NETWORK_TYPES and one in {network.cidr[0], network.cidr[-1]}
        wanted = not asked or any(one in part for part in asked)
        assert (wanted and not taken and not end) == any(one in part for part in found)

"""Addresses and networks against the standard library."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipam_operator.net.cidr import address, parse_address, parse_network, usable_hosts

pytestmark = pytest.mark.unit

V4 = st.builds(IPv4Address, st.integers(min_value=0, max_value=2**32 - 1))
V6 = st.builds(IPv6Address, st.integers(min_value=2**48, max_value=2**128 - 1) | st.integers(0, 2**32 - 1))
"""Not from `::ffff:0:0/96`, which is IPv4 in disguise."""


@given(V4 | V6)
def test_canonical_address_is_read(ip: IPv4Address | IPv6Address) -> None:
    """Whatever the standard library prints is read as the same address."""
    assert ip == parse_address(str(ip))


@given(V6.map(lambda ip: ip.exploded))
def test_other_spellings_are_shown_the_right_one(text: str) -> None:
    """A spelling that is not canonical is refused with the canonical one."""
    canonical = str(ip_address(text))
    if text == canonical:
        assert str(parse_address(text)) == canonical
        return
    with pytest.raises(ValueError, match=f"must be written as {canonical}$"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10.0.0.010", "no leading zeros: 10.0.0.10"),
        ("2001:DB8::1", "must be written as 2001:db8::1"),
        ("2001:db8:0:0:1::1", "must be written as 2001:db8::1:0:0:1"),
        ("::1.2.3.4", "must be written as ::102:304"),
        ("::ffff:10.0.0.1", "must be written as IPv4: 10.0.0.1"),
        ("::ffff:a00:1", "must be written as IPv4: 10.0.0.1"),
        ("fe80::1%eth0", "without a zone, such as fe80::1"),
        ("10.0.0.256", "must be an IP address, such as"),
        ("10.0.0", "must be an IP address, such as"),
        ("10.0.0.1/32", "must be an IP address, such as"),
        (" 10.0.0.1", "must be an IP address, such as"),
        ("\u0661\u0660.0.0.1", "must be an IP address, such as"),
        ("", "must be an IP address, such as"),
    ],
)
def test_address_refusals(text: str, words: str) -> None:
    """A refused address is told the form that would work (adversarial F1, F2, F3)."""
    with pytest.raises(ValueError, match=words):
        parse_address(text)


@given(V4 | V6, st.integers(min_value=0, max_value=128))
def test_network_needs_no_host_bits(ip: IPv4Address | IPv6Address, length: int) -> None:
    """A canonical CIDR is read; one with host bits is told its network."""
    text = f"{ip}/{min(length, ip.max_prefixlen)}"
    network = ip_network(text, strict=False)
    if str(network) == text:
        assert network == parse_network(text)
        return
    with pytest.raises(ValueError, match=f"must be written as {network}$"):
        parse_network(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("192.168.100.200/28", "must be written as 192.168.100.192/28"),
        ("10.0.0.0/08", "must be written as 10.0.0.0/8"),
        ("10.0.0.010/32", "no leading zeros: 10.0.0.10"),
        ("2001:DB8::/32", "must be written as 2001:db8::/32"),
        ("::ffff:10.0.0.0/120", "must be written as IPv4: 10.0.0.0/24"),
        ("fe80::%eth0/64", "must be a CIDR, such as"),
        ("10.0.0.0/255.0.0.0", "must be a CIDR, such as"),
        ("10.0.0.0/33", "must be a CIDR, such as"),
        ("::/129", "must be a CIDR, such as"),
        ("10.0.0.0/-1", "must be a CIDR, such as"),
        ("10.0.0.0/\u0668", "must be a CIDR, such as"),
        ("10.0.0.0/", "must be a CIDR, such as"),
        ("10.0.0.0", "must be a CIDR, such as"),
        ("", "must be a CIDR, such as"),
    ],
)
def test_network_refusals(text: str, words: str) -> None:
    """A refused CIDR is told the form that would work (adversarial B3)."""
    with pytest.raises(ValueError, match=words):
        parse_network(text)


@given(V4 | V6)
def test_number_and_family_name_an_address(ip: IPv4Address | IPv6Address) -> None:
    """An address comes back from its number, also a small IPv6 one."""
    assert ip == address(int(ip), ip.version)


@pytest.mark.parametrize("length", range(33))
def test_usable_hosts_ipv4(length: int) -> None:
    """IPv4 hosts are all but the two ends; both in a /31, one in a /32 (adversarial D1, D2)."""
    network = IPv4Network((0, length))
    first, last = usable_hosts(network)
    count = int(last) - int(first) + 1
    assert count == {31: 2, 32: 1}.get(length, network.num_addresses - 2)
    assert first in network
    assert last in network
    if length >= 24:
        hosts = list(network.hosts())
        assert (first, last) == (hosts[0], hosts[-1])


@pytest.mark.parametrize("length", range(129))
def test_usable_hosts_ipv6(length: int) -> None:
    """IPv6 hosts are all but the first; both in a /127, one in a /128 (adversarial D2, D3)."""
    network = IPv6Network((0, length))
    first, last = usable_hosts(network)
    count = int(last) - int(first) + 1
    assert count == {127: 2, 128: 1}.get(length, network.num_addresses - 1)
    if length >= 120:
        hosts = list(network.hosts())
        assert (first, last) == (hosts[0], hosts[-1])


@pytest.mark.parametrize(
    ("cidr", "first", "last"),
    [
        ("10.0.0.0/24", "10.0.0.1", "10.0.0.254"),
        ("10.0.0.4/30", "10.0.0.5", "10.0.0.6"),
        ("10.0.0.4/31", "10.0.0.4", "10.0.0.5"),
        ("10.0.0.7/32", "10.0.0.7", "10.0.0.7"),
        ("2001:db8::/64", "2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"),
        ("2001:db8::4/126", "2001:db8::5", "2001:db8::7"),
        ("2001:db8::4/127", "2001:db8::4", "2001:db8::5"),
        ("2001:db8::7/128", "2001:db8::7", "2001:db8::7"),
        ("255.255.255.252/30", "255.255.255.253", "255.255.255.254"),
    ],
)
def test_usable_hosts_table(cidr: str, first: str, last: str) -> None:
    """The same by name, at the sizes where others were off by one."""
    assert (first, last) == tuple(map(str, usable_hosts(parse_network(cidr))))

"""Set arithmetic of ranges against plain sets of numbers, and against the standard library."""

import time
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, collapse_addresses, summarize_address_range
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipam_operator.net.cidr import Address, address
from ipam_operator.net.ranges import Range, largest_block, merge, parse_ends, parse_range, size, subtract

pytestmark = pytest.mark.unit

# Windows at both ends of the space of each family: small enough for plain sets, and where carrying breaks.
ORIGINS = {4: (0, 2**24 - 32, 2**32 - 64), 6: (0, 2**64 - 32, 2**128 - 64)}


@st.composite
def two_sets(draw: st.DrawFn) -> tuple[list[Range], list[Range]]:
    version = draw(st.sampled_from([4, 6]))
    origin = draw(st.sampled_from(ORIGINS[version]))

    def one(ends: tuple[int, int]) -> Range:
        return Range(address(origin + min(ends), version), address(origin + max(ends), version))

    offsets = st.integers(min_value=0, max_value=63)
    several = st.lists(st.tuples(offsets, offsets).map(one), max_size=6)
    return draw(several), draw(several)


def numbers(ranges: tuple[Range, ...] | list[Range]) -> set[int]:
    return {number for one in ranges for number in range(int(one.first), int(one.last) + 1)}


def is_a_set(ranges: tuple[Range, ...]) -> bool:
    return all(int(low.last) + 1 < int(high.first) for low, high in pairwise(ranges))


@given(two_sets())
def test_merge(sets: tuple[list[Range], list[Range]]) -> None:
    """Merged ranges hold the same addresses, sorted, apart, and in the fewest pieces."""
    merged = merge(sets[0])
    assert numbers(sets[0]) == numbers(merged)
    assert is_a_set(merged)
    assert len(numbers(merged)) == size(merged)
    assert merged == merge(merged)


@given(two_sets())
def test_subtract(sets: tuple[list[Range], list[Range]]) -> None:
    """What is left holds what is in the first and not in the second, as a set."""
    left = subtract(*sets)
    assert numbers(sets[0]) - numbers(sets[1]) == numbers(left)
    assert is_a_set(left)


@given(two_sets())
def test_tiling(sets: tuple[list[Range], list[Range]]) -> None:
    """What is left and what was cut tile the whole, to the last address."""
    left = subtract(*sets)
    cut = subtract(sets[0], left)
    assert merge(sets[0]) == merge([*left, *cut])
    assert size(left) + size(cut) == size(merge(sets[0]))


@given(two_sets())
def test_largest_block(sets: tuple[list[Range], list[Range]]) -> None:
    """The largest block is the lowest of the largest into which the standard library cuts the ranges."""
    merged = merge(sets[0])
    blocks = [block for one in merged for block in summarize_address_range(one.first, one.last)]
    expected = min(blocks, key=lambda block: (block.prefixlen, int(block.network_address)), default=None)
    assert expected == largest_block(merged)


def test_largest_block_of_nothing() -> None:
    """Nothing has no block."""
    assert largest_block(()) is None


@given(st.lists(st.integers(min_value=0, max_value=255), max_size=20))
def test_networks_merge_as_they_collapse(octets: list[int]) -> None:
    """Networks merge into what the standard library collapses them to."""
    networks = [IPv4Network((octet << 24, 8)) for octet in octets]
    collapsed = merge(Range.of(network) for network in collapse_addresses(networks))
    assert collapsed == merge(Range.of(network) for network in networks)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("10.0.0.5", "10.0.0.5", "10.0.0.5"),
        ("10.0.0.5-10.0.0.9", "10.0.0.5", "10.0.0.9"),
        ("10.0.0.5-10.0.0.5", "10.0.0.5", "10.0.0.5"),
        ("10.0.0.0/30", "10.0.0.0", "10.0.0.3"),
        ("0.0.0.0/0", "0.0.0.0", "255.255.255.255"),  # noqa: S104 - an address, nothing is bound
        ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ("2001:db8::-2001:db8::ff", "2001:db8::", "2001:db8::ff"),
    ],
)
def test_forms(text: str, first: str, last: str) -> None:
    """An address, a range and a CIDR name their ends, both included (adversarial D1, D5)."""
    one = parse_range(text)
    assert (first, last) == (str(one.first), str(one.last))
    assert one == parse_range(str(one))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10.0.0.9-10.0.0.5", "must start at its lower end: 10.0.0.5-10.0.0.9"),
        ("10.0.0.1-2001:db8::1", "must stay within one family"),
        ("10.0.0.1-9", "must be an IP address, such as"),
        ("10.0.0.1-10.0.0.2-10.0.0.3", "must be an IP address, such as"),
        ("10.0.0.1 - 10.0.0.9", "must be an IP address, such as"),
        ("-10.0.0.1", "must be an IP address, such as"),
        ("10.0.0.1-", "must be an IP address, such as"),
        ("10.0.0.1/24", "must be written as 10.0.0.0/24"),
        ("10.0.0.0/24-10.0.1.0/24", "must be a CIDR"),
        ("", "must be an IP address, such as"),
    ],
)
def test_refusals(text: str, words: str) -> None:
    """A refused range is told the form that would work."""
    with pytest.raises(ValueError, match=words):
        parse_range(text)


def test_ends_may_be_in_any_order() -> None:
    """Ends are judged one by one: which is lower is a later question."""
    assert parse_ends("10.0.0.9-10.0.0.5") == (IPv4Address("10.0.0.9"), IPv4Address("10.0.0.5"))


def test_families_do_not_mix() -> None:
    """A range stays within one family, holds only its own, and covers only its own."""
    with pytest.raises(ValueError, match="must stay within one family"):
        Range(IPv4Address(1), IPv6Address(2))
    assert IPv6Address(1) not in Range(IPv4Address(0), IPv4Address(9))
    assert not Range.of(IPv4Network("0.0.0.0/0")).covers(Range.of(IPv6Network("::1/128")))


@given(two_sets())
def test_covers_is_no_remainder(sets: tuple[list[Range], list[Range]]) -> None:
    """One range covers another exactly if nothing of the other is left outside."""
    for outer in sets[0]:
        for inner in sets[1]:
            assert outer.covers(inner) == (subtract([inner], [outer]) == ())
            assert (inner.first in outer) == outer.covers(Range(inner.first, inner.first))


def test_huge_costs_nothing() -> None:
    """The whole of IPv6 less some addresses takes no time: nothing walks addresses (adversarial E1, E2)."""
    began = time.perf_counter()
    middle: Address = IPv6Address("8000::1")
    left = subtract([Range.of(IPv6Network("::/0"))], [Range(middle, middle)])
    assert size(left) == 2**128 - 1
    assert str(largest_block(left)) == "::/1"
    assert time.perf_counter() - began < 0.05

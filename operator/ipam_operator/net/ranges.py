"""Inclusive address ranges and their set arithmetic, without walking addresses.

A *set* of ranges is a tuple that is sorted, disjoint, without adjacent neighbours, and of one family.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from ipam_operator.net.cidr import (
    IPV4_MAPPED,
    Address,
    Network,
    address,
    parse_address,
    parse_network,
    usable_hosts,
)


@dataclass(frozen=True, slots=True)
class Range:
    """`first` to `last`, both included, both of one family."""

    first: Address
    last: Address

    def __post_init__(self) -> None:
        if self.first.version != self.last.version:
            raise ValueError(f"{self.first}-{self.last} must stay within one family, IPv4 or IPv6")
        if int(self.first) > int(self.last):
            raise ValueError(f"{self.first}-{self.last} must start at its lower end: {self.last}-{self.first}")

    @classmethod
    def of(cls, network: Network) -> "Range":
        """All addresses of a network."""
        return cls(network.network_address, network.broadcast_address)

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.first.version

    @property
    def size(self) -> int:
        """Number of addresses."""
        return int(self.last) - int(self.first) + 1

    def covers(self, other: "Range") -> bool:
        """Whether `other` lies inside."""
        return (
            self.version == other.version and int(self.first) <= int(other.first) and int(other.last) <= int(self.last)
        )

    def __contains__(self, item: Address) -> bool:
        """Whether the address lies inside."""
        return item.version == self.version and int(self.first) <= int(item) <= int(self.last)

    def __str__(self) -> str:
        """`a`, or `a-b`: the form that specs accept."""
        return str(self.first) if self.first == self.last else f"{self.first}-{self.last}"


def parse_ends(text: str) -> tuple[Address, Address]:
    """The two ends that `a`, `a-b` or a CIDR names, each canonical and both of one family, in the order given.

    Raises:
        ValueError: with the form that would have worked.
    """
    if "/" in text:
        network = parse_network(text)
        return network.network_address, network.broadcast_address
    start, dash, end = text.partition("-")
    first, last = parse_address(start), parse_address(end if dash else start)
    if first.version != last.version:
        raise ValueError(f"{text!r} must stay within one family, IPv4 or IPv6")
    return first, last


def parse_range(text: str) -> Range:
    """`a`, `a-b` or a CIDR, each canonical.

    Raises:
        ValueError: with the form that would have worked.
    """
    return Range(*parse_ends(text))


def merge(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The set of all addresses in `ranges`, which may overlap but are of one family."""
    merged: list[Range] = []
    for one in sorted(ranges, key=lambda r: (int(r.first), int(r.last))):
        if merged and int(one.first) <= int(merged[-1].last) + 1:
            if int(one.last) > int(merged[-1].last):
                merged[-1] = Range(merged[-1].first, one.last)
        else:
            merged.append(one)
    return tuple(merged)


def subtract(ranges: Iterable[Range], holes: Iterable[Range]) -> tuple[Range, ...]:
    """The set of addresses in `ranges` and not in `holes`."""
    cuts, left = merge(holes), list[Range]()
    for one in merge(ranges):
        start, end, version = int(one.first), int(one.last), one.version
        for cut in cuts:
            if int(cut.last) < start or int(cut.first) > end or cut.version != version:
                continue
            if int(cut.first) > start:
                left.append(Range(address(start, version), address(int(cut.first) - 1, version)))
            start = int(cut.last) + 1
        if start <= end:
            left.append(Range(address(start, version), address(end, version)))
    return tuple(left)


def size(ranges: Iterable[Range]) -> int:
    """Number of addresses in a set of ranges."""
    return sum(one.size for one in ranges)


def largest_block(ranges: Sequence[Range]) -> Network | None:
    """The largest aligned CIDR that lies wholly inside one of `ranges`; the lowest of equals; None without ranges."""
    best: Network | None = None
    for one in ranges:
        block = _largest_in(one)
        if best is None or block.prefixlen < best.prefixlen:
            best = block
    return best


def _largest_in(one: Range) -> Network:
    first, last = int(one.first), int(one.last)
    width = one.first.max_prefixlen
    for bits in range(one.size.bit_length() - 1, -1, -1):
        start = -(-first >> bits) << bits
        if start + (1 << bits) - 1 <= last:
            kind = IPv4Network if one.version == 4 else IPv6Network
            return kind((start, width - bits))
    raise AssertionError("a range holds at least one address")


def hosts(network: Network, *, whole: bool = False) -> tuple[Range, ...]:
    """The set of addresses that hosts of this network may use.

    With `whole` also its ends, which `usable_hosts` leaves out. Never those of ::ffff:0:0/96, which name IPv4 hosts
    (RFC 4291 section 2.5.5.2).
    """
    ends = Range.of(network) if whole else Range(*usable_hosts(network))
    return subtract([ends], [Range.of(IPV4_MAPPED)])

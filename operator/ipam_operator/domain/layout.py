"""Which addresses a pool may hand out: pure arithmetic on what the network and the pool ask for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ipam_operator.net import ranges as sets
from ipam_operator.net.cidr import Address, Network
from ipam_operator.net.ranges import Range

WHOLE_NETWORK_TYPES: Final = frozenset({"NAT", "Loopback"})
"""Pool types whose addresses are not hosts on the network's link: its ends are usable too."""


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What of a network decides which addresses its pools may hand out."""

    cidr: Network
    gateway: Address | None = None
    reserved: tuple[Range, ...] = ()


def parts(network: NetworkFacts, asked: Sequence[Range]) -> tuple[Range, ...]:
    """The space that a pool takes from its network, exclusively: what it asks for, or all of it."""
    return sets.merge(asked) if asked else (Range.of(network.cidr),)


def outside(network: NetworkFacts, asked: Sequence[Range]) -> tuple[Range, ...]:
    """The asked ranges that do not lie inside the network."""
    whole = Range.of(network.cidr)
    return tuple(one for one in asked if not whole.covers(one))


def effective_ranges(
    network: NetworkFacts, asked: Sequence[Range], exclude: Sequence[Range], pool_type: str, *, prefixes: bool = False
) -> tuple[Range, ...]:
    """What the pool may hand out: asked - excluded - reserved - gateway - unusable ends of the *network*.

    Prefixes are links of their own, or routed to one, so that the ends of the network are usable in them.
    """
    holes = [one for one in (*exclude, *network.reserved) if one.version == network.cidr.version]
    if network.gateway is not None:
        holes.append(Range(network.gateway, network.gateway))
    hosts = sets.hosts(network.cidr, whole=prefixes or pool_type in WHOLE_NETWORK_TYPES)
    holes.extend(sets.subtract([Range.of(network.cidr)], hosts))
    return sets.subtract(parts(network, asked), holes)

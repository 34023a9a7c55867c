"""Counts of addresses, and what they mean. Pure; numbers that may exceed 2^53 become strings only at the edge."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from ipam_operator.domain.model import ObjectRef
from ipam_operator.net import ranges as sets
from ipam_operator.net.cidr import Address, Network
from ipam_operator.net.ranges import Range, largest_block


def percent(used: int, total: int) -> str:
    """`used` of `total` in percent, with at most two decimals, rounded down: 100 means all of it."""
    if total <= 0:
        return "0"
    hundredths = used * 10_000 // total
    return f"{hundredths // 100}.{hundredths % 100:02}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class PoolCount:
    """Counters of one pool, from the store."""

    uid: UUID
    ref: ObjectRef
    network: str
    paused: bool
    size: int
    free: int
    cooling: int
    waiting: int
    largest: tuple[Range, ...]
    """The largest free ranges."""
    ranges: tuple[str, ...]
    retained: int = 0
    """Of those that cool: kept for claims that are gone."""
    unlent: Mapping[str, int] = field(default_factory=dict)
    """Addresses held by claims of other namespaces without consent; those namespaces that hold most."""

    @property
    def allocated(self) -> int:
        """Held addresses; by the tiling invariant, what is neither free nor cooling."""
        return self.size - self.free - self.cooling

    @property
    def state(self) -> str:
        """Ready, Exhausted or Paused."""
        if self.paused:
            return "Paused"
        return "Exhausted" if self.free == 0 else "Ready"

    @property
    def largest_free_block(self) -> str | None:
        """The largest aligned free CIDR, which need not lie in the largest range."""
        block = largest_block(self.largest)
        return None if block is None else str(block)


@dataclass(frozen=True, slots=True)
class NetworkCount:
    """Counters of one network, from the store."""

    uid: UUID
    cidr: Network
    address_space: str
    pools: int
    pool_size: int
    free: int
    cooling: int
    reserved: tuple[Range, ...] = ()
    gateway: Address | None = None

    @property
    def usable(self) -> int:
        """Addresses that hosts may use, and those at the network's ends that its NAT and loopback pools hand out."""
        return max(sets.size(sets.hosts(self.cidr)), self.pool_size + self.reserved_size)

    @property
    def reserved_size(self) -> int:
        """Usable addresses that are never handed out: `spec.reserved` and the gateway."""
        kept = [*self.reserved] + ([] if self.gateway is None else [Range(self.gateway, self.gateway)])
        whole = sets.hosts(self.cidr)
        return sets.size(whole) - sets.size(sets.subtract(whole, kept))

    @property
    def allocated(self) -> int:
        """Held addresses of all pools."""
        return self.pool_size - self.free - self.cooling

    @property
    def unassigned(self) -> int:
        """Usable addresses that are neither held, reserved nor cooling."""
        return max(0, self.usable - self.allocated - self.reserved_size - self.cooling)

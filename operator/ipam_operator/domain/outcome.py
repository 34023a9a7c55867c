"""Answers. Every refusal is one of these values, with the words a user will read."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ipam_operator.domain.model import Identity, ObjectRef
from ipam_operator.net.cidr import Address, AddressOrPrefix


class Reason(StrEnum):
    """The closed set of condition reasons (design section 2)."""

    ALLOCATED = "Allocated"
    RESERVED = "Reserved"
    READY = "Ready"
    POOL_EXHAUSTED = "PoolExhausted"
    QUEUED = "Queued"
    POOL_PAUSED = "PoolPaused"
    POOL_NOT_FOUND = "PoolNotFound"
    POOL_AMBIGUOUS = "PoolAmbiguous"
    TENANT_ISOLATION = "TenantIsolation"
    QUOTA_EXCEEDED = "QuotaExceeded"
    RATE_LIMITED = "RateLimited"
    NETWORK_NOT_FOUND = "NetworkNotFound"
    STORE_UNAVAILABLE = "StoreUnavailable"
    ADDRESS_CONFLICT = "AddressConflict"
    MAC_CONFLICT = "MacConflict"
    NETWORK_OVERLAP = "NetworkOverlap"
    OUTSIDE_POOL = "OutsidePool"
    INVALID_SPEC = "InvalidSpec"
    INVALID_NETWORK = "InvalidNetwork"
    GATEWAY_CONFLICT = "GatewayConflict"
    RESERVATION_NOT_FOUND = "ReservationNotFound"
    SHRINK_REFUSED = "ShrinkRefused"
    EXPIRED_ALLOCATION = "ExpiredAllocation"
    IN_USE = "InUse"
    DELETING = "Deleting"


HEALS_BY_ITSELF = frozenset(
    {
        Reason.POOL_EXHAUSTED,
        Reason.QUEUED,
        Reason.POOL_PAUSED,
        Reason.POOL_NOT_FOUND,
        Reason.QUOTA_EXCEEDED,
        Reason.RATE_LIMITED,
        Reason.NETWORK_NOT_FOUND,
        Reason.STORE_UNAVAILABLE,
        Reason.IN_USE,
        Reason.DELETING,
    }
)
"""Reasons shown as `Reconciling`; every other refusal is `Stalled`: only the user can help."""


@dataclass(frozen=True, slots=True)
class Block:
    """What a host needs beside its address to use it."""

    family: int
    """4 or 6."""
    prefix_length: int
    """Of the network, or of the prefixes that the claim holds."""
    gateway: Address | None
    dns_servers: tuple[Address, ...]
    pool: ObjectRef | None = None
    """None: that of the whole grant."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The claim holds `addresses`, in ordinal order, IPv4 before IPv6."""

    claim: Identity
    pool: ObjectRef
    addresses: tuple[AddressOrPrefix, ...]
    lease_generation: int
    allocated_at: datetime
    block: Block
    shares_key_with: str | None = None
    """Name of another live claim of the namespace with the same sticky key."""
    mac: str | None = None
    expires_at: datetime | None = None
    """None: the claim holds until it is deleted."""
    reserved: bool = False
    """Until then only, unless it is confirmed or taken over."""
    second: Block | None = None
    """Beside `block`, which is IPv4's then, IPv6's."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """One for each family."""
        return (self.block,) if self.second is None else (self.block, self.second)


@dataclass(frozen=True, slots=True)
class Refused:
    """The object has nothing (or keeps what it had); `message` says what would work."""

    subject: Identity
    reason: Reason
    message: str
    queue_position: int | None = None
    """1 is the head of the pool's queue; only for claims that wait."""
    ended: bool = False
    """What it held, and shows, has just ended, because its spec asks for something else."""


@dataclass(frozen=True, slots=True)
class Vanished:
    """The claim was deleted before it was answered: nobody is left to tell."""

    claim: Identity


ClaimOutcome = Granted | Refused | Vanished


@dataclass(frozen=True, slots=True)
class Accepted:
    """A network or pool is in service with its newest spec."""

    subject: Identity


@dataclass(frozen=True, slots=True)
class Held:
    """A deletion must wait: `holders` is a bounded sample of the `total` that hold it."""

    subject: Identity
    total: int
    holders: tuple[ObjectRef, ...]

    @property
    def words(self) -> str:
        """The holders; of other namespaces only the namespace, as a pool's owner knows no more of its guests."""
        own = self.subject.ref.namespace
        known = (ref.name if ref.namespace == own else f"some of namespace {ref.namespace}" for ref in self.holders)
        return ", ".join(dict.fromkeys(known))


@dataclass(frozen=True, slots=True)
class Removed:
    """The object is no longer in the store."""

    subject: Identity

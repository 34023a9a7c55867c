"""What users ask for, in our own words: frozen values, already checked for shape."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from ipam_operator.net.cidr import Address, Network
from ipam_operator.net.ranges import Range


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """A namespaced object by name; its kind follows from where it stands."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """`namespace/name`, as kubectl users write it."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Identity:
    """One object of the cluster: the UID owns, the name only addresses (design rule 5)."""

    uid: UUID
    ref: ObjectRef
    generation: int
    """`metadata.generation` of the spec this value was made from."""


class Strategy(StrEnum):
    """Where in the free space a pool looks first."""

    FIRST_FREE = "FirstFree"
    RANDOM = "Random"
    LEAST_RECENTLY_USED = "LeastRecentlyUsed"


@dataclass(frozen=True, slots=True)
class NetworkRequest:
    """An IPNetwork as asked for: a root of the address space (namespace, vrf)."""

    identity: Identity
    vrf: str
    cidr: Network
    type: str
    gateway: Address | None = None
    dns_servers: tuple[Address, ...] = ()
    reserved: tuple[Range, ...] = ()


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """An IPPool as asked for; no `ranges` means the whole network."""

    identity: Identity
    network: ObjectRef
    type: str
    ranges: tuple[Range, ...] = ()
    exclude: tuple[Range, ...] = ()
    strategy: Strategy = Strategy.FIRST_FREE
    cool_down: timedelta = timedelta(minutes=5)
    paused: bool = False
    default_lease: timedelta | None = None
    """Of claims that ask for no lease; None: those hold until they are deleted."""
    max_lease: timedelta | None = None
    """Longer leases are cut to this one; claims without any are not touched."""


@dataclass(frozen=True, slots=True)
class ClaimDetail:
    """What people want to find an address by later."""

    hostname: str = ""
    assigned_to: str = ""
    description: str = ""
    sticky_key: str = ""
    """Instead of the name, what tells that a later claim of the namespace is this one come again."""
    priority: int = 0
    """In the queue, higher first."""


@dataclass(frozen=True, slots=True)
class Term:
    """How long a claim wants to hold."""

    lease: timedelta | None = None
    """None: as the pool has it."""
    renewed_at: datetime | None = None
    """Another one than before begins the lease anew. Its value is compared with no clock."""


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """An IPClaim as asked for. `wanted` only with `count` 1."""

    identity: Identity
    pool: ObjectRef
    count: int = 1
    wanted: Address | None = None
    detail: ClaimDetail | None = None
    actor: str = "unknown"
    """Who asked, as admission recorded it; `unknown` rather than a guess."""
    term: Term | None = None


@dataclass(frozen=True, slots=True)
class Promise:
    """What a claim's status says of how long it holds."""

    uid: UUID
    generation: int
    """`status.observedGeneration`: of the spec that the status answers."""
    until: datetime
    term: Term | None = None
    """As that spec asks for it; None where the spec is not known any more, or was not acted upon."""


@dataclass(frozen=True, slots=True)
class Release:
    """The end of a claim. `lease_generation` None releases whatever the UID holds."""

    uid: UUID
    lease_generation: int | None = None
    actor: str = "unknown"
    deleted: bool = True
    """The object is gone for good: the store refuses to serve this UID again."""

"""What users ask for, in our own words: frozen values, already checked for shape."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final, Self
from uuid import UUID

from ipam_operator.net.cidr import Address, AddressOrPrefix, Network
from ipam_operator.net.ranges import Range

_PLACE_LIMIT: Final = 400
"""Characters of a queue's name that stays readable; an index entry of PostgreSQL has room for some 2,700 bytes."""


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """A namespaced object by name; its kind follows from where it stands."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """`namespace/name`, as kubectl users write it."""
        return f"{self.namespace}/{self.name}"

    def seen_from(self, namespace: str) -> str:
        """The bare name within its namespace, `namespace/name` elsewhere."""
        return self.name if self.namespace == namespace else str(self)

    @classmethod
    def read(cls, text: str, namespace: str) -> Self:
        """What `seen_from(namespace)` wrote."""
        there, _, name = text.rpartition("/")
        return cls(there or namespace, name)


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


class Fit(StrEnum):
    """Which free prefix a shorter one is cut out of."""

    FIRST = "FirstFit"
    """That of the lowest address."""
    BEST = "BestFit"
    """The smallest."""


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What a pool hands out that hands out prefixes, by their lengths in bits."""

    lengths: tuple[int, ...]
    default: int
    """Of claims that do not say; one of `lengths`."""
    fit: Fit = Fit.BEST


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
class Consent:
    """Whose claims a pool serves beside those of its own namespace."""

    source: str = "Same"
    """Same: nobody's. All: everybody's. Selector: those of namespaces whose labels `selector` selects."""
    selector: Mapping[str, Any] = field(default_factory=dict)
    """A metav1.LabelSelector."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Which pools a claim may come from, when it does not name one."""

    namespace: str
    """Of the pools."""
    tenant: str
    """The claim's namespace, which they must lend to."""
    labels: tuple[tuple[str, str], ...] = ()
    type: str | None = None
    network: str | None = None
    family: int | None = None
    """4 or 6; None: whatever the network has."""
    length: int | None = None
    """Of the prefixes that they hand out, in bits; None: they hand out addresses."""
    dual: bool = False
    """Addresses of both families are asked for, of one pool each; `family` is None."""

    @property
    def place(self) -> ObjectRef:
        """Where claims of this selector queue. The name is none that an object can have."""
        parts = {
            "for": self.tenant,
            "type": self.type,
            "network": self.network,
            "family": self.family,
            "length": self.length,
            "dual": True if self.dual else None,
        }
        known = [f"{name}={value}" for name, value in parts.items() if value is not None]
        words = " ".join([*known, *(f"{name}:{value}" for name, value in self.labels)])
        if len(words) > _PLACE_LIMIT:
            words = sha256(words.encode()).hexdigest()
        return ObjectRef(self.namespace, f"? {words}")


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
    labels: Mapping[str, str] = field(default_factory=dict)
    """What claims select it by."""
    priority: int = 0
    """Among the pools that a claim's selector means, higher first."""
    allowed: Consent = Consent()
    quota: int | None = None
    """Addresses, or prefixes, that claims of one namespace may hold; None: as many as there are."""
    prefixes: Prefixes | None = None
    """None: the pool hands out addresses."""


@dataclass(frozen=True, slots=True)
class ResourceRef:
    """An object of the cluster, of the namespace of whoever names it."""

    api_version: str
    kind: str
    name: str

    def __str__(self) -> str:
        """`apps/v1/Deployment/web`."""
        return f"{self.group_version_kind}/{self.name}"

    @property
    def group_version_kind(self) -> str:
        """`apps/v1/Deployment`."""
        return f"{self.api_version}/{self.kind}"

    @classmethod
    def read(cls, text: str) -> Self:
        """What `str` has written."""
        api_version, kind, name = text.rsplit("/", 2)
        return cls(api_version, kind, name)


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
    retain: bool = False
    """Its addresses are kept for this identity a while when the claim is gone."""
    mac: str = ""
    """Of the interface, in lower case with colons: of one live claim in a network."""
    resource: ResourceRef | None = None
    """What the addresses are for."""
    auto_renew: bool = False
    """The lease is renewed for as long as `resource` exists."""


@dataclass(frozen=True, slots=True)
class Term:
    """How long a claim wants to hold."""

    lease: timedelta | None = None
    """None: as the pool has it."""
    renewed_at: datetime | None = None
    """Another one than before begins the lease anew. Its value is compared with no clock."""
    reserved: bool = False
    """The claim only reserves: until it says otherwise, or another one takes its addresses over."""


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """An IPClaim as asked for. `wanted` only with `count` 1."""

    identity: Identity
    pool: ObjectRef
    """Or where claims of its selector queue."""
    count: int = 1
    """Of each family."""
    wanted: Address | None = None
    detail: ClaimDetail | None = None
    actor: str = "unknown"
    """Who asked, as admission recorded it; else `manager` and with what; `unknown` rather than a guess."""
    term: Term | None = None
    selector: Selector | None = None
    reservation: str = ""
    """Name of the claim of the same namespace whose reserved addresses it takes over."""
    length: int | None = None
    """Of the prefixes that it asks for, in bits; None: of the pool's default, or addresses. `wanted` is the first
    address of such a prefix."""
    edited: bool = False
    """It shows what it got for an earlier spec: what this one does not ask for ends."""


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
    retain: bool | None = None
    """What its last spec says (`ClaimDetail.retain`); None: as it was when the claim was last answered."""


@dataclass(frozen=True, slots=True)
class Renewable:
    """A lease that is to be renewed while `resource` exists in the claim's namespace."""

    claim: Identity
    lease_generation: int
    resource: ResourceRef
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Retained:
    """An address that is kept for an identity whose claim is gone."""

    namespace: str
    key: str
    """What a claim is known by when it comes again: its sticky key, MAC address or name."""
    claim: str
    """Name of the claim that had it."""
    pool: ObjectRef
    address: AddressOrPrefix
    until: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened to an address, as history tells it."""

    at: datetime
    action: str
    """`granted`, `changed`, `ended`, `kept` for a claim that is gone, or `freed` before its time."""
    address: AddressOrPrefix
    pool: ObjectRef | None
    """None: it is gone for good."""
    claim: ObjectRef
    actor: str
    reason: str
    """'' where the claim asked for it."""

"""IPClaim: a request for addresses. Lean, because every claim pays for its schema on every write."""

from datetime import timedelta
from ipaddress import ip_network
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from ipam_operator.api.base import Document, rules
from ipam_operator.api.fields import (
    Hostname,
    IPAddress,
    LeaseDuration,
    Line200,
    MacAddress,
    PrefixLength,
    Prose,
    Renewal,
    ReserveDuration,
    misnamed,
)
from ipam_operator.api.references import NetworkRef, PoolRef, PoolSelector, ReservationRef, ResourceRef
from ipam_operator.api.status import ADDRESSES_LIMIT, NEVER_ANSWERED, IPClaimStatus
from ipam_operator.domain import model
from ipam_operator.domain.model import ClaimDetail, ClaimRequest, Identity, ObjectRef, Selector, Term
from ipam_operator.domain.outcome import Reason, Refused

_ONE_OF = "must be set, or else poolSelector or networkRef, and not two of them"
_RESERVE_FOR = timedelta(hours=1)
_ONE_MODE = "spec.reservationRef takes a reservation over, which spec.mode Reserve makes: take one of them away"
_ITS_ADDRESS = "spec.reservationRef says which address by itself: take spec.address away"
_ONE_ADDRESS = "must be 1 when spec.address or spec.macAddress says which one"


class IPClaimSpec(Document):
    """What is wanted of the claim."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            {
                "rule": "!has(self.address) && !has(self.macAddress) || self.count == 1",
                "fieldPath": ".count",
                "message": _ONE_ADDRESS,
            },
            {
                "rule": (
                    "has(self.poolRef) ? !has(self.poolSelector) && !has(self.networkRef)"
                    " : has(self.poolSelector) != has(self.networkRef)"
                ),
                "fieldPath": ".poolRef",
                "message": _ONE_OF,
            },
        )
    )

    pool_ref: PoolRef | None = Field(
        default=None,
        description="The pool to take addresses from. Exactly one of poolRef, poolSelector and networkRef is set.",
    )
    pool_selector: PoolSelector | None = Field(
        default=None,
        description=(
            "Which pools to take addresses from: IPv4 pools (see families) of these labels and this type. The one of"
            " the highest spec.priority comes first, and the next when that is full. Among equals none is chosen."
        ),
    )
    network_ref: NetworkRef | None = Field(
        default=None, description="The network to take addresses from: its pools, by the same rule as poolSelector."
    )
    count: int = Field(
        default=1,
        ge=1,
        le=ADDRESSES_LIMIT,
        description="How many addresses, 1 to 1024; default 1. All or nothing; not necessarily adjacent.",
    )
    families: Annotated[list[Literal["IPv4", "IPv6"]], Field(min_length=1, max_length=2)] | None = Field(
        default=None,
        description=(
            "Of the addresses: [IPv4], also when absent, [IPv6], or [IPv4, IPv6]: count of each, all or none, of one"
            " pool for each. Only with poolSelector; a poolRef or networkRef has the family of its network."
        ),
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    prefix_length: PrefixLength | None = Field(
        default=None,
        description=(
            "Prefixes (subnets) of this length in bits instead of addresses: 26. Of a pool that has spec.prefixes,"
            " which says what lengths there are; absent: of that pool's default length. count is the number of them."
        ),
    )
    address: IPAddress | None = Field(
        default=None,
        description=(
            "Exactly this address of the pool, IPv4 or IPv6: 10.20.0.50; of prefixes the first address of one."
            " Only with count 1. What was granted stands in status.address. Absent: any free one."
        ),
    )
    hostname: Hostname | None = Field(
        default=None, description="Host name to find the address by, in lower case: web-1.example.com."
    )
    mac_address: MacAddress | None = Field(
        default=None,
        description=(
            "MAC address of the interface, with colons, hyphens, dots or nothing between: 02:00:5e:10:00:01. Only with"
            " count 1. One live claim in a network has it; without a stickyKey it is what the claim is known by when it"
            " comes again."
        ),
    )
    description: Prose | None = Field(default=None, description="Anything worth knowing, for people.")
    assigned_to: Line200 | None = Field(
        default=None, description="Who or what uses the address: customer 4711, rack B7."
    )
    sticky_key: Line200 | None = Field(
        default=None,
        description=(
            "What the claim is known by when it comes again under another name: web/0. A claim that is made anew gets"
            " the addresses that the last one of this key had, if they are still free. Absent: the claim's name."
        ),
    )
    reclaim_policy: Literal["Delete", "Retain"] | None = Field(
        default=None,
        description=(
            "What becomes of the addresses when the claim is deleted. Delete, also when absent: others may have them"
            " when they have cooled. Retain: for 30 days, or as the operator is set, only a claim of this stickyKey,"
            " macAddress or name in this namespace gets them."
        ),
    )
    priority: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None,
        description="In the queue of a full pool, 0 to 100, higher first; absent: 0. Among equals who came first.",
    )
    lease: LeaseDuration | None = Field(
        default=None,
        description=(
            "How long the addresses are held unless the claim is renewed, 300s to 8760h: 24h. Cut to the pool's"
            " maxLease. Absent: the pool's defaultLease, and without that until the claim is deleted."
        ),
    )
    mode: Literal["Allocate", "Reserve"] | None = Field(
        default=None,
        description=(
            "Reserve: hold the addresses for spec.reserveFor only, until mode is changed to Allocate or another claim"
            " names this one in its spec.reservationRef. Absent: Allocate."
        ),
    )
    reserve_for: ReserveDuration | None = Field(
        default=None,
        description=(
            "How long a reservation holds, 60s to 24h, cut to the pool's maxLease; absent: 1h. Counts with mode Reserve"
            " only, and instead of spec.lease, which begins when the reservation is confirmed."
        ),
    )
    reservation_ref: ReservationRef | None = Field(
        default=None,
        description=(
            "Take over the addresses that this claim has reserved; it has none then. Pool and count must be the same."
        ),
    )
    resource_ref: ResourceRef | None = Field(
        default=None, description="The object of the claim's namespace that the addresses are for."
    )
    auto_renew: bool | None = Field(
        default=None,
        description=(
            "Renew the lease for as long as the object of resourceRef exists; the operator has to be set to look at its"
            " kind. When it is gone the lease goes on to its end. Absent: false."
        ),
    )
    renewed_at: Renewal | None = Field(
        default=None,
        description=(
            "Change it to renew the lease, best to the present time: 2026-01-31T12:00:00Z. The lease then begins anew,"
            " by the clock of the store. After its end the claim gets its addresses again, or others if they are taken."
        ),
    )

    @model_validator(mode="after")
    def _one_named_address(self) -> Self:
        if (self.address is not None or self.mac_address is not None) and self.count != 1:
            raise PydanticCustomError("count", _ONE_ADDRESS, {"field": "count"})
        return self

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if sum(one is not None for one in (self.pool_ref, self.pool_selector, self.network_ref)) != 1:
            raise PydanticCustomError("place", _ONE_OF, {"field": "poolRef"})
        return self

    def to_domain(self, identity: Identity, *, actor: str) -> ClaimRequest | Refused:
        """The request, or what to change. Whatever else the shape lets pass is for the store to judge."""
        selected = self.pool_selector.match_labels if self.pool_selector is not None else ()
        if words := misnamed("spec.poolSelector.matchLabels", selected):
            return Refused(identity, Reason.INVALID_SPEC, words)
        detail: ClaimDetail | None = ClaimDetail(
            self.hostname or "",
            self.assigned_to or "",
            self.description or "",
            self.sticky_key or "",
            self.priority or 0,
            self.reclaim_policy == "Retain",
            self.mac_address or "",
            None if self.resource_ref is None else model.ResourceRef(**dict(self.resource_ref)),
            self.auto_renew or False,
        )
        if detail == ClaimDetail() and identity.generation == 1:
            detail = None  # an edit may have taken details away; a first spec has none to take
        if self.mode == "Reserve" and self.reservation_ref is not None:
            return Refused(identity, Reason.INVALID_SPEC, _ONE_MODE)
        if self.address is not None and self.reservation_ref is not None:
            return Refused(identity, Reason.INVALID_SPEC, _ITS_ADDRESS)
        term: Term | None = Term(self.lease, self.renewed_at)
        if self.mode == "Reserve":
            term = Term(self.reserve_for or _RESERVE_FOR, self.renewed_at, reserved=True)
        if term == Term() and identity.generation == 1:
            term = None
        if words := self._unfit():
            return Refused(identity, Reason.INVALID_SPEC, words)
        own = identity.ref.namespace
        where = self._where(own)
        selector = where if isinstance(where, Selector) else None
        reservation = self.reservation_ref.name if self.reservation_ref is not None else ""
        place = self.place(own)
        return ClaimRequest(
            identity, place, self.count, self.address, detail, actor, term, selector, reservation, self.prefix_length
        )

    def _unfit(self) -> str:
        """What to change of families, prefixLength and address, which must go together; empty: nothing."""
        if self.auto_renew and self.resource_ref is None:
            return "spec.autoRenew: true needs spec.resourceRef, which says for as long as what exists"
        if self.families is not None and self.pool_selector is None:
            return "spec.families counts with spec.poolSelector only: take it away"
        if self._dual and (words := self._for_one_family_only()):
            return f"{words} one family: say spec.families [IPv4] or [IPv6], and make a claim for each"
        if self._dual and 2 * self.count > ADDRESSES_LIMIT:
            return f"spec.count must be at most {ADDRESSES_LIMIT // 2} of each family, {ADDRESSES_LIMIT} in all"
        length, address = self.prefix_length, self.address
        family = address.version if address is not None else self._family
        if length is not None and family == 4 and length > 32:
            return f"spec.prefixLength: {length} must be at most 32 in IPv4; say spec.families [IPv6] for IPv6"
        if length is not None and address is not None:
            prefix = ip_network((address, length), strict=False)
            if prefix.network_address != address:
                return f"spec.address: {address} must be the first address of a /{length}: {prefix.network_address}"
        return ""

    def _for_one_family_only(self) -> str:
        fields = {
            "spec.address": self.address,
            "spec.prefixLength": self.prefix_length,
            "spec.reservationRef": self.reservation_ref,
        }
        return next((f"{name} is for claims of" for name, value in fields.items() if value is not None), "")

    @property
    def _dual(self) -> bool:
        return self.families is not None and len(set(self.families)) > 1

    @property
    def _family(self) -> int | None:
        if self.pool_selector is None or self._dual:
            return None
        return 6 if self.families == ["IPv6"] else 4

    def place(self, own: str) -> ObjectRef:
        """The pool, or where claims of the selector queue, for a claim of namespace `own`.

        A name that no object has when the selector is broken: such a claim has never been queued.
        """
        where = self._where(own)
        if self.pool_selector is not None and misnamed("", self.pool_selector.match_labels):
            return ObjectRef(own, "")
        return where.place if isinstance(where, Selector) else where

    def _where(self, own: str) -> ObjectRef | Selector:
        if self.pool_ref is not None:
            return ObjectRef(self.pool_ref.namespace or own, self.pool_ref.name)
        if self.network_ref is not None:
            return Selector(
                self.network_ref.namespace or own, own, network=self.network_ref.name, length=self.prefix_length
            )
        wanted = self.pool_selector or PoolSelector()
        labels = tuple(sorted(wanted.match_labels.items()))
        return Selector(
            wanted.namespace or own,
            own,
            labels,
            wanted.type,
            family=self._family,
            length=self.prefix_length,
            dual=self._dual,
        )


class IPClaim(Document):
    """A request for addresses of an IPPool. They are held until the claim is deleted.

    Wait for them with `kubectl wait --for=condition=Ready ipc/NAME` and read them in status.address. A claim that
    finds its pool full waits in the pool's queue and gets its addresses when others are released.
    """

    model_config = ConfigDict(
        json_schema_extra=rules(
            {
                "rule": (
                    "!has(oldSelf.status) || !has(oldSelf.status.address)"
                    " || has(self.spec.poolRef) == has(oldSelf.spec.poolRef)"
                    " && (!has(self.spec.poolRef) || self.spec.poolRef == oldSelf.spec.poolRef)"
                    " && has(self.spec.poolSelector) == has(oldSelf.spec.poolSelector)"
                    " && (!has(self.spec.poolSelector) || self.spec.poolSelector == oldSelf.spec.poolSelector)"
                    " && has(self.spec.networkRef) == has(oldSelf.spec.networkRef)"
                    " && (!has(self.spec.networkRef) || self.spec.networkRef == oldSelf.spec.networkRef)"
                    " && self.spec.count == oldSelf.spec.count && has(self.spec.address) == has(oldSelf.spec.address)"
                    " && (!has(self.spec.address) || self.spec.address == oldSelf.spec.address)"
                    " && has(self.spec.prefixLength) == has(oldSelf.spec.prefixLength)"
                    " && (!has(self.spec.prefixLength) || self.spec.prefixLength == oldSelf.spec.prefixLength)"
                    " && has(self.spec.families) == has(oldSelf.spec.families)"
                    " && (!has(self.spec.families) || self.spec.families == oldSelf.spec.families)"
                    " && (!has(self.spec.reservationRef) || has(oldSelf.spec.reservationRef)"
                    " && self.spec.reservationRef == oldSelf.spec.reservationRef)"
                ),
                "fieldPath": ".spec",
                "message": (
                    "poolRef, poolSelector, networkRef, count, families, prefixLength and address must stay as they are"
                    " once the claim has its addresses, and reservationRef may only be taken away: make another claim"
                    " instead"
                ),
            }
        )
    )

    spec: IPClaimSpec = Field(
        description=(
            "What is wanted. poolRef, poolSelector, networkRef, count, families, prefixLength and address are immutable"
            " once the claim has its addresses; reservationRef may only be taken away."
        )
    )
    status: IPClaimStatus | None = Field(
        default=None,
        description="What the claim got. Written by the operator only.",
        json_schema_extra={"default": NEVER_ANSWERED},
    )

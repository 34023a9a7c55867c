"""IPClaim: a request for addresses. Lean, because every claim pays for its schema on every write."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from ipam_operator.api.base import Document, rules
from ipam_operator.api.fields import Hostname, IPAddress, LeaseDuration, Line200, ObjectName, Prose, Renewal
from ipam_operator.api.status import ADDRESSES_LIMIT, NEVER_ANSWERED, IPClaimStatus
from ipam_operator.domain.model import ClaimDetail, ClaimRequest, Identity, ObjectRef, Term


class PoolRef(Document):
    """An IPPool of the same namespace."""

    name: ObjectName = Field(description="Name of the IPPool. It may be made later: the claim waits for it.")


class IPClaimSpec(Document):
    """What is wanted of the claim."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            {
                "rule": "!has(self.address) || self.count == 1",
                "fieldPath": ".count",
                "message": "must be 1 when spec.address names the one address",
            }
        )
    )

    pool_ref: PoolRef = Field(description="The pool to take addresses from.")
    count: int = Field(
        default=1,
        ge=1,
        le=ADDRESSES_LIMIT,
        description="How many addresses, 1 to 1024; default 1. All or nothing; not necessarily adjacent.",
    )
    address: IPAddress | None = Field(
        default=None,
        description=(
            "Exactly this address of the pool, IPv4 or IPv6: 10.20.0.50. Only with count 1. What was granted stands in"
            " status.address. Absent: any free one."
        ),
    )
    hostname: Hostname | None = Field(
        default=None, description="Host name to find the address by, in lower case: web-1.example.com."
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
    renewed_at: Renewal | None = Field(
        default=None,
        description=(
            "Change it to renew the lease, best to the present time: 2026-01-31T12:00:00Z. The lease then begins anew,"
            " by the clock of the store. After its end the claim gets its addresses again, or others if they are taken."
        ),
    )

    @model_validator(mode="after")
    def _one_named_address(self) -> Self:
        if self.address is not None and self.count != 1:
            raise PydanticCustomError("count", "must be 1 when spec.address names the one address", {"field": "count"})
        return self

    def to_domain(self, identity: Identity, *, actor: str) -> ClaimRequest:
        """The request. Whatever the shape lets pass is for the store to judge."""
        detail: ClaimDetail | None = ClaimDetail(
            self.hostname or "",
            self.assigned_to or "",
            self.description or "",
            self.sticky_key or "",
            self.priority or 0,
        )
        if detail == ClaimDetail() and identity.generation == 1:
            detail = None  # an edit may have taken details away; a first spec has none to take
        pool = ObjectRef(identity.ref.namespace, self.pool_ref.name)
        term: Term | None = Term(self.lease, self.renewed_at)
        if term == Term() and identity.generation == 1:
            term = None
        return ClaimRequest(identity, pool, self.count, self.address, detail, actor, term)


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
                    " || self.spec.poolRef.name == oldSelf.spec.poolRef.name && self.spec.count == oldSelf.spec.count"
                    " && has(self.spec.address) == has(oldSelf.spec.address)"
                    " && (!has(self.spec.address) || self.spec.address == oldSelf.spec.address)"
                ),
                "fieldPath": ".spec",
                "message": (
                    "poolRef, count and address must stay as they are once the claim has its addresses:"
                    " make another claim instead"
                ),
            }
        )
    )

    spec: IPClaimSpec = Field(
        description="What is wanted. poolRef, count and address are immutable once the claim has its addresses."
    )
    status: IPClaimStatus | None = Field(
        default=None,
        description="What the claim got. Written by the operator only.",
        json_schema_extra={"default": NEVER_ANSWERED},
    )

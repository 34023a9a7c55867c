"""Statuses: what the operator writes. Models only for their schema; the documents come from `kube.status`.

Nothing is required but what a list is keyed by, because a status is composed from parts that come at different
times.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from ipam_operator.api.base import Document
from ipam_operator.api.fields import MAX_INTEGER, AddressText, Count, Generation, Moment, Percent

ADDRESSES_LIMIT = 1024
"""Most addresses of one claim; 1,024 keep the object below 64 KiB."""


def _map(key: str) -> dict[str, Any]:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}

ObjectName = Annotated[str, Field(max_length=253)]
PoolName = Annotated[str, Field(max_length=317)]
Word = Annotated[str, Field(max_length=64)]
Text = Annotated[str, Field(max_length=1024)]


class Condition(Document):
    """One aspect of the object's state (metav1.Condition)."""

    type: Word = Field(description="Ready, Reconciling, Stalled, or another aspect in CamelCase.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: Word = Field(description="Why, in one CamelCase word, such as PoolExhausted.")
    message: Text = Field(description="Why, in a sentence, and what would help.")
    last_transition_time: Moment = Field(description="When `status` last changed. RFC 3339, UTC.")
    observed_generation: Generation | None = Field(
        default=None, description="The metadata.generation of the spec that this condition speaks about."
    )


NEVER_ANSWERED: dict[str, Any] = {"observedGeneration": -1}
"""What the API server shows of an object that has no status yet. To kstatus, which Flux and Helm go by, nothing at all
would mean that all is well."""


class Status(Document):
    """What all of our statuses have."""

    observed_generation: Annotated[int, Field(ge=-1, le=MAX_INTEGER)] | None = Field(
        default=None,
        description=(
            "The metadata.generation of the spec that this status answers. Smaller than metadata.generation:"
            " the newest edit is not answered yet. -1: nothing is."
        ),
    )
    reason: Word | None = Field(
        default=None,
        description="The reason of the Ready condition, to select and print by. Example: PoolExhausted.",
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description=(
            "Ready is always there. Reconciling=True: waiting for something that comes by itself."
            " Stalled=True: only an edit can help. Read alike by kubectl wait, Flux, Helm and Argo CD."
        ),
        json_schema_extra=_map("type"),
    )


class NetworkCapacity(Document):
    """Numbers of addresses, as decimal strings because an IPv6 network exceeds 2^53."""

    usable: Count | None = Field(
        default=None,
        description="Addresses that hosts may use: all but the network's unusable ends. 254 in an IPv4 /24.",
    )
    allocated: Count | None = Field(default=None, description="Held by claims now.")
    reserved: Count | None = Field(
        default=None, description="Usable, but never handed out: the gateway and spec.reserved."
    )
    cooling: Count | None = Field(
        default=None, description="Released, and not yet free again (coolDown of their pool)."
    )
    free: Count | None = Field(default=None, description="Usable, and none of the above.")


class PoolCapacity(Document):
    """Numbers of addresses, or of prefixes, as decimal strings because an IPv6 pool exceeds 2^53."""

    usable: Count | None = Field(
        default=None,
        description="Addresses in status.effectiveRanges. A pool of prefixes counts those of its longest length.",
    )
    allocated: Count | None = Field(default=None, description="Held by claims now.")
    cooling: Count | None = Field(default=None, description="Released, and not yet free again (spec.coolDown).")
    retained: Count | None = Field(
        default=None, description="Of those cooling: kept for deleted claims of reclaimPolicy Retain."
    )
    free: Count | None = Field(default=None, description="What the next claims can get.")


class Conflict(Document):
    """Something that should not be: found by the audit, repaired by people or with their consent."""

    type: Word | None = Field(default=None, description="What kind of conflict, in one CamelCase word.")
    severity: Literal["High", "Medium", "Low"] | None = Field(
        default=None,
        description="High: an address may be in use twice. Medium: may become so. Low: bookkeeping.",
    )
    address: AddressText | None = Field(default=None, description="The address or CIDR in question.")
    message: Text | None = Field(default=None, description="What was found and what would help.")
    pool: ObjectName | None = Field(default=None, description="Name of the IPPool concerned.")
    claim: ObjectName | None = Field(default=None, description="Name of the IPClaim concerned.")
    since: Moment | None = Field(default=None, description="When it was first seen. RFC 3339, UTC.")


class IPNetworkStatus(Status):
    """What the operator says about the network. Written by the operator only."""

    cidr: AddressText | None = Field(default=None, description="The CIDR in service.")
    address_space: Annotated[str, Field(max_length=128)] | None = Field(
        default=None,
        description=(
            "Namespace and VRF, as namespace/vrf. Within one address space no address is handed out twice;"
            " across spaces CIDRs may repeat."
        ),
    )
    capacity: NetworkCapacity | None = Field(
        default=None, description="Numbers of addresses over all pools. Refreshed about every five minutes."
    )
    utilization_percent: Percent | None = Field(
        default=None,
        description="(allocated + reserved) / usable, in percent with two decimals. Example: 12.5.",
    )
    pools: Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None = Field(
        default=None, description="Number of IPPools that refer to this network and are in service."
    )
    conflicts: list[Conflict] = Field(
        default_factory=list,
        max_length=20,
        description="The gravest findings of the last audit, at most 20.",
        json_schema_extra=ATOMIC,
    )


class IPPoolStatus(Status):
    """What the operator says about the pool. Written by the operator only."""

    network: ObjectName | None = Field(default=None, description="Name of the IPNetwork in use.")
    family: Literal[4, 6] | None = Field(default=None, description="IP version of the pool's addresses: 4 or 6.")
    state: Literal["Ready", "Exhausted", "Paused", "Invalid"] | None = Field(
        default=None,
        description=(
            "Ready: hands out addresses. Exhausted: none is free, claims wait. Paused: spec.paused is set,"
            " claims wait. Invalid: not in service, see the conditions."
        ),
    )
    capacity: PoolCapacity | None = Field(
        default=None, description="Numbers of addresses. Refreshed about every 15 seconds."
    )
    utilization_percent: Percent | None = Field(
        default=None, description="Allocated / usable, in percent with two decimals. Example: 97.64."
    )
    largest_free_block: AddressText | None = Field(
        default=None, description="The largest aligned CIDR that is wholly free. Absent: nothing is free."
    )
    waiting: Annotated[int, Field(ge=0, le=MAX_INTEGER)] | None = Field(
        default=None, description="Number of claims in the pool's queue."
    )
    effective_ranges: list[Annotated[str, Field(max_length=91)]] = Field(
        default_factory=list,
        max_length=64,
        description=(
            "What the pool in service hands out: spec.ranges (or the whole network) less spec.exclude and the"
            " network's reserved addresses, gateway and unusable ends. The first 64 ranges."
        ),
        json_schema_extra=ATOMIC,
    )


class Block(Document):
    """What a host needs beside its address to use it; one block for each IP family."""

    family: Literal[4, 6] = Field(description="IP version: 4 or 6.")
    pool: PoolName | None = Field(
        default=None, description="The IPPool the addresses came from: name, or namespace/name of another namespace."
    )
    prefix_length: Annotated[int, Field(ge=0, le=128)] | None = Field(
        default=None,
        description="Prefix length of the network, for the host's interface: 24. Of prefixes their own.",
    )
    gateway: AddressText | None = Field(default=None, description="Default gateway of the network, if it has one.")
    dns_servers: list[AddressText] = Field(
        default_factory=list,
        max_length=8,
        description="DNS servers of the network, in order of preference.",
        json_schema_extra=ATOMIC,
    )


class IPClaimStatus(Status):
    """What the claim got. Written by the operator only."""

    address: AddressText | None = Field(
        default=None,
        description=(
            "The (first) address, or prefix: 10.0.4.0/26. Select by it: --field-selector status.address=10.0.0.5."
        ),
    )
    address_ipv6: AddressText | None = Field(
        default=None, alias="addressIPv6", description="The first IPv6 address or prefix, if the claim holds any."
    )
    addresses: list[AddressText] = Field(
        default_factory=list,
        max_length=ADDRESSES_LIMIT,
        description="All addresses or prefixes, in stable order. All or nothing: as many as spec.count, or none.",
        json_schema_extra=ATOMIC,
    )
    blocks: list[Block] = Field(
        default_factory=list,
        max_length=2,
        description="Prefix length, gateway and DNS servers, one entry for each IP family.",
        json_schema_extra=_map("family"),
    )
    pool: PoolName | None = Field(
        default=None, description="The IPPool the addresses came from: name, or namespace/name of another namespace."
    )
    mac_address: Annotated[str, Field(max_length=17)] | None = Field(
        default=None,
        description="The MAC address, in lower case with colons. Select by it: --field-selector status.macAddress=….",
    )
    lease_generation: Generation | None = Field(
        default=None,
        description=(
            "Fencing number of the grant: a later grant of the same address has a larger one, so that an old"
            " release cannot end it."
        ),
    )
    allocated_at: Moment | None = Field(default=None, description="When the addresses were granted. RFC 3339, UTC.")
    expires_at: Moment | None = Field(
        default=None,
        description=(
            "When the lease ends unless spec.renewedAt is changed, by the clock of the store. RFC 3339, UTC. Absent:"
            " the addresses are held until the claim is deleted."
        ),
    )
    queue_position: Annotated[int, Field(ge=1, le=MAX_INTEGER)] | None = Field(
        default=None,
        description="Place in the pool's queue while waiting, when last looked at; 1 is served next.",
    )

"""IPPool: the part of a network that claims are served from, and how."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from ipam_operator.api.base import Document, rules
from ipam_operator.api.fields import Duration, LeaseDuration, ObjectName, parse_duration
from ipam_operator.api.ranges import Ranges, to_ranges
from ipam_operator.api.status import NEVER_ANSWERED, IPPoolStatus
from ipam_operator.domain.model import Identity, ObjectRef, PoolRequest, Strategy
from ipam_operator.domain.outcome import Reason, Refused
from ipam_operator.net.ranges import Range

PoolType = Literal["Dynamic", "DHCP", "Static", "VIP", "NAT", "Loopback", "PointToPoint"]
StrategyName = Literal["FirstFree", "Random", "LeastRecentlyUsed"]


class NetworkRef(Document):
    """An IPNetwork of the same namespace."""

    name: ObjectName = Field(description="Name of the IPNetwork. It may be made later: the pool waits for it.")


class IPPoolSpec(Document):
    """What is wanted of the pool."""

    network_ref: NetworkRef = Field(
        description="The network whose addresses the pool hands out. Immutable.",
        json_schema_extra=rules(
            {"rule": "self == oldSelf", "message": "must stay as it is: make another pool instead"}
        ),
    )
    type: PoolType = Field(
        default="Dynamic",
        description=(
            "What the addresses are for; default Dynamic. Those of NAT and Loopback pools are not hosts on the"
            " network's link, so that its first and last address are handed out as well."
        ),
    )
    ranges: Ranges = Field(
        default_factory=list,
        description=(
            "The part of the network that belongs to this pool alone: addresses, ranges with both ends included, or"
            " CIDRs. Example: [10.20.0.100-10.20.0.199, 10.20.0.224/28]. Absent: the whole network. Pools of one"
            " network must not overlap. May grow; may shrink as far as nothing is held."
        ),
    )
    exclude: Ranges = Field(
        default_factory=list,
        description="Addresses of the pool that are not handed out, written like ranges.",
    )
    strategy: StrategyName = Field(
        default="FirstFree",
        description=(
            "Which free address comes next; default FirstFree. FirstFree: the lowest. Random: any, hard to guess."
            " LeastRecentlyUsed: the one that has been free for longest."
        ),
    )
    cool_down: Duration = Field(
        default=parse_duration("5m"),
        description=(
            "How long a released address stays unused, so that caches (ARP, DNS, connection tables) forget its last"
            " holder. A duration from 0s to 720h, default 5m: 30s, 5m, 1h30m. A changed value holds for later releases."
        ),
        json_schema_extra={"default": "5m"},
    )
    default_lease: LeaseDuration | None = Field(
        default=None,
        description=(
            "The lease of claims that ask for none, 300s to 8760h: 24h. Absent: those hold until they are deleted. A"
            " changed value holds for later grants, and for renewals and edits of claims that have a lease."
        ),
    )
    max_lease: LeaseDuration | None = Field(
        default=None,
        description="The longest lease, 300s to 8760h: longer ones are cut to it, claims without one are let be.",
    )
    paused: bool = Field(
        default=False, description="Hand out nothing for now: claims wait, what is held stays held. Default false."
    )

    def to_domain(self, identity: Identity) -> PoolRequest | Refused:
        """The request, or what to change."""
        ranges, exclude = to_ranges("ranges", self.ranges), to_ranges("exclude", self.exclude)
        if isinstance(ranges, str):
            return Refused(identity, Reason.INVALID_SPEC, ranges)
        if isinstance(exclude, str):
            return Refused(identity, Reason.INVALID_SPEC, exclude)
        if words := _two_families(ranges, exclude):
            return Refused(identity, Reason.INVALID_SPEC, words)
        return PoolRequest(
            identity=identity,
            network=ObjectRef(identity.ref.namespace, self.network_ref.name),
            type=self.type,
            ranges=ranges,
            exclude=exclude,
            strategy=Strategy(self.strategy),
            cool_down=self.cool_down,
            paused=self.paused,
            default_lease=self.default_lease,
            max_lease=self.max_lease,
        )


class IPPool(Document):
    """A part of an IPNetwork from which claims get addresses, with the rules for handing them out."""

    spec: IPPoolSpec = Field(description="What is wanted of the pool.")
    status: IPPoolStatus | None = Field(
        default=None,
        description="What the operator says about the pool. Written by the operator only.",
        json_schema_extra={"default": NEVER_ANSWERED},
    )


def _two_families(ranges: Sequence[Range], exclude: Sequence[Range]) -> str:
    """What to change when a pool mixes IPv4 and IPv6; empty when it does not."""
    entries = [("ranges", index, one) for index, one in enumerate(ranges)]
    entries += [("exclude", index, one) for index, one in enumerate(exclude)]
    for field, index, one in entries:
        if one.version != entries[0][2].version:
            return f"spec.{field}[{index}]: {one} must be IPv{entries[0][2].version}, as the rest of the pool"
    return ""

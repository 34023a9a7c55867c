"""IPPool: the part of a network that claims are served from, and how."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from ipam_operator.api.base import Document, rules
from ipam_operator.api.fields import (
    LABELS_LIMIT,
    MAX_INTEGER,
    Duration,
    LabelKey,
    LabelValue,
    LeaseDuration,
    ObjectName,
    PrefixLength,
    misnamed,
    parse_duration,
)
from ipam_operator.api.ranges import Ranges, to_ranges
from ipam_operator.api.status import ATOMIC, NEVER_ANSWERED, IPPoolStatus
from ipam_operator.domain.model import Consent, Fit, Identity, ObjectRef, PoolRequest, Prefixes, Strategy
from ipam_operator.domain.outcome import Reason, Refused
from ipam_operator.net.ranges import Range

PoolType = Literal["Dynamic", "DHCP", "Static", "VIP", "NAT", "Loopback", "PointToPoint"]
StrategyName = Literal["FirstFree", "Random", "LeastRecentlyUsed"]
LENGTHS_APART: Final = 32
"""The store counts sizes in prefixes of the longest length: 1024 of the shortest then fit a bigint."""
_NO_STRATEGY = "spec.strategy is for addresses; with spec.prefixes leave it out and set spec.prefixes.strategy"
_SELECTOR_WORDS = "must be set when from is Selector, and only then"


class NetworkRef(Document):
    """An IPNetwork of the same namespace."""

    name: ObjectName = Field(description="Name of the IPNetwork. It may be made later: the pool waits for it.")


class LabelRequirement(Document):
    """One requirement of a label selector (metav1.LabelSelectorRequirement)."""

    key: LabelKey = Field(description="Name of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(
        description="In: its value is one of values. NotIn: it is none, or there is no such label."
    )
    values: list[LabelValue] = Field(
        default_factory=list, max_length=16, description="For In and NotIn, at most 16.", json_schema_extra=ATOMIC
    )


class LabelSelector(Document):
    """Labels that an object has (metav1.LabelSelector). An empty one selects everything."""

    match_labels: dict[str, LabelValue] = Field(
        default_factory=dict, max_length=LABELS_LIMIT, description="Labels with these values, all of them, at most 8."
    )
    match_expressions: list[LabelRequirement] = Field(
        default_factory=list,
        max_length=8,
        description="Requirements, all of them, at most 8.",
        json_schema_extra=ATOMIC,
    )


class AllowedNamespaces(Document):
    """Whose claims the pool serves (as AllowedRoutes of the Gateway API)."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            {
                "rule": "(self.from == 'Selector') == has(self.selector)",
                "fieldPath": ".selector",
                "message": _SELECTOR_WORDS,
            }
        )
    )

    source: Literal["Same", "All", "Selector"] = Field(
        default="Same",
        alias="from",
        description=(
            "Same: claims of the pool's own namespace only, which are always served. All: of every namespace. Selector:"
            " of those whose labels the selector selects."
        ),
    )
    selector: LabelSelector | None = Field(
        default=None, description="Selects Namespaces by their labels; only with from: Selector."
    )

    @model_validator(mode="after")
    def _selector_with_its_word(self) -> Self:
        if (self.source == "Selector") != (self.selector is not None):
            raise PydanticCustomError("selector", _SELECTOR_WORDS, {"field": "selector"})
        return self

    def to_domain(self) -> Consent:
        """The consent."""
        selector = {} if self.selector is None else self.selector.model_dump(by_alias=True)
        return Consent(self.source, selector)


class PrefixesSpec(Document):
    """Prefixes that the pool hands out."""

    lengths: Annotated[list[PrefixLength], Field(min_length=1, max_length=16)] = Field(
        description="Their lengths in bits, at most 16 and at most 32 apart: [24, 26] of IPv4, [48, 56] of IPv6.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    default: PrefixLength | None = Field(
        default=None,
        description="The length for claims without prefixLength, one of lengths. Absent: the smallest prefixes.",
    )
    strategy: Literal["FirstFit", "BestFit"] = Field(
        default="BestFit",
        description=(
            "Which free prefix a shorter one is cut out of; default BestFit: the smallest one, so that large ones stay"
            " whole. FirstFit: the one of the lowest address."
        ),
    )

    def to_domain(self) -> Prefixes | str:
        """What it says, or what to change."""
        default = max(self.lengths) if self.default is None else self.default
        if default not in self.lengths:
            lengths = ", ".join(str(length) for length in sorted(self.lengths))
            return f"spec.prefixes.default: {default} must be one of spec.prefixes.lengths: {lengths}"
        if max(self.lengths) - min(self.lengths) > LENGTHS_APART:
            return f"spec.prefixes.lengths: {min(self.lengths)} and {max(self.lengths)} must be at most 32 apart"
        return Prefixes(tuple(sorted(set(self.lengths))), default, Fit(self.strategy))


class IPPoolSpec(Document):
    """What is wanted of the pool."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            {
                "rule": "has(self.prefixes) == has(oldSelf.prefixes)",
                "fieldPath": ".prefixes",
                "message": "must stay set, or unset: make another pool instead",
            }
        )
    )

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
            " LeastRecentlyUsed: the one that has been free for longest. Of prefixes prefixes.strategy says it."
        ),
    )
    prefixes: PrefixesSpec | None = Field(
        default=None,
        description=(
            "Hand out prefixes (subnets) instead of addresses. They are cut out of what the pool has, aligned, and"
            " become whole again when they are released. The ends of the network are usable, too. Set once and for all."
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
    priority: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0,
        description=(
            "Among the pools that a claim's poolSelector or networkRef means, 0 to 1000, higher first; default 0. When"
            " one is full the next serves. Pools of one priority are not chosen among: such claims are refused."
        ),
    )
    allowed_namespaces: AllowedNamespaces | None = Field(
        default=None,
        description=(
            "Whose claims may take addresses. Absent: those of the pool's own namespace only. Consent that is withdrawn"
            " ends no lease: what other namespaces hold still is told by the condition NamespacesAllowed."
        ),
    )
    quota_per_namespace: Annotated[int, Field(ge=1, le=MAX_INTEGER)] | None = Field(
        default=None,
        description=(
            "How many addresses, or prefixes of whatever length, the claims of any one namespace may hold at a time."
            " Claims beyond it wait. Absent: as many as there are."
        ),
    )

    def to_domain(self, identity: Identity, labels: Mapping[str, str]) -> PoolRequest | Refused:
        """The request of a pool with these labels, or what to change."""
        ranges, exclude = to_ranges("ranges", self.ranges), to_ranges("exclude", self.exclude)
        if isinstance(ranges, str):
            return Refused(identity, Reason.INVALID_SPEC, ranges)
        if isinstance(exclude, str):
            return Refused(identity, Reason.INVALID_SPEC, exclude)
        if words := _two_families(ranges, exclude) or self._misnamed():
            return Refused(identity, Reason.INVALID_SPEC, words)
        prefixes = None if self.prefixes is None else self.prefixes.to_domain()
        if isinstance(prefixes, str):
            return Refused(identity, Reason.INVALID_SPEC, prefixes)
        if prefixes is not None and self.strategy != "FirstFree":
            return Refused(identity, Reason.INVALID_SPEC, _NO_STRATEGY)
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
            labels=labels,
            priority=self.priority,
            allowed=Consent() if self.allowed_namespaces is None else self.allowed_namespaces.to_domain(),
            quota=self.quota_per_namespace,
            prefixes=prefixes,
        )

    def _misnamed(self) -> str:
        selector = self.allowed_namespaces.selector if self.allowed_namespaces is not None else None
        labels = selector.match_labels if selector is not None else ()
        return misnamed("spec.allowedNamespaces.selector.matchLabels", labels)


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

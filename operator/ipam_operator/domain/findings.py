"""What audit and resync find, and what a second look makes of it. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from uuid import UUID

from ipam_operator.domain.model import ObjectRef


class FindingType(StrEnum):
    """How cluster and store, or the store's own tables, can disagree."""

    FREE_AND_HELD = "FreeAndHeld"
    """A free range covers a held address, or another free range."""
    LEAKED = "Leaked"
    """Addresses that are neither free nor held."""
    OUTSIDE_RANGE = "OutsideRange"
    """A lease or free range outside the pool's effective ranges."""
    ORPHAN = "Orphan"
    """A lease whose claim does not exist."""
    DRIFT = "Drift"
    """A claim shows other addresses than the store holds for it."""
    UNBACKED = "Unbacked"
    """A claim shows addresses that the store does not hold for it."""
    UNANSWERED = "Unanswered"
    """A claim holds addresses that its status does not show (yet)."""
    UNKNOWN = "Unknown"
    """A claim that neither holds nor waits."""
    RENEWED = "Renewed"
    """A claim shows a later end of its lease than the store has for it: it was renewed, and the store forgot (a restore
    from an older dump, a standby that lagged)."""
    GHOST = "Ghost"
    """A place in a queue whose claim does not exist."""


SEVERITY: Final[Mapping[FindingType, str]] = {
    FindingType.FREE_AND_HELD: "High",
    FindingType.DRIFT: "High",
    FindingType.UNBACKED: "High",
    FindingType.OUTSIDE_RANGE: "Medium",
    FindingType.LEAKED: "Medium",
    FindingType.ORPHAN: "Medium",
}
"""Findings that a network's audit reports; the others are work in progress for the resync."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One disagreement; its identity is all that a second observation must see again."""

    type: FindingType
    network: UUID | None
    pool: ObjectRef | None
    addresses: str
    claim_uid: UUID | None = None
    claim: ObjectRef | None = None
    generation: int | None = None

    @property
    def named_claim(self) -> str:
        """The claim's name, where the network's owner may know it: of other namespaces no name is told; else ''."""
        if self.claim is None or (self.pool is not None and self.pool.namespace != self.claim.namespace):
            return ""
        return self.claim.name

    @property
    def message(self) -> str:
        """In words."""
        pool = f"pool {self.pool.name}" if self.pool is not None else "its pool"
        claim = f"IPClaim {self.named_claim}" if self.named_claim else f"claim {self.claim_uid}"
        match self.type:
            case FindingType.FREE_AND_HELD:
                return f"{self.addresses} is held or free twice in {pool}"
            case FindingType.LEAKED:
                return f"{self.addresses} is neither free nor held in {pool}"
            case FindingType.OUTSIDE_RANGE:
                return f"{self.addresses} is outside the effective ranges of {pool}"
            case FindingType.ORPHAN:
                return f"{self.addresses} is held for {claim}, which does not exist"
            case FindingType.DRIFT:
                return f"{claim} shows other addresses than the {self.addresses} held for it"
            case FindingType.UNBACKED:
                return f"{claim} shows {self.addresses}, which the store does not hold for it"
            case FindingType.RENEWED:
                return f"{claim} shows a later end of its lease than the store has for it"
            case _:
                return f"{claim}: {self.type.value}"


@dataclass(frozen=True, slots=True)
class Brake:
    """A resync that would release more than both limits stops and asks (design rule 12)."""

    count: int
    percent: float

    def stops(self, releases: int, live: int) -> bool:
        """Whether so many releases out of so many live claims look like a wrong world."""
        return releases > self.count and releases * 100 > self.percent * live


@dataclass(frozen=True, slots=True)
class Plan:
    """What a resync does."""

    look_again: frozenset[UUID]
    """Claims that exist: their reconciler finds out what to do."""
    keep: frozenset[UUID]
    """Those of them whose lease may not end before they show."""
    release: tuple[Finding, ...]
    """Leases and queue places that nobody claims, seen twice."""
    suspects: frozenset[Finding]
    """Seen once: to be looked at next time."""
    braked: int = 0
    """Releases that the brake has stopped."""
    orphans: tuple[Finding, ...] = ()
    """Leases whose claims do not exist, seen once or twice."""
    drifted: tuple[Finding, ...] = ()
    """What claims hold that show something else."""
    unbacked: tuple[Finding, ...] = ()
    """What claims show that hold nothing."""


_REPUT: Final = {
    FindingType.UNBACKED, FindingType.UNANSWERED, FindingType.UNKNOWN, FindingType.DRIFT, FindingType.RENEWED,
}  # fmt: skip
_ABANDONED: Final = {FindingType.ORPHAN, FindingType.GHOST}


def plan(
    findings: Iterable[Finding], suspects: Collection[Finding], *, live: int, brake: Brake, confirmed: bool
) -> Plan:
    """Decide on findings; `suspects` are those of the previous resync, `confirmed`: a person let the brake go."""
    seen = list(findings)
    abandoned = [one for one in seen if one.type in _ABANDONED]
    twice = tuple(one for one in abandoned if one in suspects)
    found = Plan(
        _claims(seen, _REPUT),
        _claims(seen, {FindingType.RENEWED}),
        twice,
        frozenset(one for one in abandoned if one not in suspects),
        orphans=_of(seen, FindingType.ORPHAN),
        drifted=_of(seen, FindingType.DRIFT),
        unbacked=_of(seen, FindingType.UNBACKED),
    )
    if any(one.type is FindingType.ORPHAN for one in twice) and not confirmed:
        # Also those that are too young to be judged this time: in two halves as many would be released.
        orphans = len(_claims({*abandoned, *suspects}, {FindingType.ORPHAN}))
        if brake.stops(orphans, live):
            return replace(found, release=(), suspects=frozenset(abandoned), braked=orphans)
    return found


def _of(findings: Iterable[Finding], kind: FindingType) -> tuple[Finding, ...]:
    return tuple(one for one in findings if one.type is kind)


def _claims(findings: Iterable[Finding], kinds: Collection[FindingType]) -> frozenset[UUID]:
    return frozenset(one.claim_uid for one in findings if one.type in kinds and one.claim_uid is not None)

"""From the store's facts to the words a user reads. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from ipam_operator.domain.model import Identity, ObjectRef
from ipam_operator.domain.outcome import Block, ClaimOutcome, Granted, Reason, Refused, Vanished
from ipam_operator.net.cidr import Address, parse_address
from ipam_operator.net.ranges import Range, largest_block


class AnswerKind(StrEnum):
    """What the store says of one claim."""

    NEW = "New"
    HELD = "Held"
    VANISHED = "Vanished"
    EXHAUSTED = "Exhausted"
    QUEUED = "Queued"
    PAUSED = "Paused"
    NOT_FOUND = "NotFound"
    CONFLICT = "Conflict"
    OUTSIDE = "Outside"
    EXPIRED = "Expired"


@dataclass(frozen=True, slots=True)
class Answer:
    """The store's answer to one claim; `facts` are what a refusal's message is made of."""

    uid: UUID
    kind: AnswerKind
    addresses: tuple[Address, ...] = ()
    lease_generation: int = 0
    allocated_at: datetime | None = None
    identity: Identity | None = None
    """Only for claims that waited: the caller knows the others."""
    queue_position: int | None = None
    block: Block | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Due:
    """The next address that somebody waits for in `pool` has cooled in `seconds` (the database's clock)."""

    pool: ObjectRef
    seconds: float


@dataclass(frozen=True, slots=True)
class Served:
    """Outcomes, also of claims that waited; and when to look at which pool again."""

    outcomes: tuple[ClaimOutcome, ...]
    due: tuple[Due, ...] = ()


def outcome(answer: Answer, claim: Identity, pool: ObjectRef, *, count: int = 1) -> ClaimOutcome:
    """The outcome of `claim`, which asked `pool` for `count` addresses."""
    match answer.kind:
        case AnswerKind.NEW | AnswerKind.HELD:
            if answer.block is None or answer.allocated_at is None:
                raise AssertionError("a grant says when and within which prefix")
            holder = ObjectRef(pool.namespace, str(answer.facts.get("pool", pool.name)))
            return Granted(
                claim,
                holder,
                answer.addresses,
                answer.lease_generation,
                answer.allocated_at,
                answer.block,
                shares_key_with=answer.facts.get("sharedKey"),
                expires_at=_moment(answer.facts.get("expiresAt")),
            )
        case AnswerKind.VANISHED:
            return Vanished(claim)
        case _:
            reason, message = _refusal(answer, pool, count)
            return Refused(claim, reason, message, answer.queue_position)


def _refusal(answer: Answer, pool: ObjectRef, count: int) -> tuple[Reason, str]:
    facts = answer.facts
    match answer.kind:
        case AnswerKind.EXHAUSTED:
            return Reason.POOL_EXHAUSTED, _exhausted(facts, pool, count)
        case AnswerKind.QUEUED:
            ahead = (answer.queue_position or 1) - 1
            return Reason.QUEUED, f"{ahead} claims for pool {pool.name} go before this one, by priority or arrival"
        case AnswerKind.PAUSED:
            return (
                Reason.POOL_PAUSED,
                f"pool {pool.name} is paused; the claim is served when spec.paused is false",
            )
        case AnswerKind.CONFLICT:
            return Reason.ADDRESS_CONFLICT, _conflict(facts)
        case AnswerKind.OUTSIDE:
            return Reason.OUTSIDE_POOL, (
                f"{facts['wanted']} is not handed out by pool {pool.name}; spec.address must be in its "
                f"status.effectiveRanges{_near(facts)}"
            )
        case AnswerKind.EXPIRED:
            return Reason.EXPIRED_ALLOCATION, (
                f"the lease ended at {_moment(facts['expiredAt']):%Y-%m-%dT%H:%M:%SZ} and its addresses are released;"
                " set spec.renewedAt to the present time to get them again, or others if those are taken by then"
            )
        case _:
            return _not_found(facts, pool)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


def _not_found(facts: Mapping[str, Any], pool: ObjectRef) -> tuple[Reason, str]:
    if facts.get("retiring"):
        return (
            Reason.POOL_NOT_FOUND,
            f"pool {pool.name} is being deleted; the claim waits for another of that name",
        )
    if facts.get("reason") == Reason.NETWORK_NOT_FOUND:
        return Reason.NETWORK_NOT_FOUND, f"pool {pool.name} waits for its network: {facts['message']}"
    if "reason" in facts:
        return (
            Reason.POOL_NOT_FOUND,
            f"pool {pool.name} is not in service ({facts['reason']}): {facts['message']}",
        )
    return Reason.POOL_NOT_FOUND, (
        f"there is no IPPool {pool.name} in namespace {pool.namespace}; the claim is served as soon as there is one"
    )


def _exhausted(facts: Mapping[str, Any], pool: ObjectRef, count: int) -> str:
    size, free = int(facts["size"]), int(facts["free"])
    asked = f"{count} address" + ("es" if count > 1 else "")
    if count > size:
        return f"{asked} asked, but pool {pool.name} has only {size} in all; ask for fewer, or add ranges to the pool"
    ranges = [Range(parse_address(lo), parse_address(hi)) for lo, hi in zip(facts["lo"], facts["hi"], strict=True)]
    block = largest_block(ranges)
    largest = f"largest free block {block}" if block is not None and free > 0 else "no free block"
    return f"{asked} asked; pool {pool.name} has {size} addresses, {free} free, {largest}; the claim waits for more"


def _conflict(facts: Mapping[str, Any]) -> str:
    wanted = facts["wanted"]
    if facts.get("lost"):
        return (
            f"the store has lost this claim's lease and cannot restore it: {wanted} is not free in the pool; "
            "the address is not changed silently: delete the other holder, or delete and re-create this claim"
        )
    if facts.get("cooling") is not None:
        seconds = max(0, round(float(facts["cooling"])))
        taken = f"{wanted} was released and cools for another {seconds}s"
    elif facts.get("holder") is not None:
        taken = f"{wanted} is held by IPClaim {facts['holder']}"
    else:
        taken = f"{wanted} is held by another claim"
    return f"{taken}{_near(facts)}"


def _near(facts: Mapping[str, Any]) -> str:
    near = [facts[side] for side in ("below", "above") if facts.get(side) is not None]
    return f"; free near it: {', '.join(near)}" if near else ""

"""From the store's facts to the words a user reads. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from ipam_operator.domain.answers import Answer, AnswerKind
from ipam_operator.domain.model import Identity, ObjectRef
from ipam_operator.domain.outcome import ClaimOutcome, Granted, Reason, Refused, Vanished
from ipam_operator.domain.rates import ANNOTATION
from ipam_operator.net.cidr import parse_address
from ipam_operator.net.ranges import Range, largest_block

_RATED: Final = {
    "allocate": "claims",
    "bulk": "claims for several addresses",
    "reserve": "reservations",
    "network": "networks",
}
_POOLS_SHOWN: Final = 8
_HALF: Final = (
    "the store has lost the claim's addresses of one family and cannot restore them; nothing is changed silently:"
    " delete who has them now, or delete and re-create this claim"
)


def outcome(answer: Answer, claim: Identity, pool: ObjectRef, *, count: int = 1, dual: bool = False) -> ClaimOutcome:
    """The outcome of `claim`, which asked `pool` for `count` addresses; with `dual` of each family."""
    match answer.kind:
        case AnswerKind.NEW | AnswerKind.HELD if dual and answer.second is None:
            return Refused(claim, Reason.ADDRESS_CONFLICT, _HALF)
        case AnswerKind.NEW | AnswerKind.HELD:
            if answer.block is None or answer.allocated_at is None:
                raise AssertionError("a grant says when and within which prefix")
            second = answer.second
            return Granted(
                claim,
                _pool(answer, pool),
                answer.addresses + (second.addresses if second is not None else ()),
                answer.lease_generation,
                answer.allocated_at,
                answer.block,
                shares_key_with=answer.facts.get("sharedKey"),
                mac=answer.facts.get("mac"),
                expires_at=_moment(answer.facts.get("expiresAt")),
                reserved=bool(answer.facts.get("reserved")),
                second=None
                if second is None or second.block is None
                else replace(second.block, pool=_pool(second, pool)),
            )
        case AnswerKind.VANISHED:
            return Vanished(claim)
        case _:
            if answer.kind is AnswerKind.RATE_LIMITED:
                return rate_limited(claim, answer.facts)
            foreign = pool.namespace != claim.ref.namespace
            if answer.kind is AnswerKind.FORBIDDEN or (foreign and answer.kind is AnswerKind.NOT_FOUND):
                return Refused(claim, Reason.TENANT_ISOLATION, _isolated(claim, pool))
            reason, message = _refusal(answer, pool, count)
            return Refused(claim, reason, message, answer.queue_position, bool(answer.facts.get("ended")))


def _pool(answer: Answer, asked: ObjectRef) -> ObjectRef:
    facts = answer.facts
    return ObjectRef(str(facts.get("poolNamespace", asked.namespace)), str(facts.get("pool", asked.name)))


def rate_limited(subject: Identity, facts: Mapping[str, Any]) -> Refused:
    """The namespace has asked for more than it may; `facts` are those of `ipam.rate_admit`."""
    retry: datetime = facts["retry_at"].astimezone(UTC)
    ahead = f"; {facts['place'] - 1} go before this one" if facts["place"] > 1 else ""
    fault = f"; the annotation {ANNOTATION} of the namespace cannot be read: {facts['fault']}" if facts["fault"] else ""
    return Refused(
        subject,
        Reason.RATE_LIMITED,
        f"namespace {subject.ref.namespace} may create {facts['per_hour']:.0f} {_RATED[facts['operation']]} an hour,"
        f" {facts['burst']:.0f} at once, and has done so{ahead}; this one is served by itself at about"
        f" {retry:%Y-%m-%dT%H:%M:%SZ}{fault}",
    )


def _refusal(answer: Answer, pool: ObjectRef, count: int) -> tuple[Reason, str]:
    facts = answer.facts
    count = int(facts.get("count", count))
    if (said := _selected(answer, pool, count) or _lapsed(answer, count)) is not None:
        return said
    match answer.kind:
        case AnswerKind.OVER_QUOTA:
            return Reason.QUOTA_EXCEEDED, (
                f"{_asked(facts, count)} asked; pool {facts.get('pool', pool.name)} gives each namespace at most"
                f" {facts['quota']} (spec.quotaPerNamespace), of which this one holds {facts['holds']}; the claim waits"
                " until others of its namespace are released, or the quota is raised"
            )
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
        case AnswerKind.MAC_CONFLICT:
            holder = f"IPClaim {facts['holder']}" if facts.get("holder") is not None else "another claim"
            return Reason.MAC_CONFLICT, (
                f"{facts['mac']} belongs to {holder} in this network, where an interface has one claim; this one is"
                " served when that one is gone, or with another spec.macAddress"
            )
        case AnswerKind.MISFIT:
            return Reason.INVALID_SPEC, _misfit(facts, pool)
        case AnswerKind.OUTSIDE:
            return Reason.OUTSIDE_POOL, (
                f"{facts['wanted']} is not handed out by pool {pool.name}; spec.address must be in its "
                f"status.effectiveRanges{_near(facts)}"
            )
        case _:
            return _not_found(facts, pool)


def _lapsed(answer: Answer, count: int) -> tuple[Reason, str] | None:
    """Of a lease or reservation that is over, or was never there."""
    facts = answer.facts
    if answer.kind is AnswerKind.UNRESERVED:
        return Reason.RESERVATION_NOT_FOUND, _unreserved(facts, count)
    if answer.kind is not AnswerKind.EXPIRED:
        return None
    if facts.get("takenBy"):
        return Reason.EXPIRED_ALLOCATION, (
            f"IPClaim {facts['takenBy']} has taken the reserved addresses over; delete this claim, or set spec.mode"
            " to Allocate or spec.renewedAt to the present time to get others"
        )
    return Reason.EXPIRED_ALLOCATION, (
        f"the lease ended at {_moment(facts['expiredAt']):%Y-%m-%dT%H:%M:%SZ} and its addresses are released;"
        " set spec.renewedAt to the present time to get them again, or others if those are taken by then"
    )


def _selected(answer: Answer, pool: ObjectRef, count: int) -> tuple[Reason, str] | None:
    """Of a claim that says what pools are like; None: it is put as for one that names its pool."""
    facts = answer.facts
    if "crowded" in facts:
        return Reason.POOL_NOT_FOUND, (
            f"claims of this namespace ask for pools of namespace {pool.namespace} in {facts['crowded']} different ways"
            " already; ask in one of those, or wait until one has not been used for a day"
        )
    if "pools" not in facts:
        return None
    match answer.kind:
        case AnswerKind.EXHAUSTED:
            return Reason.POOL_EXHAUSTED, (
                f"{_asked(facts, count)} asked; {_meant(facts)} have too few: {_each(facts)}; the claim waits for more"
                f"{_barred(facts)}"
            )
        case AnswerKind.QUEUED:
            return (
                Reason.QUEUED,
                f"others go before this one, by priority or arrival, in {_meant(facts)}: {_each(facts)}",
            )
        case AnswerKind.PAUSED:
            return Reason.POOL_PAUSED, f"{_meant(facts)} are paused: {_each(facts)}; the claim waits for one of them"
        case AnswerKind.AMBIGUOUS:
            full = f"{_each(facts)}; then " if facts["pools"] else ""
            return Reason.POOL_AMBIGUOUS, (
                f"{full}{', '.join(facts['tied'])} are all {_meant(facts)} and have the same spec.priority, and none is"
                " chosen among equals; give them different priorities, or say in the claim which one it means"
            )
        case AnswerKind.UNMATCHED:
            return Reason.POOL_NOT_FOUND, (
                f"there are no {_meant(facts)} that are in service and allow claims of this namespace; the claim is"
                " served as soon as there is one"
            )
        case AnswerKind.OUTSIDE:
            return (
                Reason.OUTSIDE_POOL,
                f"{facts['wanted']} is handed out by none of the {_meant(facts)}: {_each(facts)}",
            )
        case _:
            return None


def _isolated(claim: Identity, pool: ObjectRef) -> str:
    """The same for a pool that does not lend and for one that is not there: strangers do not learn which."""
    return (
        f"namespace {pool.namespace} has no pool{'' if pool.name.startswith('?') else ' ' + pool.name} that claims of"
        f" namespace {claim.ref.namespace} may use; its owner can allow them by the pool's spec.allowedNamespaces,"
        " and the claim is served then"
    )


def _meant(facts: Mapping[str, Any]) -> str:
    kind = "pools" if facts.get("length") is None else f"pools of /{facts['length']} prefixes"
    if facts["network"] is not None:
        return f"{kind} of network {facts['network']}"
    labels = ",".join(f"{name}={value}" for name, value in sorted(facts["labels"].items()))
    words = [f"IPv{facts['family']}"] if facts.get("family") == 6 else []
    words += [facts["type"]] if facts["type"] is not None else []
    return " ".join([*words, kind]) + (f" with labels {labels}" if labels else "")


def _each(facts: Mapping[str, Any]) -> str:
    pools = [
        f"{one['name']} ({'paused' if one['paused'] else str(one['free']) + ' of ' + one['size'] + ' free'})"
        for one in facts["pools"][:_POOLS_SHOWN]
    ]
    more = len(facts["pools"]) - _POOLS_SHOWN
    return ", ".join(pools) + (f" and {more} more" if more > 0 else "")


def _barred(facts: Mapping[str, Any]) -> str:
    names = facts.get("barred") or ()
    more = len(names) - _POOLS_SHOWN
    named = ", ".join(names[:_POOLS_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return f", or for {facts['mac']}, which another claim has in the network of {named}" if names else ""


def _asked(facts: Mapping[str, Any], count: int) -> str:
    if facts.get("length") is not None:
        return f"{count} /{facts['length']} prefix" + ("es" if count > 1 else "")
    return f"{count} address" + ("es" if count > 1 else "")


def _misfit(facts: Mapping[str, Any], pool: ObjectRef) -> str:
    if facts["lengths"] is None:
        return (
            f"pool {pool.name} hands out addresses, not prefixes; take spec.prefixLength away, or name a pool that has"
            " spec.prefixes"
        )
    if facts["length"] not in facts["lengths"]:
        lengths = ", ".join(str(length) for length in sorted(facts["lengths"]))
        return f"pool {pool.name} hands out no /{facts['length']}; spec.prefixLength must be one of {lengths}"
    return f"{facts['wanted']} must be the first address of a /{facts['length']}: {facts['aligned']}"


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
    asked = _asked(facts, count)
    if count > size:
        return f"{asked} asked, but pool {pool.name} has only {size} in all; ask for fewer, or add ranges to the pool"
    if "length" in facts:
        largest = f"the largest free one is {facts['largest']}" if facts["largest"] is not None else "nothing is free"
        return f"{asked} asked; pool {pool.name} has {size}, {free} free ({largest}); the claim waits for more"
    ranges = [Range(parse_address(lo), parse_address(hi)) for lo, hi in zip(facts["lo"], facts["hi"], strict=True)]
    block = largest_block(ranges)
    largest = f"largest free block {block}" if block is not None and free > 0 else "no free block"
    return f"{asked} asked; pool {pool.name} has {size} addresses, {free} free, {largest}; the claim waits for more"


def _unreserved(facts: Mapping[str, Any], count: int) -> str:
    name = facts["reservation"]
    if not facts["found"]:
        return (
            f"no IPClaim {name} of this namespace has reserved addresses now: it is not there, allocates (spec.mode),"
            " waits or is over; this claim takes them over as soon as it has; or take spec.reservationRef away"
        )
    if not facts["here"]:
        return f"IPClaim {name} has reserved addresses of another pool than this claim asks for; ask for the same"
    if facts.get("closed") is not None:
        why = {
            "paused": "is paused",
            "retiring": "is being deleted",
            "forbidden": "does not allow this namespace any more",
        }
        return f"the pool of IPClaim {name} {why[facts['closed']]}; what it has reserved cannot be taken over for now"
    if facts.get("holdsLength") != facts.get("length"):
        held = "addresses" if facts.get("holdsLength") is None else f"/{facts['holdsLength']} prefixes"
        return f"{_asked(facts, count)} asked; IPClaim {name} has reserved {held}: spec.prefixLength must be the same"
    return f"{_asked(facts, count)} asked; IPClaim {name} has reserved {facts['holds']}: spec.count must be the same"


def _conflict(facts: Mapping[str, Any]) -> str:
    wanted = facts["wanted"]
    if facts.get("taken") is not None and facts["taken"] != wanted:
        wanted = f"{facts['taken']}, which overlaps {wanted},"
    if facts.get("lost"):
        return (
            f"the store has lost this claim's lease and cannot restore it: {wanted} is not free in the pool; "
            "the address is not changed silently: delete the other holder, or delete and re-create this claim"
        )
    if facts.get("retained"):
        taken = f"{wanted} is kept for a claim that is gone and may come again (spec.reclaimPolicy)"
    elif facts.get("cooling") is not None:
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

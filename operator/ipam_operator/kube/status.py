"""Outcome -> status document. Pure: same outcome, same previous status, same time, same document.

Conditions follow kstatus (sigs.k8s.io/cli-utils): `Ready` always, `Reconciling` while we wait for something
that comes by itself, `Stalled` when only the user can help; the last two are absent when they are not true.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final

from ipam_operator.domain.capacity import NetworkCount, PoolCount, percent
from ipam_operator.domain.findings import SEVERITY, Finding
from ipam_operator.domain.outcome import (
    HEALS_BY_ITSELF,
    Accepted,
    Block,
    ClaimOutcome,
    Granted,
    Held,
    Reason,
    Refused,
    Vanished,
)

Json = dict[str, Any]
Conditions = Sequence[Mapping[str, Any]]

MESSAGE_LIMIT: Final = 1024
"""Bytes of a condition's message that are worth reading; the CRD allows as many characters."""


CONFLICTS_SHOWN: Final = 20
"""Findings in one network's status; the metric counts all of them."""


def rfc3339(moment: datetime) -> str:
    """Seconds, UTC, as metav1.Time prints them."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(  # noqa: PLR0913 - the fields of metav1.Condition
    kind: str, *, true: bool, reason: str, message: str, generation: int, now: datetime, previous: Conditions
) -> Json:
    """One metav1.Condition; the transition time moves only when the status flips."""
    status = "True" if true else "False"
    since = next((c["lastTransitionTime"] for c in previous if c["type"] == kind and c["status"] == status), None)
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message[:MESSAGE_LIMIT],
        "observedGeneration": generation,
        "lastTransitionTime": since or rfc3339(now),
    }


def summary(  # noqa: PLR0913 - what a condition consists of
    reason: Reason,
    message: str,
    *,
    generation: int,
    now: datetime,
    previous: Conditions,
    serving: bool = False,
) -> list[Json]:
    """`Ready` and its kstatus companions; `serving`: an earlier, accepted spec is still in force."""
    ready = reason in {Reason.ALLOCATED, Reason.RESERVED, Reason.READY}
    common: Json = {
        "reason": reason.value, "message": message, "generation": generation, "now": now, "previous": previous,
    }  # fmt: skip
    conditions = [condition("Ready", true=ready or serving, **common)]
    if not ready:
        companion = "Reconciling" if reason in HEALS_BY_ITSELF else "Stalled"
        conditions.append(condition(companion, true=True, **common))
    return conditions


def for_claim(outcome: ClaimOutcome, *, now: datetime, previous: Conditions = ()) -> Json | None:
    """The whole status of a claim; None when nobody is left to read it."""
    match outcome:
        case Granted():
            return _granted(outcome, now, previous)
        case Refused():
            generation = outcome.subject.generation
            status: Json = {
                "observedGeneration": generation,
                "reason": outcome.reason.value,
                "conditions": summary(
                    outcome.reason, outcome.message, generation=generation, now=now, previous=previous
                ),
            }
            if outcome.queue_position is not None:
                status["queuePosition"] = outcome.queue_position
            return status
        case Vanished():
            return None


def _granted(outcome: Granted, now: datetime, previous: Conditions) -> Json:
    reason = Reason.RESERVED if outcome.reserved else Reason.ALLOCATED
    addresses = [str(address) for address in outcome.addresses]
    kind = "prefix" if isinstance(outcome.addresses[0], IPv4Network | IPv6Network) else "address"
    pool = outcome.pool.seen_from(outcome.claim.ref.namespace)
    blocks = [_block(block, outcome) for block in outcome.blocks]
    source = "pools" if len(blocks) > 1 else "pool"
    pools = " and ".join(block["pool"] for block in blocks)
    status: Json = {
        "observedGeneration": outcome.claim.generation,
        "reason": reason.value,
        "address": addresses[0],
        "addresses": addresses,
        "blocks": blocks,
        "pool": pool,
        "leaseGeneration": outcome.lease_generation,
        "allocatedAt": rfc3339(outcome.allocated_at),
        "conditions": summary(
            reason,
            f"{len(addresses)} {kind}{'es' if len(addresses) > 1 else ''} from {source} {pools}",
            generation=outcome.claim.generation,
            now=now,
            previous=previous,
        ),
    }
    if outcome.mac is not None:
        status["macAddress"] = outcome.mac
    if outcome.expires_at is not None:
        status["expiresAt"] = rfc3339(outcome.expires_at)
    if outcome.shares_key_with is not None:
        status["conditions"].append(
            condition(
                "StickyKeyUnique",
                true=False,
                reason="SharedKey",
                message=(
                    f"IPClaim {outcome.shares_key_with} lives under the same stickyKey, so this one got addresses of"
                    " its own; give one of them another key"
                ),
                generation=outcome.claim.generation,
                now=now,
                previous=previous,
            )
        )
    ipv6 = next((text for text in addresses if ":" in text), None)
    if ipv6 is not None:
        status["addressIPv6"] = ipv6
    return status


def _block(block: Block, outcome: Granted) -> Json:
    pool = (block.pool or outcome.pool).seen_from(outcome.claim.ref.namespace)
    document: Json = {"family": block.family, "pool": pool, "prefixLength": block.prefix_length}
    if block.gateway is not None:
        document["gateway"] = str(block.gateway)
    if block.dns_servers:
        document["dnsServers"] = [str(server) for server in block.dns_servers]
    return document


def changed_message(lost: Collection[str]) -> str:
    """For an Event: a claim holds others than its status showed."""
    some = ", ".join(sorted(lost)[:3])
    return f"{some} was shown here and is not held any more; status.addresses has what is"


def store_unavailable(*, generation: int, now: datetime) -> Json:
    """For a claim that was never answered: says so, and leaves `observedGeneration` alone."""
    message = "the allocation store does not answer; the claim is served as soon as it does"
    return {
        "reason": Reason.STORE_UNAVAILABLE.value,
        "conditions": summary(Reason.STORE_UNAVAILABLE, message, generation=generation, now=now, previous=()),
    }


def for_parent(outcome: Accepted | Refused | Held, *, now: datetime, previous: Conditions, serving: bool) -> Json:
    """The reconciled part of a network's or pool's status: conditions, reason, observedGeneration."""
    match outcome:
        case Accepted():
            reason, message, generation = Reason.READY, "in service", outcome.subject.generation
        case Refused():
            reason, message, generation = outcome.reason, outcome.message, outcome.subject.generation
        case Held():
            reason, message, generation = Reason.IN_USE, held_message(outcome), outcome.subject.generation
    conditions = summary(reason, message, generation=generation, now=now, previous=previous, serving=serving)
    return {"observedGeneration": generation, "reason": reason.value, "conditions": conditions}


def pool_counters(count: PoolCount) -> Json:
    """The counted part of a pool's status; the whole of it, so that nothing stale stays."""
    return {
        "network": count.network,
        "family": 6 if any(":" in one for one in count.ranges) else 4,
        "state": count.state,
        "capacity": {
            "usable": str(count.size),
            "allocated": str(count.allocated),
            "cooling": str(count.cooling),
            "retained": str(count.retained),
            "free": str(count.free),
        },
        "utilizationPercent": percent(count.allocated, count.size),
        "largestFreeBlock": count.largest_free_block,
        "waiting": count.waiting,
        "effectiveRanges": list(count.ranges),
    }


def namespaces_allowed(count: PoolCount, *, generation: int, now: datetime, previous: Conditions) -> Json:
    """The condition NamespacesAllowed: whether all that is held is held with consent."""
    if not count.unlent:
        reason, message = "ConsentGiven", "all that is held is held with consent"
    else:
        who = ", ".join(f"{namespace} ({held})" for namespace, held in count.unlent.items())
        reason = Reason.TENANT_ISOLATION.value
        message = (
            f"claims of namespaces that spec.allowedNamespaces does not allow hold addresses still: {who}; they keep"
            " them until they are deleted, and get no more"
        )
    return condition(
        "NamespacesAllowed", true=not count.unlent, reason=reason, message=message, generation=generation, now=now,
        previous=previous,
    )  # fmt: skip


def network_counters(count: NetworkCount) -> Json:
    """The counted part of a network's status."""
    return {
        "cidr": str(count.cidr),
        "addressSpace": count.address_space,
        "capacity": {
            "usable": str(count.usable),
            "allocated": str(count.allocated),
            "reserved": str(count.reserved_size),
            "cooling": str(count.cooling),
            "free": str(count.unassigned),
        },
        "utilizationPercent": percent(count.allocated + count.reserved_size, count.usable),
        "pools": count.pools,
    }


def conflict_free(found: Sequence[Finding], *, generation: int, now: datetime, previous: Conditions) -> Json:
    """The condition ConflictFree."""
    if not found:
        reason, message = "AuditPassed", "cluster and store agree"
    else:
        worst = found[0].message
        reason, message = "ConflictsFound", f"{len(found)} conflicts, such as: {worst}; see status.conflicts"
    return condition(
        "ConflictFree",
        true=not found,
        reason=reason,
        message=message,
        generation=generation,
        now=now,
        previous=previous,
    )


def conflicts(found: Mapping[Finding, str]) -> Json:
    """The gravest findings, with when each was first seen."""
    order = {"High": 0, "Medium": 1, "Low": 2}
    worst = sorted(found, key=lambda one: (order[SEVERITY[one.type]], one.addresses))[:CONFLICTS_SHOWN]
    return {"conflicts": [_conflict(one, found[one]) for one in worst] or None}


def _conflict(one: Finding, since: str) -> Json:
    entry: Json = {
        "type": one.type.value,
        "severity": SEVERITY[one.type],
        "address": one.addresses.split(",", 1)[0].split("-", 1)[0],
        "message": one.message[:MESSAGE_LIMIT],
        "since": since,
    }
    if one.pool is not None:
        entry["pool"] = one.pool.name
    if one.named_claim:
        entry["claim"] = one.named_claim
    return entry


def held_message(held: Held) -> str:
    """Who holds a deletion, in words."""
    more = f" and {held.total - len(held.holders)} more" if held.total > len(held.holders) else ""
    return f"deletion waits for {held.total} in use: {held.words}{more}"


def same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a write of `new` over `old` would change anything worth a write."""
    return dict(old) == dict(new)

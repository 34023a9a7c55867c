"""Answers of the store into statuses of claims, Events of what people should know, and counts."""

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from ipam_operator import telemetry
from ipam_operator.domain.outcome import HEALS_BY_ITSELF, ClaimOutcome, Granted, Reason, Refused, Vanished
from ipam_operator.kube import places, status
from ipam_operator.kube.apiserver import Reply, Target
from ipam_operator.kube.events import Events
from ipam_operator.kube.inbox import Inbox, Item
from ipam_operator.kube.resources import Kind
from ipam_operator.kube.standing import Standing
from ipam_operator.kube.writer import Writer

_ANNOUNCED: Final = {Reason.POOL_EXHAUSTED, Reason.QUOTA_EXCEEDED, Reason.RATE_LIMITED}
"""Reasons that heal by themselves, and that somebody may want to do something about all the same."""
_CHANGED: Final = "AddressChanged"


def _nothing(_reply: Reply) -> None:
    pass


class ClaimStatuses:
    """Writes them. Owns no truth, as ClaimReconciler does not."""

    def __init__(self, inbox: Inbox, writer: Writer, events: Events, standing: Standing) -> None:
        self._inbox, self._writer, self._events, self._standing = inbox, writer, events, standing
        self._told_away: set[UUID] = set()
        self.on_limited: Callable[[], None] = lambda: None
        """Called when a claim has to wait for a token of its namespace."""

    def write(self, item: Item, outcome: ClaimOutcome) -> None:
        """For a claim that was seen."""
        self._told_away.discard(item.uid)
        self._count(outcome)
        previous = item.status.get("conditions") or ()
        document = status.for_claim(outcome, now=datetime.now(UTC), previous=previous)
        if document is None:
            self._inbox.done(item.uid)
            return
        if isinstance(outcome, Granted) and (
            lost := set(item.status.get("addresses") or ()) - set(document["addresses"])
        ):
            self._events.post(item.target, _CHANGED, status.changed_message(lost))
        if isinstance(outcome, Refused):
            document = document if outcome.ended else _keep_grant(item, document, outcome.reason)
            if item.status.get("reason") != outcome.reason:
                # Of one namespace, so that nobody's claims use up the Events of another's.
                self._announce(item.target, outcome, group=f"{item.identity.ref.namespace} {places.asked(item)}")
        self._standing.show(item.uid, document)
        if status.same(item.status, document):
            self._inbox.done(item.uid, answered=item.identity.generation)
            return

        def written(reply: Reply) -> None:
            self._forget_gone(item.uid, reply)
            if reply.done:
                telemetry.answer_seconds.observe(time.monotonic() - item.seen)
            self._inbox.done(item.uid, answered=item.identity.generation)

        # Who shows what it holds already has time: after a restore that may be everybody.
        late = item.answered and item.status.get("addresses") == document.get("addresses")
        self._writer.status(item.target, document, written, late=late)

    def write_served(
        self, outcome: ClaimOutcome, done: Callable[[Reply], None] = _nothing, previous: status.Conditions = ()
    ) -> bool:
        """For a claim that only the store remembers; whether there is something to write."""
        if isinstance(outcome, Vanished):
            return False
        self._count(outcome)
        identity = outcome.claim if isinstance(outcome, Granted) else outcome.subject
        target = Target(Kind.CLAIM, identity.ref, identity.uid)
        document = status.for_claim(outcome, now=datetime.now(UTC), previous=previous)
        if document is None:
            return False
        self._standing.show(target.uid, document)

        def written(reply: Reply) -> None:
            self._forget_gone(target.uid, reply)
            done(reply)

        self._writer.status(target, document, written)
        if isinstance(outcome, Refused) and outcome.reason is Reason.EXPIRED_ALLOCATION:
            self._announce(target, outcome, group=str(target.ref.namespace))
        return True

    def _forget_gone(self, uid: UUID, reply: Reply) -> None:
        if reply.gone:
            self._standing.show(uid, {})

    def _announce(self, target: Target, refused: Refused, *, group: str) -> None:
        if refused.reason not in HEALS_BY_ITSELF or refused.reason in _ANNOUNCED:
            self._events.post(target, refused.reason.value, refused.message, group=group)

    def tell_away(self, items: Iterable[Item]) -> None:
        """Tell those who were never answered, once, that they wait for the store."""
        now = datetime.now(UTC)
        for item in items:
            if "observedGeneration" not in item.status and item.uid not in self._told_away:
                self._told_away.add(item.uid)
                if item.status.get("reason") != Reason.STORE_UNAVAILABLE:
                    document = status.store_unavailable(generation=item.identity.generation, now=now)
                    self._writer.status(item.target, document, _nothing)

    def _count(self, outcome: ClaimOutcome) -> None:
        self._standing.answer(outcome)
        if isinstance(outcome, Granted):
            self._standing.granted(outcome)
        if isinstance(outcome, Refused) and outcome.reason is Reason.RATE_LIMITED:
            self.on_limited()
        result = outcome.reason.value if isinstance(outcome, Refused) else type(outcome).__name__
        telemetry.allocations.labels(result).inc()


def _keep_grant(item: Item, document: dict[str, Any], reason: Reason) -> dict[str, Any]:
    """A refused edit changes nothing: what the claim holds stays in its status; an expired one holds nothing."""
    if reason is Reason.EXPIRED_ALLOCATION:
        return document
    kept = (
        "address",
        "addressIPv6",
        "addresses",
        "blocks",
        "pool",
        "macAddress",
        "leaseGeneration",
        "allocatedAt",
        "expiresAt",
    )
    return {**{name: item.status[name] for name in kept if name in item.status}, **document}

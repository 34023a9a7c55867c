"""IPNetworks and IPPools: few, so one at a time per object; what they hold back is woken by name.

Both kinds take the same way: finalizer -> request -> service -> conditions (at once) and counters (on a timer),
composed into one status document per object, written only when it differs from what stands there.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from ipam_operator.domain.model import Identity, ObjectRef
from ipam_operator.domain.outcome import HEALS_BY_ITSELF, Accepted, Held, Reason, Refused, Removed
from ipam_operator.errors import StoreFaultError, StoreUnavailableError
from ipam_operator.kube import status
from ipam_operator.kube.apiserver import Reply
from ipam_operator.kube.backoff import CappedBackoff
from ipam_operator.kube.events import Events
from ipam_operator.kube.inbox import Inbox, Item
from ipam_operator.kube.resources import Kind
from ipam_operator.kube.status import Json
from ipam_operator.kube.writer import Writer

_CONCURRENT: Final = 8
"""Objects of one kind in work at once; each costs a few statements and two writes."""
_log = logging.getLogger(__name__)

Outcome = Accepted | Refused | Held | Removed
Apply = Callable[[Item], Awaitable[Accepted | Refused]]
Retire = Callable[[Identity], Awaitable[Removed | Held]]


@dataclass(slots=True)
class Known:
    """An object and the status document that stands there, or is on its way there."""

    item: Item
    status: Json
    writing: int = 0


@dataclass(slots=True)
class Neighbours:
    """Whom to tell when an object comes into service, leaves it, or is refused for a new reason."""

    accepted: Callable[[Item], None] = field(default=lambda _item: None)
    refused: Callable[[Item], None] = field(default=lambda _item: None)
    removed: Callable[[Item], None] = field(default=lambda _item: None)


class ParentReconciler:
    """Reconciles one of the two kinds."""

    def __init__(self, inbox: Inbox, writer: Writer, events: Events, *, apply: Apply, retire: Retire) -> None:
        self._inbox, self._writer, self._events = inbox, writer, events
        self._apply, self._retire = apply, retire
        self.known: dict[UUID, Known] = {}
        self.tell = Neighbours()

    def see(self, item: Item, *, force: bool = False, fresh: bool = False) -> None:
        """Take note of an object.

        Args:
            item: as last seen.
            force: work on it even when it looks answered.
            fresh: from a list of now, so its status is what stands there.
        """
        known = self.known.get(item.uid)
        if item.gone:
            self.known.pop(item.uid, None)
        elif known is None:
            self.known[item.uid] = Known(item, dict(item.status))
        else:
            force |= known.item.labels != item.labels  # no new generation tells of them
            known.item = item
            if fresh and not known.writing:
                known.status = dict(item.status)
        self._inbox.put(item, force=force)

    def nudge(self, wanted: Callable[[Known], bool]) -> None:
        """Look again at every object that `wanted` picks."""
        for known in list(self.known.values()):
            if wanted(known):
                self._inbox.put(known.item, force=True)

    def find(self, ref: ObjectRef) -> Known | None:
        """The object of this name, if it is there."""
        return next((known for known in self.known.values() if known.item.identity.ref == ref), None)

    def patch_status(self, uid: UUID, fields: Mapping[str, Any], conditions: Iterable[Json] = ()) -> None:
        """Merge fields and conditions into the object's status; no write when nothing changes."""
        known = self.known.get(uid)
        if known is None:
            return
        merged = {c["type"]: c for c in known.status.get("conditions") or ()}
        merged |= {c["type"]: c for c in conditions}
        document = {**known.status, **fields, "conditions": list(merged.values())}
        self._write(known, {name: value for name, value in document.items() if value is not None})

    async def settle(self) -> None:
        """Wait until nothing that was seen waits for an answer."""
        await self._inbox.settled()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            # A list after a restart comes in name order: who was first is told by the API server's clock.
            items = sorted(await self._inbox.take(_CONCURRENT), key=_created)
            async with asyncio.TaskGroup() as group:
                before = asyncio.Event()
                before.set()
                for item in items:
                    decided = asyncio.Event()
                    group.create_task(self._reconcile(item, before, decided))
                    before = decided

    async def _reconcile(self, item: Item, before: asyncio.Event, decided: asyncio.Event) -> None:
        """The store decides after `before`, and then `decided` is set: of two that overlap the first one is served."""
        held = await self._held(item)
        await before.wait()
        if held is None:
            decided.set()
            self._inbox.done(item.uid)  # changed or gone since: its next event brings it back
            return
        outcome = await self._decide(held, decided)
        decided.set()
        await self._follow(held, outcome)

    async def _held(self, item: Item) -> Item | None:
        """The object with our finalizer, or as it goes; None: there is nothing to do about it now."""
        newest: Item | None = item
        while newest is not None and not (newest.dying or newest.held):
            if (await self._hold(newest)).done:
                return newest
            newest = await self._inbox.newer(item.uid)  # Kopf's own finalizer, for its timer, came in between
        return newest if newest is not None and (newest.held or newest.gone) else None

    async def _follow(self, item: Item, outcome: Outcome) -> None:
        match outcome:
            case Removed():
                await self._removed(item)
                return
            case Accepted():
                self._conclude(item, outcome)
                self.tell.accepted(item)
            case Refused() | Held():
                self._conclude(item, outcome)
        self._inbox.done(item.uid, answered=None if item.dying else item.identity.generation)

    async def _decide(self, item: Item, decided: asyncio.Event) -> Outcome:
        for delay in CappedBackoff(0.2, 5.0):
            try:
                return await (self._retire(item.identity) if item.dying else self._apply(item))
            except StoreFaultError:
                _log.exception("the store refuses %s %s; the resync tries again", item.kind, item.identity.ref)
                return Refused(item.identity, Reason.STORE_UNAVAILABLE, "the store reports a fault; it is tried again")
            except StoreUnavailableError as error:
                _log.warning("%s %s waits for the store: %s", item.kind, item.identity.ref, error)
                known = self.known.get(item.uid)
                if known is not None and "observedGeneration" not in known.status:
                    document = status.store_unavailable(generation=item.identity.generation, now=datetime.now(UTC))
                    previous = known.status.get("reason")
                    if previous != document["reason"]:
                        self._write(known, document)
                decided.set()  # everybody is told that the store is away
                await asyncio.sleep(delay)
        raise AssertionError("the back-off is endless")

    async def _removed(self, item: Item) -> None:
        if item.held and not item.gone:
            reply = await self._let_go(item)
            self._inbox.done(item.uid, let_go=reply.done)
        else:
            self._inbox.done(item.uid)
        self.known.pop(item.uid, None)
        self.tell.removed(item)

    def _conclude(self, item: Item, outcome: Accepted | Refused | Held) -> None:
        known = self.known.get(item.uid)
        if known is None:
            return
        previous = known.status.get("conditions") or []
        serving = isinstance(outcome, Refused) and _ready(previous)
        document = status.for_parent(outcome, now=datetime.now(UTC), previous=previous, serving=serving)
        if item.kind is Kind.POOL and isinstance(outcome, Refused) and not serving:
            document["state"] = "Invalid"
        others = [c for c in previous if c["type"] not in {"Ready", "Reconciling", "Stalled"}]
        transition = known.status.get("reason") != document["reason"]
        merged = {**known.status, **document, "conditions": document["conditions"] + others}
        if isinstance(outcome, Accepted) and merged.get("state") == "Invalid":
            del merged["state"]  # the counters that follow tell the new one
        self._write(known, merged)
        if transition:
            self._announce(item, outcome)
            if not isinstance(outcome, Accepted):
                self.tell.refused(item)

    def _announce(self, item: Item, outcome: Accepted | Refused | Held) -> None:
        match outcome:
            case Refused() if outcome.reason not in HEALS_BY_ITSELF or outcome.reason is Reason.RATE_LIMITED:
                self._events.post(item.target, outcome.reason.value, outcome.message)
            case Held():
                self._events.post(item.target, Reason.IN_USE.value, status.held_message(outcome))
            case _:
                return

    def _write(self, known: Known, document: Json) -> None:
        if status.same(known.status, document):
            return
        known.status, known.writing = document, known.writing + 1

        def written(_reply: Reply) -> None:
            known.writing -= 1

        self._writer.status(known.item.target, document, written)

    async def _hold(self, item: Item) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._writer.hold(item, _settle(future))
        reply = await future
        known = self.known.get(item.uid)
        if reply.done and known is not None and not known.item.held:
            # Its event is still on the way. A nudge before it comes must not try to hold what has changed since.
            known.item = Item.of(item.kind, json.loads(reply.body))
        return reply

    async def _let_go(self, item: Item) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._writer.let_go(item, _settle(future))
        return await future


def _settle(future: "asyncio.Future[Reply]") -> Callable[[Reply], None]:
    def settle(reply: Reply) -> None:
        if not future.done():
            future.set_result(reply)

    return settle


def _ready(conditions: Iterable[Mapping[str, Any]]) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def network_of(known: Known) -> str:
    """The name of the network that a pool refers to."""
    return str((known.item.spec.get("networkRef") or {}).get("name", ""))


def _created(item: Item) -> str:
    return str(item.meta.get("creationTimestamp", ""))

"""IPClaims: inbox -> (finalizer) -> per-pool batch -> store -> status; releases likewise, in one lane."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from ipam_operator import telemetry
from ipam_operator.api import v1alpha1
from ipam_operator.domain.answers import Due, Served
from ipam_operator.domain.model import ClaimRequest, ObjectRef, Promise, Release, Term
from ipam_operator.domain.outcome import ClaimOutcome, Reason, Refused
from ipam_operator.domain.renewals import not_looked_at
from ipam_operator.errors import StoreFaultError, StoreUnavailableError, StoreUncomparedError
from ipam_operator.kube import places
from ipam_operator.kube.adoption import Adoption
from ipam_operator.kube.alarms import Alarms
from ipam_operator.kube.apiserver import Reply
from ipam_operator.kube.backoff import CappedBackoff
from ipam_operator.kube.claim_statuses import ClaimStatuses
from ipam_operator.kube.events import Events
from ipam_operator.kube.heirs import Heirs
from ipam_operator.kube.inbox import Inbox, Item
from ipam_operator.kube.lanes import Lanes
from ipam_operator.kube.newcomers import LetIn, Newcomers
from ipam_operator.kube.stamps import Stamps
from ipam_operator.kube.standing import Standing
from ipam_operator.kube.told import Told
from ipam_operator.kube.writer import Writer
from ipam_operator.services.claims import SERVE_LIMIT, Claims

_RELEASES: Final = "releases"
_SETTLE_SECONDS: Final = 0.1
_TOLD_SECONDS: Final = 5.0
_TELLING: Final = 4
"""Answers that no event asked for on their way at once: a storm of them must not stand before those who wait."""
_STORE_DELAYS: Final = CappedBackoff(0.1, 5.0)
_UNCOMPARED_SECONDS: Final = 10.0
"""So long a comparison may take before those who wait for it are told that they wait."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Asked:
    item: Item
    request: ClaimRequest


class ClaimReconciler:
    """Answers claims. Owns no truth: everything it remembers can be lost and is found again by resync."""

    def __init__(  # noqa: PLR0913 - what it asks and whom it tells
        self,
        claims: Claims,
        inbox: Inbox,
        writer: Writer,
        events: Events,
        *,
        batch_limit: int,
        standing: Standing,
        stamps: Stamps,
        renew_kinds: frozenset[str] = frozenset(),
    ) -> None:
        self._claims, self._inbox, self._writer = claims, inbox, writer
        self.adoption = Adoption(claims, stamps.actor)
        self.statuses = ClaimStatuses(inbox, writer, events, standing)
        self._standing, self._stamps, self._renew_kinds = standing, stamps, renew_kinds
        self._batch_limit = batch_limit
        self._pools: Lanes[ObjectRef, _Asked] = Lanes(self._answer, batch_limit, writer.room)
        self._releases: Lanes[str, Item] = Lanes(self._release, batch_limit, writer.room_to_leave)
        self._alarms = Alarms(self.serve)
        self._told = Told(claims.told)
        self._heirs = Heirs()
        self._tell: set[ObjectRef] = set()
        self.on_release: Callable[[ObjectRef], None] = lambda _pool: None
        """Called with the pool of each released claim: a deletion may have waited for it."""
        self._compared = asyncio.Event()
        self.on_uncompared: Callable[[], None] = lambda: None
        """Called when the store grants nothing before it is compared with the cluster."""
        self._newcomers: Newcomers | None = None

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pools.run())
            group.create_task(self._releases.run())
            group.create_task(self._alarms.run())
            group.create_task(self._told.run())
            group.create_task(self._take())

    def see(self, item: Item, *, force: bool = False, listed: float | None = None) -> None:
        """Take note of a claim; with `force` also of one that looks answered; `listed`: when the list of it began."""
        self._standing.see(item)
        self._inbox.put(item, force=force, listed=listed)
        for heir in self._heirs.see(item):
            self._inbox.put(heir, force=True)

    def hold_newcomers(self) -> LetIn:
        """From now on claims wait until the store knows their namespace; returns what is to be called then."""
        newcomers = self._newcomers = Newcomers()

        def let_in(namespaces: Mapping[str, bool], *, whole: bool) -> None:
            for item in newcomers.let_in(namespaces, whole=whole):
                self._inbox.put(item)

        return let_in

    async def keep(self, items: Iterable[Item]) -> None:
        """Let the store end no lease of these before their statuses say.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        promises = (_promise(item) for item in items)
        await self._claims.keep([promise for promise in promises if promise is not None])

    def compared(self) -> None:
        """The store may grant again."""
        self._compared.set()

    def serve(self, pool: ObjectRef, *, tell: bool = False) -> None:
        """Bind whoever waits for this pool, as far as addresses are there; `tell` the others how it stands."""
        if tell:
            self._tell.add(pool)
        self._pools.put(pool)

    def tell_places(self, pool: ObjectRef) -> None:
        """Tell the first who wait for this pool their places in the queue, when that is due."""
        if self._standing.due(pool):
            self._pools.put(pool)

    async def tell(self, outcomes: Iterable[ClaimOutcome]) -> None:
        """Write answers that no event asked for, unless claims have moved on; wait a while until they are written."""
        turns = asyncio.Semaphore(_TELLING)
        await asyncio.gather(*(self._tell_one(outcome, turns) for outcome in outcomes))

    async def _tell_one(self, outcome: ClaimOutcome, turns: asyncio.Semaphore) -> None:
        if isinstance(outcome, Refused) and self._inbox.beyond(outcome.subject):
            return
        written = asyncio.Event()
        async with turns:
            if self.statuses.write_served(outcome, lambda _reply: written.set()):
                with suppress(TimeoutError):  # one that cannot be written holds up nobody else
                    async with asyncio.timeout(_TOLD_SECONDS):
                        await written.wait()

    async def settle(self) -> None:
        """Wait until nothing that was seen waits for an answer."""
        await self._inbox.settled()

    def alarm(self, dues: Iterable[Due]) -> None:
        """Remember when waited-for addresses come due."""
        for due in dues:
            self._alarms.set(due.pool, due.seconds)

    async def _take(self) -> None:
        await self._stamps.looked.wait()
        while True:
            for item in await self._inbox.take(self._batch_limit):
                if self._newcomers is not None and self._newcomers.wait(item):
                    self._inbox.done(item.uid)
                elif item.dying:
                    self._releases.put(_RELEASES, item)
                elif item.held:
                    self._ask(item)
                else:
                    self._writer.hold(item, self._held(item))
            await asyncio.sleep(0)

    def _held(self, item: Item) -> Callable[[Reply], None]:
        def held(reply: Reply) -> None:
            if reply.done:
                self._ask(item)
            else:  # gone, or changed since: its next event brings it back
                self._inbox.done(item.uid)

        return held

    def _ask(self, item: Item) -> None:
        request = v1alpha1.claim_request(item.identity, item.spec, actor=self._stamps.actor(item))
        if not isinstance(request, Refused):
            request = not_looked_at(request, self._renew_kinds) or request
        if isinstance(request, Refused):
            self.statuses.write(item, request)
        else:
            self._pools.put(request.pool, _Asked(item, replace(request, edited=_edited(item))))

    async def _answer(self, pool: ObjectRef, asked: list[_Asked]) -> None:
        if not asked:
            await self._serve(pool)
            return
        telemetry.batch_size.observe(len(asked))
        # A list after a restart comes in name order: who was first is told by the API server's clock.
        asked.sort(key=_place)
        for delay in _STORE_DELAYS:
            began = time.monotonic()
            try:
                served = await self._allocate(pool, asked)
                break
            except StoreUnavailableError as error:
                _log.warning("%d claims of %s wait for the store: %s", len(asked), pool, error)
                await self._pause(error, delay, [*asked, *self._pools.waiting(pool)])
        self.alarm(served.due)
        items = {one.item.uid: one.item for one in asked}
        now = time.monotonic()
        for outcome in served.outcomes:
            item = items.get(_claim_of(outcome))
            if isinstance(outcome, Refused) and self._standing.overtaken(outcome, began):
                continue  # if asked, it is done below: its grant is written already
            items.pop(_claim_of(outcome), None)
            if item is None:
                self.statuses.write_served(outcome)
            else:
                telemetry.allocation_seconds.observe(now - item.seen)
                self.statuses.write(item, outcome)
        for item in items.values():  # the store could not even say why: the resync asks again
            self._inbox.done(item.uid)

    async def _allocate(self, pool: ObjectRef, asked: list[_Asked]) -> Served:
        """What a claim shows it keeps, or is told that it cannot: an address never changes silently."""
        await self._adopt_lost(pool)
        await self.adoption.make_way([(one.request, one.item) for one in asked])
        showing = [(one.request, one.item) for one in asked if places.addresses(one.item)]
        if not showing:
            return await self._claims.allocate(pool, [one.request for one in asked])
        adopted = await self.adoption.adopt(showing)
        lost = tuple(outcome for served in adopted for outcome in served.outcomes if isinstance(outcome, Refused))
        settled = {_claim_of(outcome) for outcome in lost}.union(*(served.unread for served in adopted))
        # Those that were adopted are asked as well: their lease and their details have yet to be told.
        rest = [one.request for one in asked if one.item.uid not in settled]
        if not rest:
            return Served(lost)
        served = await self._claims.allocate(pool, rest)
        return Served(lost + served.outcomes, served.due)

    async def _adopt_lost(self, pool: ObjectRef) -> None:
        for item in await self.adoption.adopt_lost(pool):
            self.see(item, force=True)

    async def _pause(self, error: StoreUnavailableError, delay: float, waiting: Sequence[_Asked]) -> None:
        if isinstance(error, StoreUncomparedError):
            self._compared.clear()
            self.on_uncompared()
            with suppress(TimeoutError):
                async with asyncio.timeout(_UNCOMPARED_SECONDS):
                    await self._compared.wait()
                return
        self.statuses.tell_away(one.item for one in waiting)
        await asyncio.sleep(delay)

    async def _serve(self, pool: ObjectRef) -> None:
        tell = pool in self._tell
        self._tell.discard(pool)
        began = time.monotonic()
        for delay in _STORE_DELAYS:
            try:
                await self._adopt_lost(pool)
                served = await self._claims.serve(pool, tell=tell)
                break
            except StoreUnavailableError as error:
                _log.warning("those who wait for %s wait for the store: %s", pool, error)
                await self._pause(error, delay, self._pools.waiting(pool))
            except StoreFaultError:
                _log.exception("the queue of %s cannot be served", pool)
                return
        with self._told.when_written(served.untold) as handout:
            for outcome in served.outcomes:
                if self._standing.isolated(outcome):
                    continue
                if not (isinstance(outcome, Refused) and self._standing.overtaken(outcome, began)):
                    handout.expect(writing=self.statuses.write_served(outcome, handout.written))
        if self._standing.take(pool):
            await self._write_places(pool)
        if len(served.outcomes) >= SERVE_LIMIT and not tell:
            self.serve(pool)
        # A pool that says "now" and yet served nobody would spin: let its next address settle first.
        pause = 0.0 if served.outcomes else _SETTLE_SECONDS
        self.alarm(Due(due.pool, max(due.seconds, pause)) for due in served.due)

    async def _write_places(self, pool: ObjectRef) -> None:
        began = time.monotonic()
        try:
            served = await self._claims.first_in_line(pool)
        except (StoreUnavailableError, StoreFaultError) as error:
            _log.warning("those who wait for %s are told their places later: %s", pool, error)
            return
        for outcome in served.outcomes:
            if not isinstance(outcome, Refused) or self._inbox.beyond(outcome.subject):
                continue
            if self._standing.overtaken(outcome, began):
                continue
            shown = self._standing.news(outcome)
            if shown is not None:
                self.statuses.write_served(outcome, previous=shown)

    async def _release(self, _lane: str, items: list[Item]) -> None:
        # Of who deleted only the store may know (ADR 11, 12): never a guess.
        ended = [(Release(item.uid, retain=_retain(item)), places.asked(item)) for item in items]
        for delay in _STORE_DELAYS:
            try:
                done, dues = await self._claims.release(ended)
                break
            except StoreUnavailableError as error:
                _log.warning("%d deletions wait for the store: %s", len(items), error)
                await asyncio.sleep(delay)
        telemetry.releases.labels("deleted").inc(len(done))
        released = set(done)
        for item in items:
            if item.held and not item.gone and item.uid in released:
                self._writer.let_go(item, self._let_go(item))
            else:
                self._inbox.done(item.uid)
        self.alarm(dues)
        for pool in {home for item in items for home in places.homes(item, places.addresses(item))}:
            self.on_release(pool)

    def _let_go(self, item: Item) -> Callable[[Reply], None]:
        # A refused patch on an object that is still there means that others changed its finalizers:
        # the event of that change brings it back.
        return lambda reply: self._inbox.done(item.uid, let_go=reply.done)


def _claim_of(outcome: ClaimOutcome) -> UUID:
    return outcome.subject.uid if isinstance(outcome, Refused) else outcome.claim.uid


def _edited(item: Item) -> bool:
    """Whether the claim shows addresses that it got for an earlier spec."""
    observed = item.status.get("observedGeneration")
    return bool(item.status.get("addresses")) and observed is not None and observed < item.identity.generation


def _promise(item: Item) -> Promise | None:
    until, generation = item.expires_at, item.status.get("observedGeneration")
    if until is None or generation is None:
        return None
    if not item.answered or item.status.get("reason") not in {Reason.ALLOCATED, Reason.RESERVED}:
        return Promise(item.uid, generation, until)
    request = v1alpha1.claim_request(item.identity, item.spec, actor="")
    return Promise(item.uid, generation, until, None if isinstance(request, Refused) else request.term or Term())


def _retain(item: Item) -> bool:
    return item.spec.get("reclaimPolicy") == "Retain"


def _place(asked: _Asked) -> tuple[int, str]:
    detail = asked.request.detail
    return -(detail.priority if detail else 0), str(asked.item.meta.get("creationTimestamp", ""))

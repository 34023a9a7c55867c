"""The guarantee behind every lost event: leader-only, compares the cluster with the store and repairs both ways."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from ipam_operator import telemetry
from ipam_operator.domain.findings import Finding, Plan
from ipam_operator.domain.model import Identity, ObjectRef
from ipam_operator.errors import ClusterUnavailableError, StoreFaultError, StoreUnavailableError
from ipam_operator.kube.apiserver import ApiServer
from ipam_operator.kube.census import census
from ipam_operator.kube.claims import ClaimReconciler
from ipam_operator.kube.inbox import Item
from ipam_operator.kube.parents import ParentReconciler
from ipam_operator.kube.resources import Kind
from ipam_operator.kube.tenants import Tenants
from ipam_operator.services.resync import Resync
from ipam_operator.store.parents import Parents

_MARGIN_SECONDS = 5.0
"""Beside the age of the list itself: a lease so young is not judged."""
_SECOND_LOOK_SECONDS = 5.0
_AFTER_CRD_CHANGE = (1.0, 3.0, 8.0)
"""Seconds after a CRD change: the API server ends watches silently while it rebuilds the kind's handler."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What became of the claims that show addresses."""

    shown: int
    """How many there are."""
    left: tuple[Item, ...]
    """Those of them whose addresses the store could not take in: their statuses say why."""


class ResyncLoop:
    """Runs at once, then at intervals, and when told."""

    def __init__(  # noqa: PLR0913 - what it compares, and whom it tells
        self,
        api: ApiServer,
        resync: Resync,
        parents: Parents,
        *,
        claims: ClaimReconciler,
        kinds: dict[Kind, ParentReconciler],
        tenants: Tenants,
        interval: float,
        epoch: Callable[[], int],
    ) -> None:
        self._api, self._resync, self._parents = api, resync, parents
        self._claims, self._kinds, self._tenants = claims, kinds, tenants
        self._interval, self._epoch = interval, epoch
        self._wake = asyncio.Event()
        self._wakes: list[asyncio.TimerHandle] = []
        self._missing: frozenset[UUID] = frozenset()
        self.completed = asyncio.Event()
        """Set after the first complete run."""
        self.step = "not begun"
        """What the present run does, for whoever asks why a replica is not ready."""
        self.on_compared: Callable[[str], None] = lambda _run: None
        """Called after each complete run with the life of the store that it has compared."""

    def soon(self) -> None:
        """Run a few times within the next seconds: a CRD has changed."""
        for handle in self._wakes:  # our three CRDs change together
            handle.cancel()
        loop = asyncio.get_running_loop()
        self._wakes = [loop.call_later(delay, self._wake.set) for delay in _AFTER_CRD_CHANGE]

    def at_once(self) -> None:
        """Run once more as soon as the present run is over."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        suspected: frozenset[Finding] = frozenset()
        while True:
            try:
                plan = await self.run_once()
                telemetry.resync_braked.set(plan.braked)
                telemetry.last_success.labels("resync").set_to_current_time()
                self.completed.set()
                # What is seen for the first time is looked at again soon: addresses that nobody claims wait for it.
                delay = self._interval if plan.suspects <= suspected else min(_SECOND_LOOK_SECONDS, self._interval)
                suspected = plan.suspects
            except (StoreUnavailableError, StoreFaultError, ClusterUnavailableError) as error:
                _log.warning("the resync waits: %s", error)
                self.step = f"waiting, {error}"
                delay = min(5.0, self._interval)
            try:
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    async def run_once(self) -> Plan:
        """Compare once and repair; raises when either side cannot answer, and then has done nothing rash."""
        started = time.monotonic()
        self.step = "asking the store what it has seen"
        run, compared = await self._resync.run()
        self.step = "reading Namespaces"
        await self._tenants.run_once()
        self.step = "comparing networks and pools"
        await self._compare_parents()
        if not compared:  # what claims show can be adopted only by pools that are in service
            self.step = "bringing networks and pools into service"
            for reconciler in self._kinds.values():
                await reconciler.settle()
        self.step = "listing claims"
        began = time.monotonic()
        seen = await census(self._api, partial(self._claims.see, listed=began))
        settled = time.monotonic() - started + _MARGIN_SECONDS
        if not compared:
            settled = 0.0  # nothing is granted meanwhile: no lease is younger than the list
            await self._resync.prepare(seen.generation)
        self.step = f"comparing claims with the store ({len(seen.shown)})"
        plan = await self._resync.compare(seen.shown, seen.ends, settled_seconds=settled)
        self._claims.adoption.remember_orphans(plan.orphans)
        self.step = "taking in what claims show"
        # An answer that another life of the store gave, and that is written in this one, says nothing about this one.
        await self._look_again(plan, listed=began if compared else None)
        self.step = "releasing what nobody claims"
        self._claims.alarm(await self._resync.finish(plan, epoch=self._epoch()))
        for orphan in self._resync.orphans(plan):
            if orphan.pool is not None:
                self._claims.on_release(orphan.pool)
        if not compared and not await self._resync.compared(run):
            raise StoreUnavailableError("the store was restarted or restored while it was compared")
        self._claims.compared()
        self.on_compared(run)
        return plan

    async def take_in(self) -> TakenIn:
        """Give every claim what it shows, as after a restore, and nobody anything else; raises as `run_once`."""
        await self._tenants.run_once()
        await self._compare_parents()
        for reconciler in self._kinds.values():
            await reconciler.settle()
        seen = await census(self._api)
        await self._resync.prepare(seen.generation)
        plan = await self._resync.compare(seen.shown, seen.ends, settled_seconds=0.0)
        await self._look_again(plan, only_who_shows=True)
        await self._claims.settle()
        left: list[Item] = []
        shown = await census(self._api, left.append)
        found = await self._resync.compare(shown.shown, {}, settled_seconds=0.0)
        lost = frozenset(one.claim_uid for one in (*found.unbacked, *found.drifted))
        return TakenIn(sum(map(bool, seen.shown.values())), tuple(item for item in left if item.uid in lost))

    async def _look_again(self, plan: Plan, *, listed: float | None = None, only_who_shows: bool = False) -> None:
        if not plan.look_again:
            await self._adopt(plan, ())
            return
        found: list[Item] = []

        def visit(item: Item) -> None:
            if item.uid in plan.look_again and (item.status.get("addresses") or not only_who_shows):
                found.append(item)

        started = time.monotonic()
        await census(self._api, visit)
        living = [item for item in found if not item.dying]
        settled = time.monotonic() - started + _MARGIN_SECONDS
        await self._resync.revive([item.uid for item in living], settled_seconds=settled)
        # First: whoever is asked before that begins a lease anew, which may be shorter by now than the one it shows.
        await self._claims.keep(item for item in living if item.uid in plan.keep)
        await self._adopt(plan, living)
        for item in found:
            self._claims.see(item, force=not item.dying, listed=None if item.uid in plan.keep else listed)

    async def _adopt(self, plan: Plan, items: Sequence[Item]) -> None:
        """What claims show goes before all that is asked for, and before what nobody claims is released."""
        held = {one.claim_uid: one for one in plan.drifted}
        # Of the two who disagree the one is right that knows the later lease.
        later = [
            held[item.uid]
            for item in items
            if item.uid in held and item.lease_generation > (held[item.uid].generation or 0)
        ]
        await self._resync.outdated(later, epoch=self._epoch())
        await self._claims.adoption.adopt_found(items, plan.orphans)

    async def _compare_parents(self) -> None:
        known = await self._parents.known()
        stored = {one.identity.uid: one for one in known}
        present: set[UUID] = set()
        for kind, reconciler in self._kinds.items():
            async for body in self._api.objects(kind):
                item = Item.of(kind, body)
                present.add(item.uid)
                there = stored.get(item.uid)
                same = there is not None and there.identity.generation == item.identity.generation
                if kind is Kind.POOL and there is not None:
                    same &= there.labels == item.labels
                reconciler.see(item, force=not same and not item.dying, fresh=True)
        missing = frozenset(one.identity.uid for one in known if one.identity.uid not in present)
        # Pools before networks: a network is held by its pools.
        for kind in (Kind.POOL, Kind.NETWORK):
            for one in known:
                if one.kind == kind.value and one.identity.uid in missing & self._missing:
                    await self._vanished(kind, one.identity)
        self._missing = missing

    async def _vanished(self, kind: Kind, identity: Identity) -> None:
        outcome = await self._parents.retire("pool" if kind is Kind.POOL else "network", identity)
        ref: ObjectRef = identity.ref
        _log.warning("%s %s is in the store but not in the cluster: %s", kind, ref, type(outcome).__name__)

"""The operator's life: probes -> store -> lead -> feed, reconcilers and loops; whichever ends first ends all."""

import asyncio
import gc
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final
from uuid import UUID

import kopf

from ipam_operator import __version__, telemetry
from ipam_operator.api import v1alpha1
from ipam_operator.app import App, opened
from ipam_operator.config import Settings
from ipam_operator.domain.outcome import Accepted, Reason, Refused
from ipam_operator.errors import ClusterUnavailableError, ForeignStoreError, StoreUnavailableError
from ipam_operator.kube import deletions, handlers, health
from ipam_operator.kube.apiserver import ApiServer, Login, login
from ipam_operator.kube.audits import AuditTimer
from ipam_operator.kube.backoff import CappedBackoff
from ipam_operator.kube.claims import ClaimReconciler
from ipam_operator.kube.counters import CounterTimer
from ipam_operator.kube.events import Events
from ipam_operator.kube.expiry import ExpiryTimer
from ipam_operator.kube.inbox import Inbox, Item
from ipam_operator.kube.leadership import Leadership
from ipam_operator.kube.listening import listen
from ipam_operator.kube.neighbours import connect
from ipam_operator.kube.newcomers import LetIn
from ipam_operator.kube.parents import ParentReconciler
from ipam_operator.kube.rates import RateTimer
from ipam_operator.kube.renewals import RenewalTimer
from ipam_operator.kube.resources import Kind
from ipam_operator.kube.resync import ResyncLoop
from ipam_operator.kube.stamps import Stamps
from ipam_operator.kube.standing import Standing
from ipam_operator.kube.tenants import PutLimits, Tenants
from ipam_operator.kube.writer import Writer

_YOUNG_OBJECTS: Final = 20_000
"""So many come before Python looks for cycles among them. With its default of 700 that was 8 % of a storm's CPU."""
_END_SECONDS: Final = 5.0
"""So long what was cancelled may take to end. All together stay below the 30 s after which Kubernetes kills."""
_log = logging.getLogger(__name__)


class Operator:
    """One replica's parts, wired to one API server and one store."""

    def __init__(self, app: App, api: ApiServer, settings: Settings, leadership: Leadership) -> None:
        self._settings, self._login = settings, api.login
        self._events = Events(api)
        self._writer = Writer(api, settings.api_connections)
        self._stamps = Stamps(api)
        self._claims = ClaimReconciler(
            app.claims,
            Inbox(Kind.CLAIM),
            self._writer,
            self._events,
            batch_limit=settings.batch_limit,
            standing=Standing(settings.queue_position_seconds),
            stamps=self._stamps,
            renew_kinds=settings.kinds_to_renew_for,
        )
        apply_network = _apply_network(app, self._limited)
        self._networks = ParentReconciler(
            Inbox(Kind.NETWORK), self._writer, self._events, apply=apply_network, retire=app.networks.retire
        )
        self._pools = ParentReconciler(
            Inbox(Kind.POOL), self._writer, self._events, apply=_apply_pool(app), retire=app.pools.retire
        )
        self._counters = CounterTimer(app.counters, self._pools, self._networks, self._claims)
        self._audits = AuditTimer(api, app.audit, self._events, self._networks, self._pools)
        self._rates = None if app.rates is None else RateTimer(app.rates, api, self._call)
        self._claims.statuses.on_limited = self._limited
        self._tenants = Tenants(api, app.parents, self._claims.serve, *self._limiting())
        parents = {Kind.NETWORK: self._networks, Kind.POOL: self._pools}
        self.resync = ResyncLoop(
            api,
            app.resync,
            app.parents,
            claims=self._claims,
            kinds=parents,
            tenants=self._tenants,
            interval=settings.resync_seconds,
            epoch=lambda: leadership.epoch,
        )
        kinds, seconds = settings.kinds_to_renew_for, settings.renew_seconds
        self._renewals = RenewalTimer(api, app.claims, self._claims, self._events, kinds=kinds, seconds=seconds)
        self._expiry = ExpiryTimer(app.claims, self._claims, self.resync.at_once, renewals=self._renewals.looked)
        self.resync.on_compared = self._expiry.compared
        self._claims.on_uncompared = self.resync.at_once
        connect(self._networks, self._pools, self._claims, self._counters)
        self._see: dict[Kind, Callable[[Item], None]] = {
            Kind.NETWORK: self._networks.see,
            Kind.POOL: self._pools.see,
            Kind.CLAIM: self._claims.see,
        }

    def _limiting(self) -> tuple[PutLimits, LetIn] | tuple[()]:
        """Who is told of namespaces besides the store, while their claims are limited."""
        return () if self._rates is None else (self._rates.put, self._claims.hold_newcomers())

    def answering(self) -> list[Coroutine[Any, Any, None]]:
        """What answers objects that were seen."""
        loops = (self._stamps, self._writer, self._events, self._claims, self._networks, self._pools)
        return [loop.run() for loop in loops]

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """What runs as long as we lead."""
        return [
            *self.answering(), self._counters.run(), self._expiry.run(), self._audits.run(),
            self._renewals.run(), self.resync.run(), self._tenants.run(),
            *(() if self._rates is None else (self._rates.run(),)),
        ]  # fmt: skip

    def registry(self) -> kopf.OperatorRegistry:
        """What Kopf calls."""
        called = handlers.registry(
            self._settings, see=self._saw, mark=self._mark, tenant=self._tenants.see, crds_changed=self.resync.soon
        )
        handlers.log_in(called, self._login)
        return called

    def _saw(self, kind: Kind, event: str | None, body: dict[str, Any]) -> None:
        self._see[kind](Item.of(kind, body, gone=event == "DELETED"))

    def _limited(self) -> None:
        if self._rates is not None:
            self._rates.wake()

    def _call(self, kind: Kind, item: Item) -> None:
        if kind is Kind.NETWORK:
            self._networks.see(item, force=True)
        else:
            self._claims.see(item, force=True)

    def _mark(self, kind: Kind, uid: UUID) -> None:
        timer = self._audits if kind is Kind.NETWORK else self._expiry
        timer.due.mark(uid)
        self._counters.due.mark(uid)


def _apply_network(app: App, limited: Callable[[], None]) -> Callable[[Item], Awaitable[Accepted | Refused]]:
    async def apply(item: Item) -> Accepted | Refused:
        request = v1alpha1.network_request(item.identity, item.spec)
        if isinstance(request, Refused):
            await app.networks.refuse(request)
            return request
        outcome = await app.networks.apply(request)
        if isinstance(outcome, Refused) and outcome.reason is Reason.RATE_LIMITED:
            limited()
        return outcome

    return apply


def _apply_pool(app: App) -> Callable[[Item], Awaitable[Accepted | Refused]]:
    async def apply(item: Item) -> Accepted | Refused:
        request = v1alpha1.pool_request(item.identity, item.spec, item.labels)
        if isinstance(request, Refused):
            await app.pools.refuse(request)
            return request
        return await app.pools.apply(request)

    return apply


async def run(settings: Settings, login: Login = login) -> None:
    """Run one replica until SIGTERM or SIGINT.

    Args:
        settings: of the operator.
        login: gives the cluster and the credentials for it.

    Raises:
        ForeignStoreError: the store belongs to another cluster.
        LeadershipLostError: another replica leads now; start anew.
    """
    asked = asyncio.Event()
    _end_by(asked)
    async with opened(settings) as app, ApiServer(settings.api_connections, login) as api:
        leadership = Leadership(app.ownership, seconds=settings.leader_seconds, elected=settings.leader_election)
        operator = Operator(app, api, settings, leadership)
        probes = {"/livez": lambda: "", "/readyz": lambda: _unready(leadership, operator)}
        probing = listen(
            health.probes(probes),
            host=settings.health_host,
            port=settings.health_port,
            port_file=settings.health_port_file,
        )
        serving = _lead(app, api, operator, leadership, settings, asked)
        told = [] if app.deletions is None else deletions.serving(app.deletions, settings, asked)
        # Nobody but the webhook is asked by who may not know yet that this replica goes.
        linger = settings.webhook_linger_seconds if told else 0.0
        await first_of([probing, _until(asked, serving, leadership, linger), *told])


async def _until(
    asked: asyncio.Event, serving: Coroutine[Any, Any, None], leadership: Leadership, linger: float
) -> None:
    """Serve until asked to end, let another replica lead at once, and be there for so many seconds more."""
    try:
        await first_of([serving, _wait(asked)])
    finally:
        await leadership.resign()
    await asyncio.sleep(linger)


def _end_by(asked: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)


def _unready(leadership: Leadership, operator: Operator) -> str:
    if not leadership.store_answers:
        return "the database does not answer"
    if leadership.epoch and not operator.resync.completed.is_set():
        return f"the first comparison of cluster and store is under way: {operator.resync.step}"
    return ""


async def _lead(  # noqa: PLR0913, PLR0917 - the composition of one replica
    app: App, api: ApiServer, operator: Operator, leadership: Leadership, settings: Settings, asked: asyncio.Event
) -> None:
    await own_store(app, api, settings)
    await leadership.acquire()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
    await first_of([*operator.tasks(), leadership.keep(), _kopf(operator.registry(), settings, asked)])


async def _kopf(registry: kopf.OperatorRegistry, settings: Settings, asked: asyncio.Event) -> None:
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=handlers.kopf_settings(settings),
        clusterwide=True,
        standalone=True,
    )
    _end_by(asked)  # in place of Kopf's own
    # Kopf's own `run_tasks` waits 5 s at the end for whatever was born after it, and cancels what is left: deletions
    # that are being noted, connections of the API server.
    await first_of(tasks)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def first_of(work: Iterable[Coroutine[Any, Any, None] | asyncio.Task[None]]) -> None:
    """Run all until one ends; then cancel the others, and raise what that one raised."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        # What is cancelled in a transaction waits for the database, whose connections are cut after this at the latest.
        await asyncio.wait([asyncio.gather(*tasks, return_exceptions=True)], timeout=_END_SECONDS)
    for task in done:
        task.result()


async def own_store(app: App, api: ApiServer, settings: Settings) -> None:
    """Wait until both sides answer, and see to it that the store is this cluster's.

    Raises:
        ForeignStoreError: it is another's.
    """
    for delay in CappedBackoff(0.5, 5.0):
        try:
            cluster = await api.cluster_uid()
            owner = await app.ownership.claim(cluster, adopt=settings.adopt_store)
            break
        except (ClusterUnavailableError, StoreUnavailableError) as error:
            _log.warning("start waits: %s", error)
            await asyncio.sleep(delay)
    if owner != cluster:
        raise ForeignStoreError(
            f"this store belongs to the cluster whose kube-system has UID {owner}, not to this one ({cluster}); "
            "check IPAM_DATABASE_URL, or set IPAM_ADOPT_STORE=true to take the store over"
        )
    telemetry.build_info.labels(__version__).set(1)

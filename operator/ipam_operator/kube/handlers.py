"""What Kopf calls. Every handler only takes note; the reconcilers do the work."""

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import kopf

from ipam_operator.config import Settings
from ipam_operator.kube.apiserver import Login
from ipam_operator.kube.backoff import CappedBackoff
from ipam_operator.kube.resources import GROUP, TIMER_FINALIZER, VERSION, Kind

See = Callable[[Kind, str | None, dict[str, Any]], None]
Mark = Callable[[Kind, UUID], None]
Tenant = Callable[[str | None, dict[str, Any]], None]


class Changes:
    """Tells changes from what a list shows when a watch begins, or begins anew."""

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}

    def see(self, event: str | None, body: Mapping[str, Any]) -> bool:
        """Whether this is a change; an event of no type comes of a list."""
        name, version = str(body["metadata"]["name"]), str(body["metadata"]["resourceVersion"])
        known = self._versions.get(name, version if event is None else "")
        self._versions[name] = version
        return known != version


def registry(
    settings: Settings, *, see: See, mark: Mark, tenant: Tenant, crds_changed: Callable[[], None]
) -> kopf.OperatorRegistry:
    """All our handlers in a registry of their own.

    Args:
        settings: intervals of the timers.
        see: called with each event's kind, type and object.
        mark: called when an object's timer is due.
        tenant: called with each event's type and Namespace.
        crds_changed: called when one of our CRDs changed: the API server ends that kind's watches silently.
    """
    handlers = kopf.OperatorRegistry()

    for kind in Kind:
        _feed(handlers, kind, see)

    intervals = {Kind.POOL: settings.pool_timer_seconds, Kind.NETWORK: settings.audit_timer_seconds}
    for kind, seconds in intervals.items():
        _timer(handlers, kind, seconds, mark)

    @kopf.on.event("v1", "namespaces", registry=handlers)
    async def namespace(event: kopf.RawEvent, **_: Any) -> None:
        tenant(event["type"], dict(event["object"]))

    changes = Changes()

    @kopf.on.event("apiextensions.k8s.io", "v1", "customresourcedefinitions", registry=handlers)
    async def crd(event: kopf.RawEvent, **_: Any) -> None:
        if event["object"].get("spec", {}).get("group") == GROUP and changes.see(event["type"], event["object"]):
            crds_changed()

    return handlers


def log_in(handlers: kopf.OperatorRegistry, login: Login) -> None:
    """Have Kopf call this in a thread for credentials, and again when they are refused."""

    @kopf.on.login(registry=handlers)
    async def credentials(**_: Any) -> kopf.ConnectionInfo:
        return await asyncio.to_thread(login)


def _feed(handlers: kopf.OperatorRegistry, kind: Kind, see: See) -> None:
    @kopf.on.event(GROUP, VERSION, kind.value, registry=handlers, id=f"feed-{kind.value}")
    async def feed(event: kopf.RawEvent, **_: Any) -> None:
        see(kind, event["type"], dict(event["object"]))


def _timer(handlers: kopf.OperatorRegistry, kind: Kind, seconds: float, mark: Mark) -> None:
    def jitter(**_: Any) -> float:
        return random.uniform(0.0, seconds)  # noqa: S311 - spreads objects over the interval

    @kopf.timer(
        GROUP, VERSION, kind.value, registry=handlers, id=f"timer-{kind.value}", interval=seconds,
        initial_delay=jitter,
    )  # fmt: skip
    async def timer(uid: str, **_: Any) -> None:
        mark(kind, UUID(uid))


def kopf_settings(settings: Settings) -> kopf.OperatorSettings:
    """Kopf tuned for a thin feed (docs/dev/kopf.md gives the measurement behind each line)."""
    ours = kopf.OperatorSettings()
    ours.queueing.worker_limit = 1000  # 100 kept a start waiting, and what it had read in memory (ADR 13)
    ours.queueing.idle_timeout = 0.05  # a limit with the default of 5 s caps at limit/5 objects a second
    ours.queueing.exit_timeout = 2.0  # handlers only take note
    ours.process.ultimate_exiting_timeout = None  # a thread that is killed; whoever runs us knows how long we may take
    ours.queueing.error_delays = (1, 2, 5, 10)
    ours.persistence.finalizer = TIMER_FINALIZER
    ours.persistence.diffbase_storage = _NoDifferences()
    ours.persistence.progress_storage = _NoProgress()
    ours.persistence.consistency_timeout = 0.0
    ours.networking.error_backoffs = CappedBackoff()
    ours.networking.request_timeout = 30.0
    ours.networking.connect_timeout = 5.0
    ours.watching.chunk_size = 500
    ours.watching.connect_timeout = 5.0
    ours.watching.server_timeout = round(max(settings.resync_seconds, 60.0))  # the API takes whole seconds
    ours.posting.loggers = False
    ours.posting.worker_limit = 8
    return ours


class _NoDifferences(kopf.DiffBaseStorage):
    """We compare nothing through Kopf; its own storage copies and strips every object of every event."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:  # noqa: ARG002
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        pass


class _NoProgress(kopf.ProgressStorage):
    """Handlers that only take note have no progress."""

    def fetch(self, *, key: str, body: kopf.Body) -> None:
        pass

    def store(self, *, key: str, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        pass

    def purge(self, *, key: str, body: kopf.Body, patch: kopf.Patch) -> None:
        pass

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        pass

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence

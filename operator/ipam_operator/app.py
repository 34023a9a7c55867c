"""Composition root: settings -> connections -> stores -> services. Knows no Kubernetes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from ipam_operator.config import Settings
from ipam_operator.domain import rates
from ipam_operator.domain.findings import Brake
from ipam_operator.errors import SettingsError
from ipam_operator.services.audit import ConflictAudit
from ipam_operator.services.claims import Claims
from ipam_operator.services.networks import Networks, Pools
from ipam_operator.services.resync import Resync
from ipam_operator.store.audit import Audit
from ipam_operator.store.counters import Counters
from ipam_operator.store.database import Database
from ipam_operator.store.deletions import Deletions
from ipam_operator.store.history import History
from ipam_operator.store.leases import Leases
from ipam_operator.store.ownership import Ownership
from ipam_operator.store.parents import Parents
from ipam_operator.store.rates import Rates


@dataclass(frozen=True, slots=True)
class App:
    """Everything that answers, wired."""

    claims: Claims
    networks: Networks
    pools: Pools
    parents: Parents
    counters: Counters
    audit: ConflictAudit
    resync: Resync
    ownership: Ownership
    history: History
    rates: Rates | None
    """None: nothing is limited."""
    deletions: Deletions | None
    """None: nobody tells who deletes."""


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[App]:
    """The app with its connections, which are opened at first use and closed at the end.

    Raises:
        SettingsError: the rate limits cannot be read.
    """
    try:
        limits = rates.parse(settings.rate_limit_defaults)
    except ValueError as error:
        raise SettingsError(f"IPAM_RATE_LIMIT_DEFAULTS: {error}") from error
    async with AsyncExitStack() as stack:

        async def database(connections: int) -> Database:
            return await stack.enter_async_context(
                Database(
                    settings.database_url,
                    connections=connections,
                    statement_cache=settings.statement_cache,
                    timeout=settings.statement_timeout_seconds,
                )
            )

        hot = await database(settings.store_connections)
        timers = await database(settings.timer_connections)
        # Of its own: a probe that waits behind an audit would take a busy store for a dead one.
        beat = await database(1)
        ownership = Ownership(beat)
        audit = Audit(timers)
        parents = Parents(hot)
        brake = Brake(settings.release_brake_count, settings.release_brake_percent)
        retention = timedelta(days=settings.retention_days)
        leases = Leases(hot, retention=retention)
        # Of its own, too: whoever deletes waits for it.
        deletions = Deletions(await database(1)) if settings.webhook_directory else None
        limited = Rates(hot, leases, limits) if settings.rate_limits else None
        yield App(
            claims=Claims(leases, limited),
            networks=Networks(parents, limited),
            pools=Pools(parents),
            parents=parents,
            counters=Counters(timers),
            audit=ConflictAudit(audit),
            resync=Resync(audit, ownership, brake, remember=timedelta(days=settings.memory_days), retain=retention),
            ownership=ownership,
            history=History(timers),
            rates=limited,
            deletions=deletions,
        )

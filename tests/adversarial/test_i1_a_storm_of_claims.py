"""I1: lock waiters pin every connection to the database (ictl#4297)."""

import asyncio
import time

import asyncpg

from hack.pgbouncer import SERVERS
from tests.apiserver.support import Launch, Ledger, Tenant, agreement, eventually
from tests.support.operator_process import OperatorProcess

POOLS, EACH = 12, 25
"""Many more pools than connections of the hot path, and in all 300 claims at once."""
CONNECTIONS = SERVERS - 1
"""Fewer than the pooler has sessions, as docs/operations/connections.md says."""
SETTINGS = {
    "IPAM_LEADER_SECONDS": "3",
    "IPAM_POOL_TIMER_SECONDS": "1",
    "IPAM_AUDIT_TIMER_SECONDS": "1",
    "IPAM_STORE_CONNECTIONS": str(CONNECTIONS),
}
HELD_SECONDS = 6.0
"""Twice as long as a lead lasts that nobody renews; less than the locks' own limit."""


async def test_waiters_for_locks_starve_no_timer_and_no_probe(
    place: Tenant, books: Ledger, database_url: str, launch: Launch
) -> None:
    """All pools locked and all claims waiting, probes answer, the lead is kept, audits go on; then all are bound."""
    process = launch(SETTINGS)
    await place.network("10.0.0.0/16")
    for number in range(POOLS):
        await place.pool(f"p{number}", ranges=[f"10.0.{number}.1-10.0.{number}.{EACH}"])
        await place.reason("IPPool", f"p{number}", "Ready")
    names = [(f"c{pool}-{number}", f"p{pool}") for pool in range(POOLS) for number in range(EACH)]
    leads = process.metrics().total("ipam_leader")
    holder = await asyncpg.connect(database_url)
    try:
        async with holder.transaction():
            await holder.execute(
                "select from ipam.pool where namespace = $1 order by id for no key update", place.namespace
            )
            await asyncio.gather(*(place.claim(name, pool) for name, pool in names))
            before, until = audited(process), time.monotonic() + HELD_SECONDS
            while time.monotonic() < until:
                began = time.monotonic()
                assert process.answers("/livez")
                assert process.answers("/readyz")
                assert time.monotonic() - began < 1.0
                await asyncio.sleep(0.2)
            assert audited(process) > before
            assert await holder.fetchval(WAITING, place.namespace) == 0, "nobody was served past the lock"
    finally:
        await holder.close()
    await place.bound(*(name for name, _ in names))
    assert process.metrics().total("ipam_leader") == leads == 1
    await eventually(lambda: has_none(process), "nothing waits for a worker")
    await agreement(place, books)


WAITING = "select count(*) from ipam.lease where namespace = $1"


def audited(process: OperatorProcess) -> float:
    """When the last audit succeeded."""
    return process.metrics().total("ipam_last_success_timestamp_seconds", loop="audit")


async def has_none(process: OperatorProcess) -> bool:
    """Whether the queues of work are empty."""
    return process.metrics().total("ipam_inbox_length") == 0

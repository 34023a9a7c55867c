"""The store behind PgBouncer in transaction mode, where no statement may count on the session of the one before."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import asyncpg
import pytest_asyncio

from hack.pgbouncer import PROVEN_SECONDS, PgBouncer
from hack.postgres import Postgres
from ipam_operator.domain.model import Strategy
from ipam_operator.domain.outcome import Accepted, Removed
from ipam_operator.errors import StoreUnavailableError
from ipam_operator.store.database import connect
from ipam_operator.store.migrate import migrate, verify
from tests.support.postgres import PooledUrl, session_state
from tests.support.store import Store, claims, granted, identity, network, persistently, pool

SESSIONS = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"


@pytest_asyncio.fixture
async def store(pooled_url: PooledUrl) -> AsyncIterator[Store]:
    async with Store(pooled_url, connections=16) as opened:
        yield opened


async def sessions(store: Store) -> set[int]:
    """PostgreSQL's processes for this database, but for our own direct one."""
    return {row["pid"] for row in await store.sql(SESSIONS)}


async def test_parents_come_into_service_and_change(store: Store) -> None:
    """Networks and pools are applied, changed and retired: transactions of several statements."""
    parent = network("10.0.0.0/24")
    assert await store.networks.apply(parent) == Accepted(parent.identity)
    of = pool(parent, "10.0.0.16/28", strategy=Strategy.RANDOM)
    assert await store.pools.apply(of) == Accepted(of.identity)
    assert await store.change(of, paused=True) == Accepted(of.identity)
    assert (await store.count(of)).paused
    assert await store.retire(of) == Removed(of.identity)
    assert await store.retire(parent) == Removed(parent.identity)


async def test_claims_are_answered_and_answered_again(store: Store) -> None:
    """Allocation, its repetition, release and the queue say what they say without a pooler."""
    of = await store.pool("10.0.0.0/29")
    asked = claims(of, 6)
    first = granted(await store.allocate(of, asked))
    assert len(first) == 6
    assert granted(await store.allocate(of, asked)) == first
    (late,) = claims(of, 1)
    assert granted(await store.allocate(of, [late])) == {}
    await store.release(asked[2])
    assert granted(await store.serve(of)) == {late.identity.uid: first[asked[2].identity.uid]}
    assert await store.untiled() == []


async def test_adoption(store: Store) -> None:
    """Claims get back the very addresses that they show."""
    of = await store.pool("10.0.0.0/24")
    asked = claims(of, 2)
    shown = [(asked[0], [ip_address("10.0.0.77")]), (asked[1], [ip_address("10.0.0.78")])]
    served = await store.claims.adopt(of.identity.ref, shown)
    assert granted(served) == {one.identity.uid: tuple(addresses) for one, addresses in shown}


async def test_leadership_is_a_row(store: Store) -> None:
    """One leads, the other does not until the first resigns: nothing of that hangs on a session."""
    assert await store.ownership.lead("one", 60.0) == 1
    assert await store.ownership.lead("two", 60.0) is None
    assert await store.ownership.lead("one", 60.0) == 1
    await store.ownership.resign("one")
    assert await store.ownership.lead("two", 60.0) == 2


async def test_store_belongs_to_one_cluster(store: Store) -> None:
    """The first cluster keeps the store, and a confirmation is remembered."""
    mine, other = identity().uid, identity().uid
    assert await store.ownership.claim(mine, adopt=False) == mine
    assert await store.ownership.claim(other, adopt=False) == mine
    assert not await store.ownership.confirmed("release")
    await store.ownership.confirm("release", 60.0)
    assert await store.ownership.confirmed("release")


async def test_concurrent_allocations_on_one_pool(store: Store, pgbouncer: PgBouncer) -> None:
    """Sixteen at once over fewer sessions than that: everybody is served, nobody twice."""
    of = await store.pool("10.0.0.0/16")
    batches = [claims(of, 10) for _ in range(16)]
    served = await asyncio.gather(*(store.allocate(of, batch) for batch in batches))
    addresses = [address for one in served for given in granted(one).values() for address in given]
    assert len(set(addresses)) == len(addresses) == 160
    assert 0 < len(await sessions(store)) <= pgbouncer.servers
    assert await store.untiled() == []


async def test_killed_sessions_are_unavailable_and_then_served(store: Store) -> None:
    """Statements that wait while their sessions are killed fail as to be repeated, and repeated they succeed."""
    of = await store.pool("10.0.0.0/24")
    asked = claims(of, 3)
    locker = await asyncpg.connect(store.url)  # its own: what a transaction sees of pg_stat_activity stands still
    async with locker.transaction():
        await locker.execute("select from ipam.pool for update")
        waiting = asyncio.create_task(store.allocate(of, asked))
        while not (blocked := await store.sql(f"{SESSIONS} and wait_event_type = 'Lock'")):
            await store.sql("select pg_sleep(0.01)")
        await store.sql("select pg_terminate_backend(p) from unnest($1::int[]) p", [row["pid"] for row in blocked])
        (failure,) = await asyncio.gather(waiting, return_exceptions=True)
    await locker.close()
    assert isinstance(failure, StoreUnavailableError)
    assert await store.held() == {}
    served = await persistently(lambda: store.allocate(of, asked))
    assert len(granted(served)) == 3
    assert len(await store.held()) == 3


async def test_idle_sessions_may_die(store: Store) -> None:
    """Sessions that were killed between two calls cost at most a call that says so."""
    of = await store.pool("10.0.0.0/24")
    await store.take(of, 1)
    before = await sessions(store)
    await store.sql(f"select pg_terminate_backend(pid) from ({SESSIONS}) s")
    (one,) = claims(of, 1)
    served = await persistently(lambda: store.allocate(of, [one]))
    assert len(granted(served)) == 1
    assert not before & await sessions(store)


async def test_migrations_pass(empty_database_url: str, pgbouncer: PgBouncer) -> None:
    """The schema can be made through the pooler, too: its lock is a transaction's."""
    through = pgbouncer.url_for(empty_database_url.rpartition("/")[2])
    runs = await asyncio.gather(migrate(through), migrate(through))
    assert sorted(map(bool, runs)) == [False, True]
    await verify(through)


async def test_state_is_seen(pooled_url: PooledUrl, pgbouncer: PgBouncer) -> None:
    """What a careless client leaves behind in a shared session is found, so that finding none means something."""
    careless = await asyncpg.connect(pooled_url.pooled, statement_cache_size=0)
    try:
        await careless.execute("set statement_timeout = 1234")
        await careless.execute("select pg_advisory_lock(1)")
        found = ", ".join(await session_state(pooled_url.pooled, pgbouncer.servers))
        assert "setting statement_timeout" in found
        assert "advisory lock" in found
    finally:
        direct = await asyncpg.connect(pooled_url)
        await direct.execute(f"select pg_terminate_backend(pid) from ({SESSIONS}) s")
        await direct.close()
        await careless.close()


def test_runs_unprivileged(pgbouncer: PgBouncer) -> None:
    """The pooler is not root, and it is ours to stop."""
    assert pgbouncer.pid
    assert Path(f"/proc/{pgbouncer.pid}").stat().st_uid != 0


async def test_is_started_again(postgres: Postgres) -> None:
    """A pooler that ends is back soon, as where a system looks after it, and ends with its fixture."""
    with PgBouncer(postgres) as own:
        before = own.pid
        await asyncio.sleep(PROVEN_SECONDS)
        os.kill(before, signal.SIGKILL)
        connection = await persistently(lambda: connect(own.url_for("postgres")))
        await connection.close()
        after = own.pid
        assert after not in {0, before}
    assert not own.pid
    assert not Path(f"/proc/{after}").exists()

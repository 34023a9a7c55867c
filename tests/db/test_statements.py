"""What each path costs, counted by PostgreSQL (statements) and on the wire (round trips)."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from hack.postgres import Postgres
from hack.postgres_binaries import has_extension
from ipam_operator.domain.model import Promise, Term
from ipam_operator.services.claims import ADOPT_LIMIT, EXPIRY_LIMIT
from ipam_operator.store.queries import blocks
from tests.support.postgres import MAINTENANCE, PooledUrl
from tests.support.store import Store, claim, claims, network, pool, selector

HEADS = {"Q": "Query", "P": "Parse", "D": "Describe", "B": "Bind", "E": "Execute", "S": "Sync", "H": "Flush"}
WAITS = {"Query", "Sync", "Flush"}
"""Messages after which a client waits for the server: a round trip each."""
CALLS = """
select query, calls::int from pg_stat_statements s join pg_database d on d.oid = s.dbid
where d.datname = $1 and s.toplevel"""


class Wire:
    """A relay in front of PostgreSQL that counts what clients say."""

    def __init__(self, url: str) -> None:
        self._server = urlsplit(url)
        self._relay: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.said: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        self._relay = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._relay.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Of the same database, through us; without TLS, which would hide the words."""
        port = self._relay.sockets[0].getsockname()[1]
        one = self._server
        return f"postgresql://{one.username}:{one.password}@127.0.0.1:{port}{one.path}?sslmode=disable"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", int(self._server.port or 5432))
        ways = (self._ask(reader, there[1]), self._answer(there[0], writer))
        tasks = {asyncio.ensure_future(way) for way in ways}
        self._tasks |= tasks
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        there[1].close()
        writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readexactly(4)  # the start-up message alone has no type
            writer.write(head + await reader.readexactly(int.from_bytes(head, "big") - 4))
            while True:
                head = await reader.readexactly(5)
                body = await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
                self.said[HEADS.get(chr(head[0]), chr(head[0]))] += 1
                writer.write(head + body)

    @staticmethod
    async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)


class Meter:
    """Runs something and says what it cost."""

    def __init__(self, wire: Wire, watcher: Any, database: str) -> None:
        self._wire, self._watcher, self._database = wire, watcher, database

    async def statements(self, work: Callable[[], Awaitable[object]]) -> dict[str, int]:
        """Top-level statements that the server ran meanwhile, by block or by their text, and how often each."""
        await self._watcher.execute("select pg_stat_statements_reset()")
        await work()
        rows = await self._watcher.fetch(CALLS, self._database)
        names = {" ".join(text.split()): name for name, text in blocks().items()}
        found: Counter[str] = Counter()
        for row in rows:
            text = " ".join(row["query"].split()).removesuffix(";")
            found[names.get(text, text)] += row["calls"]
        return dict(found)

    async def said(self, work: Callable[[], Awaitable[object]]) -> tuple[int, int]:
        """Round trips and statements that clients asked for meanwhile."""
        before = self._wire.said.copy()
        await work()
        said = self._wire.said - before
        return sum(said[word] for word in WAITS), said["Execute"] + said["Query"]


@pytest_asyncio.fixture
async def wire(database_url: str) -> AsyncIterator[Wire]:
    async with Wire(database_url) as relay:
        yield relay


@pytest_asyncio.fixture
async def meter(postgres: Postgres, wire: Wire, database_url: str) -> AsyncIterator[Meter]:
    if not has_extension(postgres.bin, "pg_stat_statements"):
        pytest.skip("this PostgreSQL lacks pg_stat_statements (postgresql-contrib)")
    watcher = await asyncpg.connect(postgres.url_for(MAINTENANCE))
    await watcher.execute("create extension if not exists pg_stat_statements")
    yield Meter(wire, watcher, urlsplit(database_url).path[1:])
    await watcher.close()


@pytest_asyncio.fixture
async def store(wire: Wire) -> AsyncIterator[Store]:
    """A store with one connection, whose statements are all prepared already."""
    async with Store(wire.url, connections=1) as opened:
        of = await opened.pool("192.168.0.0/30")
        asked = await opened.take(of, 2)
        await opened.allocate(of, claims(of, 1))
        await opened.serve(of)
        await opened.release(*asked)
        await opened.claims.adopt(of.identity.ref, [])
        await opened.counters.sweep([])
        await opened.counters.pools([])
        await opened.counters.networks([])
        yield opened


@pytest.mark.parametrize("cidr", ["10.0.0.0/28", "10.0.0.0/8", "2001:db8::/64"])
@pytest.mark.parametrize("batch", [1, 100, 1000])
async def test_allocate_is_one_statement(store: Store, meter: Meter, cidr: str, batch: int) -> None:
    """A batch of any size, on a pool of any size, full or not, is one statement and one round trip."""
    of = await store.pool(cidr)
    first, second = claims(of, batch), claims(of, batch)
    assert await meter.statements(lambda: store.allocate(of, first)) == {"allocate": 1}
    assert await meter.said(lambda: store.allocate(of, second)) == (1, 1)
    assert await meter.said(lambda: store.allocate(of, first)) == (1, 1)  # who holds is told so


async def test_every_kind_of_claim_is_in_the_one_statement(store: Store, meter: Meter) -> None:
    """Wishes, several addresses, refusals and a queue add no statement."""
    of = await store.pool("10.0.0.0/28")
    mixed = [claim(of, wanted="10.0.0.9"), claim(of, count=5), *claims(of, 20), claim(of, wanted="10.9.9.9")]
    assert await meter.statements(lambda: store.allocate(of, mixed)) == {"allocate": 1}
    absent = pool(network("10.1.0.0/24"))
    assert await meter.said(lambda: store.allocate(absent, claims(absent, 3))) == (1, 1)


async def test_a_selector_costs_no_statement_more(store: Store, meter: Meter) -> None:
    """New to the store or known, and spilling over two pools: one statement and one round trip for the batch."""
    for cidr, priority in (("10.0.0.0/28", 1), ("10.0.1.0/24", 0)):
        await store.pool(cidr, labels={"tier": "front"}, priority=priority)
    of = selector(labels={"tier": "front"})
    assert await meter.statements(lambda: store.allocate(of, claims(of, 100))) == {"allocate_selected": 1}
    assert await meter.said(lambda: store.allocate(of, claims(of, 10))) == (1, 1)


async def test_two_families_are_one_statement(store: Store, meter: Meter) -> None:
    """Both pools in one statement, for one claim and for many."""
    for cidr in ("10.0.0.0/24", "2001:db8::/64"):
        await store.pool(cidr)
    of = selector(dual=True)
    assert await meter.statements(lambda: store.allocate(of, claims(of, 1))) == {"allocate_selected": 1}
    assert await meter.statements(lambda: store.allocate(of, claims(of, 100))) == {"allocate_selected": 1}


async def test_namespaces_are_one_statement(store: Store, meter: Meter) -> None:
    """However many have come, changed and gone."""
    labels = {f"ns-{number}": {"tier": "front"} for number in range(500)}
    put = store.parents.put_tenants
    assert await meter.statements(lambda: put(labels, whole=False)) == {"put_tenants": 1}
    assert await meter.said(lambda: put({**labels, "ns-0": None}, whole=True)) == (1, 1)


async def test_limits_cost_three_statements_where_they_are_on(wire: Wire, meter: Meter) -> None:
    """For a batch of any size; two where nobody is new. Where they are off, nothing: that is every other test here."""
    async with Store(wire.url, connections=1, limits="allocate=100/10,release=1/1") as limited:
        of = await limited.pool("10.0.0.0/24")
        asked = claims(of, 100)
        frame = {"BEGIN": 1, "idle_limit": 1, "COMMIT": 1}
        once = {**frame, "rate_admit": 1, "allocate": 1}
        assert await meter.statements(lambda: limited.allocate(of, asked)) == {**once, "rate_settle": 1}
        assert await meter.statements(lambda: limited.allocate(of, asked[:10])) == once
        assert await meter.statements(lambda: limited.allocate(of, asked[10:])) == {
            **frame, "rate_admit": 1, "rate_settle": 1,
        }  # fmt: skip
        ended = {**frame, "rate_meter": 1, "release": 1, "rate_leave": 1}
        assert await meter.statements(lambda: limited.release(*asked)) == ended
        assert await meter.statements(limited.rates.turns) == {"rate_turns": 1}
        assert await meter.statements(lambda: limited.rates.put({"team": "bulk=1/1"}, whole=True)) == {"put_rates": 1}


async def test_release_is_one_statement(store: Store, meter: Meter) -> None:
    """A hundred claims of two pools end in one statement and one round trip."""
    one, two = await store.pool("10.0.0.0/24"), await store.pool("10.0.1.0/24")
    ended = [*await store.take(one, 50), *await store.take(two, 50)]
    assert await meter.statements(lambda: store.release(*ended)) == {"release": 1}
    assert await meter.said(lambda: store.release(*ended)) == (1, 1)


async def test_serve_is_one_statement(store: Store, meter: Meter) -> None:
    """A queue of a hundred is served in one statement and one round trip."""
    of = await store.pool("10.0.0.0/25")
    held = await store.take(of, 126)
    await store.allocate(of, claims(of, 100))
    await store.release(*held)
    assert await meter.statements(lambda: store.serve(of)) == {"serve": 1}
    assert (await store.count(of)).waiting == 0
    assert await meter.said(lambda: store.serve(of)) == (1, 1)


async def test_adopt_is_one_statement(store: Store, meter: Meter) -> None:
    """Claims of one pool come back into the ledger in one statement and one round trip."""
    of = await store.pool("10.0.0.0/24")
    shown = [(one, [ip_address("10.0.0.10") + k]) for k, one in enumerate(claims(of, 20))]
    assert await meter.statements(lambda: store.claims.adopt(of.identity.ref, shown)) == {"adopt": 1}
    assert await meter.said(lambda: store.claims.adopt(of.identity.ref, shown)) == (1, 1)


async def test_adoption_of_very_many_is_in_steps(store: Store, meter: Meter) -> None:
    """A store that lost all takes claims back so many a statement: each is looked for in all of its statement."""
    of = await store.pool("10.0.0.0/16")
    shown = [(one, [ip_address("10.0.1.0") + k]) for k, one in enumerate(claims(of, 2 * ADOPT_LIMIT + 1))]
    assert await meter.statements(lambda: store.claims.adopt(of.identity.ref, shown)) == {"adopt": 3}
    assert len(await store.held()) == 2 * ADOPT_LIMIT + 1


async def test_expiry_is_one_statement(store: Store, meter: Meter) -> None:
    """Ending leases and putting back what claims show of them is one statement each, whether the store was compared."""
    of = await store.pool("10.0.0.0/24", default_lease=timedelta(hours=1))
    asked = await store.take(of, EXPIRY_LIMIT)
    run = await store.ownership.run()
    assert await meter.statements(lambda: store.claims.expire("another")) == {"expire": 1}
    promises = [Promise(one.identity.uid, 1, datetime(2099, 1, 1, tzinfo=UTC), Term()) for one in asked]
    assert await meter.statements(lambda: store.claims.keep(promises)) == {"keep_terms": 1}
    assert await meter.statements(lambda: store.claims.keep([])) == {}
    await store.lapse(*asked)
    assert await meter.statements(lambda: store.claims.expire(run)) == {"expire": 1}
    assert await store.held() == {}


async def test_timers_are_one_statement_each(store: Store, meter: Meter) -> None:
    """Sweep and counters cost one statement each, however many pools are due."""
    pools = [await store.pool(f"10.0.{k}.0/24") for k in range(20)]
    uids = [one.identity.uid for one in pools]

    async def tick() -> None:
        await store.counters.sweep(uids)
        await store.counters.pools(uids)
        await store.counters.networks(uids)

    assert await meter.statements(tick) == {"sweep_pools": 1, "pool_counters": 1, "network_counters": 1}
    assert await meter.said(tick) == (3, 3)


async def test_parents_take_one_short_transaction(store: Store, meter: Meter) -> None:
    """Applying a network or pool is a fixed number of statements in one transaction, for any number of ranges."""
    parent = network("10.0.0.0/8")
    counted = await meter.statements(lambda: store.networks.apply(parent))
    assert counted == {
        "BEGIN": 1, "idle_limit": 1, "network_by_name": 1, "address_space_id": 1, "overlapping": 1, "put_network": 1,
        "COMMIT": 1,
    }  # fmt: skip
    spread = pool(parent, *(f"10.{k}.0.0/16" for k in range(64)))
    counted = await meter.statements(lambda: store.pools.apply(spread))
    assert counted == {
        "BEGIN": 1, "idle_limit": 1, "network_by_name": 1, "lock_namespace": 1, "pool_by_name": 1,
        "overlapping": 1, "put_pool": 1, "COMMIT": 1,
    }  # fmt: skip


async def test_retiring_is_one_statement(store: Store, meter: Meter) -> None:
    """Taking a pool or network out of service is one statement."""
    parent = await store.network("10.0.0.0/24")
    of = await store.pool(parent)
    assert await meter.statements(lambda: store.retire(of)) == {"retire_pool": 1}
    assert await meter.statements(lambda: store.retire(parent)) == {"retire_network": 1}


async def test_nothing_between_calls(store: Store, meter: Meter) -> None:
    """The driver resets, discards and asks nothing between two calls, also on its way back to the pool."""
    of = await store.pool("10.0.0.0/24")

    async def twenty() -> None:
        for _ in range(20):
            await store.take(of, 1)

    assert await meter.statements(twenty) == {"allocate": 20}
    assert await meter.said(twenty) == (20, 20)


async def test_a_new_connection_asks_for_types_once(wire: Wire, meter: Meter) -> None:
    """What the driver must know of the catalog it asks for as the connection is opened, in one transaction."""
    async with Store(wire.url, connections=1) as store:
        opening = await meter.statements(store.ownership.ping)
        assert (opening["BEGIN"], opening["COMMIT"]) == (1, 1)
        assert sum(times for text, times in opening.items() if "pg_type" in text) == 1
        of = await store.pool("10.0.0.0/24")
        assert await meter.statements(lambda: store.allocate(of, claims(of, 2))) == {"allocate": 1}
        assert await meter.statements(lambda: store.counters.pools([])) == {"pool_counters": 1}


async def test_without_statement_cache_a_call_is_two_round_trips(wire: Wire, meter: Meter, database_url: str) -> None:
    """Behind an old PgBouncer each call is parsed anew: one more round trip, still one statement."""
    async with Store(PooledUrl(database_url, wire.url), connections=1) as store:
        of = await store.pool("10.0.0.0/24")
        first, second = claims(of, 100), claims(of, 100)
        assert await meter.statements(lambda: store.allocate(of, first)) == {"allocate": 1}
        assert await meter.said(lambda: store.allocate(of, second)) == (2, 1)

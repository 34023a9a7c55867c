"""A URL of several hosts leads to the one that serves, whatever the others do."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import ExitStack, asynccontextmanager

import pytest

from hack.pgbouncer import PgBouncer
from hack.postgres import LOOPBACK, OWNER, Postgres, free_port
from ipam_operator.errors import StoreUnavailableError
from ipam_operator.store.database import Connection, Database, one_by_one
from ipam_operator.store.migrate import verify
from tests.support.standby import Standby
from tests.support.store import persistently

pytestmark = pytest.mark.db


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """The port of a server that takes connections and says nothing, as a frozen machine does."""
    leave = asyncio.Event()

    async def never(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await leave.wait()
        writer.close()

    server = await asyncio.start_server(never, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        leave.set()
        server.close()


def url(server: Postgres, *before: int, query: str = "") -> str:
    """Of the server, with others before it."""
    hosts = ",".join(f"{LOOPBACK}:{port}" for port in (*before, server.port))
    return f"postgresql://{OWNER}:{server.password}@{hosts}/ipam{query}"


async def answers(way: str) -> int:
    async with Database(way, connections=1, statement_cache=False) as database:
        return await alone(database)


async def alone(database: Database) -> int:
    """What `ping` answers as a statement of its own."""
    return int(await database.value("ping"))


@pytest.mark.parametrize(
    ("text", "single"),
    [
        ("postgresql:///ipam?host=/tmp", ["postgresql:///ipam?host=/tmp"]),
        ("postgresql://u:p%2C@h:5/d?x=a,b", ["postgresql://u:p%2C@h:5/d?x=a,b"]),
        ("postgresql://u:p@[::1]:5,h/d?x=y", ["postgresql://u:p@[::1]:5/d?x=y", "postgresql://u:p@h/d?x=y"]),
    ],
)
def test_each_host_is_asked_alone(text: str, single: list[str]) -> None:
    """Whatever a URL says beside its hosts stands in each; one of a single host stays as it is."""
    assert one_by_one(text) == single


async def test_hosts_that_do_not_serve_are_passed(primary: Postgres, standby: Standby) -> None:
    """One that refuses, one that is silent and a standby are passed over, with and without target_session_attrs."""
    async with silent() as port:
        before = (free_port(), port, standby.port)
        began = time.monotonic()
        assert await answers(url(primary, *before)) == 1
        assert time.monotonic() - began < 8
        assert await answers(url(primary, *before, query="?target_session_attrs=read-write")) == 1
        await verify(url(primary, *before))


async def test_a_standby_alone_is_no_store(standby: Standby) -> None:
    """Two hosts of which none takes writes are a store that is away."""
    with pytest.raises(StoreUnavailableError):
        await answers(url(standby, standby.port))


async def test_a_frozen_server_is_left(primary: Postgres, standby: Standby) -> None:
    """Calls that a frozen server does not answer end, and those that follow find the server that took its place."""
    async with Database(standby.both(), connections=1, timeout=5.0) as database:
        assert await database.value("ping") == 1
        await standby.caught_up()
        with primary.frozen():
            await standby.promote()
            with pytest.raises(StoreUnavailableError):
                await database.value("ping")
            async with asyncio.timeout(15):
                assert await database.value("ping") == 1


async def within_seconds(work: Awaitable[int]) -> None:
    """A limit of half a second is one of a few, although the server does not even hear of it."""
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await work
    assert time.monotonic() - began < 5


async def test_who_is_cancelled_leaves_a_frozen_server(primary: Postgres) -> None:
    """A limit of seconds for a call is one, whether or not the server hears that the statement is cancelled."""
    async with Database(url(primary), connections=1) as database:
        assert await alone(database) == 1
        with primary.frozen():
            await within_seconds(alone(database))
        assert await alone(database) == 1


async def test_who_is_cancelled_in_a_transaction_leaves_a_frozen_server(primary: Postgres) -> None:
    """Its end is not waited for either: the server rolls back what has lost its connection."""
    async with Database(url(primary), connections=1) as database:
        with ExitStack() as from_within:

            async def work(connection: Connection) -> int:
                assert await connection.value("ping") == 1
                from_within.enter_context(primary.frozen())
                return int(await connection.value("ping"))

            await within_seconds(database.transaction("ping", work))
        assert await alone(database) == 1


async def test_who_is_cancelled_leaves_a_frozen_server_as_it_connects(primary: Postgres) -> None:
    """Through a pooler, which lets in whoever comes, the first statement of a new connection is what hangs."""
    with PgBouncer(primary) as pooler:
        assert await answers(pooler.url_for("ipam")) == 1
        async with Database(pooler.url_for("ipam"), connections=1, statement_cache=False) as database:
            with primary.frozen():
                await within_seconds(alone(database))
            # A cancelled statement may end the pooler, which is away then until it has been started again.
            assert await persistently(lambda: alone(database)) == 1

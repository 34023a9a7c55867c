"""A migrated template database once, and a copy of it for each test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from hack.postgres import Postgres

MAINTENANCE = "postgres"
TEMPLATE = "template_ipam"
OPERATOR, OPERATOR_PASSWORD = "ipam_operator_login", "operator"
"""The login of operators and stores under test: it may do what the role ipam_operator may, and nothing else."""
STATE = """
select coalesce(string_agg(what, ', '), '') from (
    select 'prepared ' || name what from pg_prepared_statements
    union all select 'listens to ' || pg_listening_channels()
    union all select 'cursor ' || name from pg_cursors where name <> ''
    union all select 'setting ' || name from pg_settings where source = 'session' and setting <> reset_val
    union all select 'advisory lock' from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()
    union all select 'temporary ' || relname from pg_class where relnamespace = pg_my_temp_schema()
) found"""


class PooledUrl(str):
    """The URL of a database, and the one that leads the store under test to it through a pooler."""

    __slots__ = ("pooled",)
    pooled: str

    def __new__(cls, direct: str, pooled: str) -> Self:
        """Equal to the direct one, which tests use for statements of their own."""
        url = super().__new__(cls, direct)
        url.pooled = pooled
        return url


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Any]:
    """A connection for a while."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def execute(url: str, *statements: str) -> None:
    """Each in a transaction of its own."""
    async with connected(url) as connection:
        for statement in statements:
            await connection.execute(statement)


def make_template(postgres: Postgres) -> str:
    """Create the template database by our own migrations; returns its name."""
    from ipam_operator.store.migrate import migrate

    async def make() -> None:
        await execute(postgres.url_for(MAINTENANCE), f'CREATE DATABASE "{TEMPLATE}"')
        await migrate(postgres.url_for(TEMPLATE))
        await execute(
            postgres.url_for(MAINTENANCE),
            f"CREATE ROLE {OPERATOR} LOGIN PASSWORD '{OPERATOR_PASSWORD}' IN ROLE ipam_operator",
        )

    asyncio.run(make())
    return TEMPLATE


def operator_url(url: str) -> str:
    """The same database as the operator logs in."""
    return login_url(url, OPERATOR, OPERATOR_PASSWORD)


def login_url(url: str, name: str, password: str) -> str:
    """The same database for another login."""
    one = urlsplit(url)
    return one._replace(netloc=f"{name}:{password}@{one.netloc.rpartition('@')[2]}").geturl()


async def create_database(postgres: Postgres, template: str | None = None) -> str:
    """Create a database of a new name, empty or as a copy; returns its name."""
    name = f"t_{uuid4().hex[:12]}"
    if template is None:
        await execute(postgres.url_for(MAINTENANCE), f'CREATE DATABASE "{name}"')
        return name
    async with connected(postgres.url_for(MAINTENANCE)) as connection:
        # Since 15 a copy goes page by page through the buffers and the log by default, for four times the work here.
        copied = " STRATEGY file_copy" if connection.get_server_version().major >= 15 else ""
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"{copied}')
        # Settings of a database are no part of its copy; the others of `ipam.set_limits` are limits that tests exceed.
        await connection.execute(f'ALTER DATABASE "{name}" SET jit = off')
    return name


async def drop_database(postgres: Postgres, name: str) -> None:
    """Drop a database, whoever is still connected; a server that a test left stopped is started first."""
    if not postgres.pid:
        postgres.start()
    await execute(postgres.url_for(MAINTENANCE), f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


async def session_state(pooled: str, servers: int) -> list[str]:
    """What clients left behind in the sessions that a pooler in transaction mode shares among them."""
    async with AsyncExitStack() as stack:
        connections: list[Any] = []
        for _ in range(servers):  # a transaction each, so that every one has a session of its own
            connection = await asyncpg.connect(pooled, statement_cache_size=0)
            stack.push_async_callback(connection.close)
            await stack.enter_async_context(connection.transaction())
            connections.append(connection)
        assert len({await connection.fetchval("select pg_backend_pid()") for connection in connections}) == servers
        found = [await connection.fetchval(STATE) for connection in connections]
    return [words for words in found if words]

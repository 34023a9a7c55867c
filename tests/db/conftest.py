"""The db tier runs twice: straight to PostgreSQL, and through PgBouncer in transaction mode."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from hack.pgbouncer import PgBouncer
from tests.support.postgres import PooledUrl, operator_url, session_state

STRAIGHT_ONLY = {
    "test_blocks", "test_migrations", "test_pgbouncer", "test_plans", "test_properties", "test_statements",
    "test_where_properties",
}  # fmt: skip
"""Files about the server itself, about the way to it, or too slow to run twice."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    file = metafunc.module.__name__.rpartition(".")[2]
    if "database_url" in metafunc.fixturenames and file not in STRAIGHT_ONLY:
        metafunc.parametrize("database_url", ["direct", "pgbouncer"], indirect=True)


@pytest_asyncio.fixture
async def pooled_url(database_url: str, pgbouncer: PgBouncer) -> AsyncIterator[PooledUrl]:
    """The test's database, to which the store goes through the pooler; no session may keep anything of it."""
    url = PooledUrl(database_url, operator_url(pgbouncer.url_for(urlsplit(database_url).path[1:])))
    yield url
    assert await session_state(url.pooled, pgbouncer.servers) == []


@pytest_asyncio.fixture
async def database_url(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[str]:
    """As everywhere, and where it says so with the way through the pooler."""
    if getattr(request, "param", "direct") == "direct":
        yield database_url
        return
    bouncer: PgBouncer = request.getfixturevalue("pgbouncer")
    url = PooledUrl(database_url, operator_url(bouncer.url_for(urlsplit(database_url).path[1:])))
    yield url
    assert await session_state(url.pooled, bouncer.servers) == []

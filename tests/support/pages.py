"""What statements touch, as PostgreSQL counts it: a measure of cost that no other load on the machine changes."""

from collections.abc import Awaitable
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import asyncpg
import pytest

from hack.postgres import Postgres
from hack.postgres_binaries import has_extension
from tests.support.postgres import MAINTENANCE

T = TypeVar("T")
TOUCHED = """
select coalesce(sum(shared_blks_hit + shared_blks_read + temp_blks_written), 0)::int
from pg_stat_statements s join pg_database d on d.oid = s.dbid where d.datname = $1 and s.toplevel"""


class Pages:
    """Counts the pages of one database that calls touch; one call at a time."""

    def __init__(self, server: Postgres, url: str) -> None:
        self._server, self._database = server, urlsplit(url).path[1:]
        self._watcher: Any = None
        self.last = 0
        """Of the last call."""

    async def __aenter__(self) -> Self:
        if not has_extension(self._server.bin, "pg_stat_statements"):
            pytest.skip("this PostgreSQL lacks pg_stat_statements (postgresql-contrib)")
        self._watcher = await asyncpg.connect(self._server.url_for(MAINTENANCE))
        await self._watcher.execute("create extension if not exists pg_stat_statements")
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._watcher.close()

    async def count(self, call: Awaitable[T]) -> T:
        """The answer of a call, whose pages are then in `last`."""
        await self._watcher.execute("select pg_stat_statements_reset()")
        answer = await call
        self.last = await self._watcher.fetchval(TOUCHED, self._database)
        return answer

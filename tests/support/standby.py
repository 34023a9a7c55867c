"""A second PostgreSQL that follows a first one, and takes its place."""

import asyncio
from typing import Self

import asyncpg
from typing_extensions import override

from hack.postgres import DATABASE, LOOPBACK, OWNER, Postgres

PROMOTE_SECONDS = 30.0


class Standby(Postgres):
    """A streaming standby of a server that runs, copied from it; the databases, password and superuser are the same."""

    def __init__(self, primary: Postgres) -> None:
        super().__init__()
        self._primary = primary

    @override
    def _prepare(self) -> None:
        data = self.dir / "data"
        if not (data / "initialised").exists():
            (self.dir / "password").touch(mode=0o600)
            (self.dir / "password").write_text(self._primary.password)
            data.mkdir(mode=0o700)
            self._give(data)
            way = f"host={LOOPBACK} port={self._primary.port} user={OWNER} password={self._primary.password}"
            fast = ("--checkpoint=fast", "--no-sync", "--wal-method=stream", "--write-recovery-conf")
            self._run(self.bin / "pg_basebackup", f"--dbname={way} application_name=standby", f"--pgdata={data}", *fast)
            (data / "initialised").touch()
        super()._prepare()

    async def follows(self) -> None:
        """Wait until the primary sends us what it writes."""
        await _until(self._primary.url, "select exists (select from pg_stat_replication where state = 'streaming')")

    async def caught_up(self) -> None:
        """Wait until we have all that the primary has."""
        at = await _value(self._primary.url, "select pg_current_wal_lsn()::text")
        await _until(self.url, f"select pg_last_wal_replay_lsn() >= '{at}'")

    async def pause(self) -> None:
        """Show and keep nothing newer, as one that lags: what comes from now on is lost when the primary is."""
        await _value(self._primary.url, "select pg_terminate_backend(pid) from pg_stat_replication")
        await _value(self.url, "alter system set primary_conninfo = ''", "select pg_reload_conf()")
        await _until(self.url, "select not exists (select from pg_stat_wal_receiver)")

    async def promote(self) -> Self:
        """Become the primary."""
        await _value(self.url, f"select pg_promote(true, {PROMOTE_SECONDS:.0f})")
        return self

    def both(self, database: str = DATABASE, query: str = "?target_session_attrs=read-write") -> str:
        """The URL of a database that names both servers."""
        hosts = f"{LOOPBACK}:{self._primary.port},{LOOPBACK}:{self.port}"
        return f"postgresql://{OWNER}:{self.password}@{hosts}/{database}{query}"


async def synchronous(primary: Postgres, *, on: bool) -> None:
    """Whether a commit of the primary waits until its standby has it on disk."""
    names = "standby" if on else ""
    await _value(primary.url, f"alter system set synchronous_standby_names = '{names}'", "select pg_reload_conf()")
    await _until(primary.url, f"select current_setting('synchronous_standby_names') = '{names}'")


async def _value(url: str, *statements: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            said = await connection.fetchval(statement)
        return said
    finally:
        await connection.close()


async def _until(url: str, question: str) -> None:
    async with asyncio.timeout(PROMOTE_SECONDS):
        while not await _value(url, question):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)

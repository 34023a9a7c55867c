"""PostgreSQL as tests and the local stack run it."""

from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from hack import postgres_binaries
from hack.postgres import Postgres
from tests.support.postgres import connected


@pytest.fixture
def server(postgres: Postgres) -> Iterator[Postgres]:
    """A server of the test's own, to be mistreated."""
    del postgres  # marks the tier
    with Postgres() as own:
        yield own


def programs(root: Path, version: str, *, extension: bool = True) -> Path:
    """A fake installation."""
    bindir = root / "usr/lib/postgresql" / version / "bin"
    bindir.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        (bindir / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}.3'\n")
        (bindir / name).chmod(0o755)
    if extension:
        (bindir.parent / "share/extension").mkdir(parents=True)
        (bindir.parent / "share/extension/btree_gist.control").touch()
    return bindir


def test_newest_system_version_comes_first(tmp_path: Path) -> None:
    """Versions are compared as numbers: 14 is newer than 9."""
    old, new = programs(tmp_path, "9"), programs(tmp_path, "14")
    found = [place for place in postgres_binaries.candidates(tmp_path) if place.is_relative_to(tmp_path)]
    assert found == [new, old]


def test_old_version_is_passed_over(tmp_path: Path) -> None:
    """A PostgreSQL before 14 is not used."""
    assert postgres_binaries.choose([programs(tmp_path, "13")]) is None


def test_missing_extension_is_passed_over(tmp_path: Path) -> None:
    """A server without btree_gist is not used, the next one is."""
    bare = programs(tmp_path / "a", "99", extension=False)
    whole = programs(tmp_path / "b", "99")
    assert postgres_binaries.choose([bare, whole]) == whole


def test_client_only_installation_is_passed_over(tmp_path: Path) -> None:
    """A folder without initdb is not used."""
    bindir = programs(tmp_path, "99")
    (bindir / "initdb").unlink()
    assert postgres_binaries.choose([bindir]) is None


async def test_listens_on_loopback_only(server: Postgres) -> None:
    """Nobody outside this machine can connect, and on it only with the password."""
    async with connected(server.url) as connection:
        assert await connection.fetchval("SHOW listen_addresses") == "127.0.0.1"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.url.replace(server.password, "wrong"))


async def test_socket_answers_its_owner(server: Postgres) -> None:
    """The socket needs no password; its directory is closed to others."""
    assert server.socket_dir.stat().st_mode & 0o077 == 0
    async with connected(f"postgresql://ipam@/ipam?host={server.socket_dir}&port={server.port}") as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_crash_and_restart_keep_data_and_port(server: Postgres) -> None:
    """After a crash the server comes back on the same port with what was committed."""
    url = server.url
    async with connected(url) as connection:
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    server.kill()
    assert server.pid == 0
    server.start()
    assert server.url == url
    async with connected(url) as connection:
        assert await connection.fetchval("SELECT one FROM kept") == 1


async def test_needed_extension_is_there(database_url: str) -> None:
    """btree_gist can be created, whichever server was found."""
    async with connected(database_url) as connection:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")


def test_temporary_server_leaves_nothing(postgres: Postgres) -> None:
    """Its files are gone when it is."""
    del postgres
    with Postgres() as own:
        directory = own.dir
        assert directory.exists()
    assert not directory.exists()

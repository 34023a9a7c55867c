"""Connections that cannot be trusted any more are nobody's."""

from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from hack.pki import Pki
from hack.postgres import LOOPBACK, Postgres
from ipam_operator.errors import StoreFaultError, StoreUnavailableError
from ipam_operator.store.database import Connection, connect
from tests.support.store import Store


@pytest.mark.parametrize("error", [asyncpg.InternalClientError, asyncpg.InterfaceError])
async def test_a_confused_connection_is_not_used_again(database_url: str, error: type[Exception]) -> None:
    """After an error of the driver itself the call may be repeated, and gets another connection."""
    used: list[Any] = []

    async def broken(tx: Connection) -> None:
        used.append(await tx.value("ping"))
        used.append(tx._connection._con)  # noqa: SLF001 - the proxy's own connection tells who serves
        raise error("cannot switch to state 12; another operation (2) is in progress")

    async def fine(tx: Connection) -> None:
        used.append(tx._connection._con)  # noqa: SLF001

    async with Store(database_url, connections=1) as store:
        with pytest.raises(StoreUnavailableError, match="cannot switch to state"):
            await store.database.transaction("broken", broken)
        await store.database.transaction("fine", fine)
        one, first, second = used
        assert one == 1
        assert first is not second
        assert first.is_closed()


async def test_a_refused_statement_keeps_its_connection(database_url: str) -> None:
    """What the database refuses is the statement's fault, not the connection's."""
    used: list[Any] = []

    async def work(tx: Connection) -> None:
        used.append(tx._connection._con)  # noqa: SLF001
        if len(used) == 1:
            await tx.rows("remember_refusal", "neither", "team", "x", UUID(int=1), "r", "m")

    async with Store(database_url, connections=1) as store:
        with pytest.raises(StoreFaultError, match="refusal_kind_check"):
            await store.database.transaction("refused", work)
        await store.database.transaction("fine", work)
        assert used[0] is used[1]


async def test_who_serves_a_claim_that_another_has_just_served_looks_again(database_url: str) -> None:
    """Two pools may serve one claim at once; the index lets one through, and the other one's statement is repeated."""
    calls: list[int] = []

    async def late(tx: Connection) -> int:
        calls.append(await tx.value("ping"))
        if len(calls) == 1:
            twice = asyncpg.UniqueViolationError("duplicate key value violates unique constraint")
            twice.constraint_name = "lease_claim"
            raise twice
        return len(calls)

    async with Store(database_url, connections=1) as store:
        assert await store.database.transaction("late", late) == 2


async def test_a_session_that_was_idle_in_a_transaction_too_long_is_unavailable(database_url: str) -> None:
    """A process that was stopped in a transaction finds its session gone, and its next call works."""

    async def asleep(tx: Connection) -> None:
        connection = tx._connection  # noqa: SLF001 - the session's own limit
        await connection.execute("set local idle_in_transaction_session_timeout = '10ms'")
        pid = await connection.fetchval("select pg_backend_pid()")
        while await store.value("select count(*) from pg_stat_activity where pid = $1", pid):
            pass
        await tx.rows("ping")

    async with Store(database_url, connections=1) as store:
        with pytest.raises(StoreUnavailableError):
            await store.database.transaction("asleep", asleep)
        await store.ownership.ping()


@pytest.mark.usefixtures("postgres")
async def test_certificate_of_the_server_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With verify-full the right authority and the right name are needed; else the database does not answer."""
    signer, stranger = Pki(tmp_path / "signer"), Pki(tmp_path / "stranger")
    stranger.make()
    unnamed = "127.0.0.2"
    with Postgres(address=unnamed, pki=signer) as server:
        named = server.url.replace(f"@{unnamed}:", f"@{LOOPBACK}:")
        monkeypatch.setenv("PGSSLMODE", "verify-full")
        monkeypatch.setenv("PGSSLROOTCERT", str(signer.authority))
        connection = await connect(named)
        try:
            assert await connection.fetchval("select ssl from pg_stat_ssl where pid = pg_backend_pid()") is True
        finally:
            await connection.close()
        with pytest.raises(StoreUnavailableError, match=f"not valid for '{unnamed}'"):
            await connect(server.url)
        monkeypatch.setenv("PGSSLROOTCERT", str(stranger.authority))
        with pytest.raises(StoreUnavailableError, match="certificate verify failed"):
            await connect(named)

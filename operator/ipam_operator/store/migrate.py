"""Forward-only migrations: numbered files once, repeatable ones (functions) whenever they change."""

import hashlib
import logging
from importlib import resources
from typing import Any, Final

import asyncpg

from ipam_operator.errors import SchemaMismatchError, StoreUnavailableError
from ipam_operator.store.database import connect
from ipam_operator.store.queries import functions

_LOCK: Final = 7_406_293_175_513
"""Of the advisory transaction lock that lets one migrator in at a time."""
_OWNER: Final = """
select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'ipam' and not pg_has_role(nspowner, 'usage')"""
"""Of the schema, where we are somebody else."""
_SCHEMA: Final = """
select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'ipam' and c.relname = 'migration'"""
_log = logging.getLogger(__name__)


def files() -> dict[str, str]:
    """Migration texts by file name, in the order in which they apply: numbered before repeatable (`R_`)."""
    folder = resources.files("ipam_operator.store.migrations")
    return {
        file.name: file.read_text()
        for file in sorted(folder.iterdir(), key=lambda path: path.name)
        if file.name.endswith(".sql")
    }


def checksum(text: str) -> str:
    """SHA-256 of a migration's text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


async def migrate(url: str) -> list[str]:
    """Bring the database's schema to this program's version; returns the files applied.

    A login that does not own the schema, as the operator's should not, finds nothing to do or is told whose turn it is.

    Raises:
        SchemaMismatchError: the database is newer, a numbered migration has changed since it was applied, or there is
            something to do for the schema's owner.
    """
    connection = await connect(url)
    try:
        owner = await connection.fetchval(_OWNER)
        if owner is not None:
            await _check(connection, f"run `ipam-operator migrate` as {owner}, who owns the schema")
            return []
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", _LOCK)
            await connection.execute("set local lock_timeout = '60s'")
            await connection.execute("set local statement_timeout = '600s'")
            await _make_schema(connection)
            await connection.execute("set local search_path = ipam, public")
            await connection.execute(
                "create table if not exists ipam.migration ("
                "name text primary key, checksum text not null, applied_at timestamptz not null default now())"
            )
            return await _apply(connection)
    finally:
        await connection.close()


async def migrate_for(url: str, owner_url: str) -> list[str]:
    """Migrate as the schema's owner for an operator that logs in as somebody else; returns the files applied.

    Raises:
        SchemaMismatchError: as `migrate` does.
        StoreUnavailableError: the operator's login is not there yet, or not yet a member of ipam_operator.
    """
    applied = await migrate(owner_url)
    try:
        await verify(url)
    except SchemaMismatchError as error:  # the owner has just brought the schema up to date: it is the login
        raise StoreUnavailableError(f"the operator's login: {error}") from error
    return applied


async def verify(url: str) -> None:
    """Check that the schema is exactly this program's.

    Raises:
        SchemaMismatchError: it is older, newer or was never made.
    """
    connection = await connect(url)
    try:
        await _check(connection, "run `ipam-operator migrate`")
    finally:
        await connection.close()


async def _make_schema(connection: Any) -> None:
    try:
        await connection.execute("create schema if not exists ipam")
    except asyncpg.InsufficientPrivilegeError as error:
        raise SchemaMismatchError(
            "the database has no schema yet, and this login may not make it: run `ipam-operator migrate` as its owner"
        ) from error


async def _check(connection: Any, remedy: str) -> None:
    try:
        if await connection.fetchval(_SCHEMA) is None:
            raise SchemaMismatchError(f"the database has no schema yet: {remedy}")
        pending = _pending(await _applied(connection))
    except asyncpg.InsufficientPrivilegeError as error:
        raise SchemaMismatchError(
            f"this login may not read the schema: {remedy}, and grant it ipam_operator"
        ) from error
    if pending:
        raise SchemaMismatchError(f"the database lacks {', '.join(pending)}: {remedy}")


async def _applied(connection: Any) -> dict[str, str]:
    rows = await connection.fetch("select name, checksum from ipam.migration")
    return {row["name"]: row["checksum"] for row in rows}


def _pending(applied: dict[str, str]) -> list[str]:
    ours = files()
    unknown = sorted(name for name in applied.keys() - ours.keys() if not name.startswith("R_"))
    if unknown:
        raise SchemaMismatchError(f"the database is newer than this program: it has {', '.join(unknown)}")
    changed = [
        name
        for name, text in ours.items()
        if not name.startswith("R_") and name in applied and applied[name] != checksum(text)
    ]
    if changed:
        raise SchemaMismatchError(f"{', '.join(changed)} changed after it was applied: add a new migration instead")
    return [name for name, text in ours.items() if applied.get(name) != checksum(text)]


async def _apply(connection: Any) -> list[str]:
    pending = _pending(await _applied(connection))
    for name in pending:
        text = files()[name]
        await connection.execute(text)
        await connection.execute(
            "insert into ipam.migration (name, checksum) values ($1, $2) "
            "on conflict (name) do update set checksum = excluded.checksum, applied_at = now()",
            name,
            checksum(text),
        )
        _log.info("applied migration %s", name)
    await connection.execute("select ipam.set_limits()")  # a restored database has lost them
    await connection.execute("select ipam.guard($1::text[])", sorted(functions()))
    return pending

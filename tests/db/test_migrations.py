import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from hack.postgres import Postgres
from hack.schema_snapshot import FILE, snapshot
from ipam_operator.errors import SchemaMismatchError, StoreUnavailableError
from ipam_operator.store import migrate as migrations
from ipam_operator.store.database import connect
from ipam_operator.store.migrate import checksum, files, migrate, verify
from tests.support.postgres import operator_url

NUMBERED = [name for name in files() if not name.startswith("R_")]
REPEATABLE = [name for name in files() if name.startswith("R_")]


async def execute(url: str, *statements: str) -> None:
    connection = await connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def fetch(url: str, query: str) -> list[tuple[object, ...]]:
    connection = await connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


@pytest_asyncio.fixture
async def stranger(postgres: Postgres, empty_database_url: str) -> AsyncIterator[str]:
    """URL of the empty database for a role that may create in it, and does not own it."""
    database = urlsplit(empty_database_url).path[1:]
    role = f"{database}_guest"
    await execute(
        empty_database_url,
        "create extension btree_gist",
        f"create role {role} login password 'guest'",
        f"grant create on database {database} to {role}",
    )
    yield f"postgresql://{role}:guest@127.0.0.1:{postgres.port}/{database}"
    await execute(empty_database_url, f"drop owned by {role} cascade", f"drop role {role}")


def test_numbered_before_repeatable() -> None:
    """Migrations apply in the order of their names; no number is there twice, though one may be made elsewhere."""
    assert list(files()) == [*NUMBERED, *REPEATABLE]
    numbers = [name[:4] for name in NUMBERED]
    assert numbers == sorted(set(numbers))  # two branches may leave a gap, and never share a number


@pytest.mark.parametrize(("lead", "granting"), [("1 hour", True), ("-1 hour", False)], ids=["runs", "ran"])
async def test_a_store_that_is_served_meanwhile_goes_on_granting(
    empty_database_url: str, lead: str, *, granting: bool
) -> None:
    """An operator of the release before, which knows no comparison, serves on; what nobody serves is compared first."""
    before = [name for name in NUMBERED if name < "0018"]
    texts = files()
    connection = await connect(empty_database_url)
    try:
        await connection.execute("create schema ipam; set search_path = ipam, public")
        await connection.execute(
            "create table migration"
            " (name text primary key, checksum text not null, applied_at timestamptz not null default now())"
        )
        for name in before:
            await connection.execute(texts[name])
            await connection.execute("insert into migration values ($1, $2)", name, checksum(texts[name]))
        await connection.execute("insert into cluster (uid) values (gen_random_uuid())")
        await connection.execute(f"insert into leader values (true, 'old', 1, now() + interval '{lead}')")
    finally:
        await connection.close()
    await migrate(empty_database_url)
    assert await fetch(empty_database_url, "select ipam.is_compared()") == [(granting,)]


async def test_second_run_applies_nothing(empty_database_url: str) -> None:
    """The first run applies every file, the second none."""
    assert await migrate(empty_database_url) == [*NUMBERED, *REPEATABLE]
    assert await migrate(empty_database_url) == []
    await verify(empty_database_url)


async def test_migrations_make_the_snapshot(database_url: str) -> None:
    """store/schema.sql is what the migrations make; `python -m hack.schema_snapshot` rewrites it."""
    connection = await connect(database_url)
    try:
        made = await snapshot(connection)
    finally:
        await connection.close()
    assert made == FILE.read_text(), "run python -m hack.schema_snapshot"


async def test_upgrade_ends_where_a_new_database_does(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that every repeatable is applied to again has the same schema as a new one."""
    await migrate(empty_database_url)
    changed = {name: text + "\n" if name in REPEATABLE else text for name, text in files().items()}
    monkeypatch.setattr(migrations, "files", lambda: changed)
    assert await migrate(empty_database_url) == REPEATABLE
    connection = await connect(empty_database_url)
    try:
        assert await snapshot(connection) == FILE.read_text()
    finally:
        await connection.close()


async def test_changed_numbered_file_is_refused(database_url: str) -> None:
    """A numbered file that differs from what was applied is refused by name, and nothing is applied."""
    await execute(database_url, f"update ipam.migration set checksum = 'other' where name = '{NUMBERED[0]}'")
    for attempt in (migrate, verify):
        with pytest.raises(SchemaMismatchError, match=f"{NUMBERED[0]} changed after it was applied"):
            await attempt(database_url)


async def test_newer_schema_is_refused(database_url: str) -> None:
    """A program that does not know an applied numbered file neither migrates nor starts."""
    await execute(database_url, "insert into ipam.migration (name, checksum) values ('9999_future.sql', 'x')")
    for attempt in (migrate, verify):
        with pytest.raises(SchemaMismatchError, match=r"newer than this program: it has 9999_future\.sql"):
            await attempt(database_url)


async def test_forgotten_repeatable_is_no_mismatch(database_url: str) -> None:
    """A repeatable file that later programs dropped is no sign of a newer schema."""
    await execute(database_url, "insert into ipam.migration (name, checksum) values ('R_99_dropped.sql', 'x')")
    assert await migrate(database_url) == []
    await verify(database_url)


async def test_changed_repeatable_is_applied_again(database_url: str) -> None:
    """A function that somebody changed in the database comes back once its file's checksum differs."""
    name = next(name for name in REPEATABLE if "function ipam.confirmed(" in files()[name])
    await execute(
        database_url,
        "create or replace function ipam.confirmed(its_what text) returns boolean language sql as 'select true'",
        f"update ipam.migration set checksum = 'old' where name = '{name}'",
    )
    with pytest.raises(SchemaMismatchError, match=f"the database lacks {name}: run `ipam-operator migrate`"):
        await verify(database_url)
    assert await migrate(database_url) == [name]
    assert await fetch(database_url, "select ipam.confirmed('nothing')") == [(False,)]
    recorded = await fetch(database_url, f"select checksum from ipam.migration where name = '{name}'")
    assert recorded == [(checksum(files()[name]),)]


async def test_failed_migration_leaves_nothing(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that fails takes the whole run back, so that the next one starts from where this one did."""
    broken = {**files(), "R_99_broken.sql": "select 1 / 0"}
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "files", lambda: broken)
        with pytest.raises(asyncpg.DivisionByZeroError):
            await migrate(empty_database_url)
    assert await fetch(empty_database_url, "select to_regnamespace('ipam') is null") == [(True,)]
    assert await migrate(empty_database_url) == [*NUMBERED, *REPEATABLE]


async def test_migrators_at_once(empty_database_url: str) -> None:
    """Of replicas that start together one migrates, the others wait and find nothing to do."""
    runs = await asyncio.gather(*(migrate(empty_database_url) for _ in range(4)))
    assert sorted(map(len, runs)) == [0, 0, 0, len(files())]
    await verify(empty_database_url)


async def test_verify_refuses_an_empty_database(empty_database_url: str) -> None:
    """Without a schema the operator says which command makes it."""
    with pytest.raises(SchemaMismatchError, match="no schema yet: run `ipam-operator migrate`"):
        await verify(empty_database_url)


async def test_verify_refuses_an_older_schema(database_url: str) -> None:
    """A schema that lacks a file is refused with the file's name and the command that applies it."""
    await execute(database_url, f"delete from ipam.migration where name = '{REPEATABLE[-1]}'")
    with pytest.raises(SchemaMismatchError, match=f"lacks {REPEATABLE[-1]}: run `ipam-operator migrate`"):
        await verify(database_url)


async def test_absent_server_is_unavailable() -> None:
    """A server that does not answer is a reason to try again, not a mismatch."""
    with pytest.raises(StoreUnavailableError):
        await migrate("postgresql://ipam@127.0.0.1:1/ipam")


async def test_limits_are_on_the_database(empty_database_url: str) -> None:
    """Every new session, whoever opens it, has limits for locks, statements and idle transactions."""
    await migrate(empty_database_url)
    shown = await fetch(
        empty_database_url,
        "select current_setting('lock_timeout'), current_setting('statement_timeout'), "
        "current_setting('idle_in_transaction_session_timeout')",
    )
    assert shown == [("10s", "1min", "15s")]


async def test_role_that_does_not_own_the_database(stranger: str) -> None:
    """A role that may only create in the database migrates all the same, without the limits."""
    assert await migrate(stranger) == [*NUMBERED, *REPEATABLE]
    assert await migrate(stranger) == []
    assert await fetch(stranger, "select current_setting('lock_timeout')") == [("0",)]


async def test_the_operators_login_makes_no_schema(empty_database_url: str) -> None:
    """Where there is none yet it is told whose turn it is."""
    with pytest.raises(SchemaMismatchError, match="as its owner"):
        await migrate(operator_url(empty_database_url))


async def test_the_operators_login_only_looks(database_url: str) -> None:
    """A login that does not own the schema finds it up to date, or says who has to migrate it; it changes nothing."""
    assert await migrate(operator_url(database_url)) == []
    await verify(operator_url(database_url))
    await execute(database_url, f"delete from ipam.migration where name = '{REPEATABLE[-1]}'")
    with pytest.raises(SchemaMismatchError, match=f"lacks {REPEATABLE[-1]}: run `ipam-operator migrate` as ipam"):
        await migrate(operator_url(database_url))
    assert await migrate(database_url) == [REPEATABLE[-1]]


async def test_history_has_partitions_ahead(database_url: str) -> None:
    """After migrating, history has a partition for this month and the next three."""
    rows = await fetch(database_url, "select count(*) from pg_inherits where inhparent = 'ipam.history'::regclass")
    assert rows == [(4,)]

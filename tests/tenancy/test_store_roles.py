"""The store's two roles: the operator's changes nothing but by our functions, tenants' reads one namespace and no more.

Tables, functions and privileges are asked of the catalog, so that new ones are tried, too.
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import pytest
import pytest_asyncio

from hack.places import ROOT
from hack.postgres import Postgres
from ipam_operator.errors import SchemaMismatchError
from ipam_operator.store.database import Database
from ipam_operator.store.migrate import migrate
from ipam_operator.store.queries import blocks, functions
from tests.support.postgres import login_url, operator_url
from tests.support.store import Store
from tests.tenancy.support import FUNCTIONS, ONE, OTHER, RELATIONS, allow, callable_by, fill, login, refused, session

ROLES: Final = ("ipam_operator", "ipam_tenant")
HOME: Final = {
    "ipam.pool_range": "(select namespace from ipam.pool where id = t.pool_id)",
    "ipam.free_range": "(select namespace from ipam.pool where id = t.pool_id)",
    "ipam.term": "(select namespace from ipam.lease where claim_uid = t.claim_uid and released_at is null limit 1)",
}
"""Whose a row is, where it does not say itself."""
CHANGES: Final = (
    "insert into {0} default values",
    "update {0} set {1} = {1}",
    "delete from {0}",
    "truncate {0}",
    "copy {0} from stdin",
    "select {1} from {0} for update",
    "lock table {0} in row exclusive mode",
    "create index on {0} ({1})",
    "alter table {0} disable row level security",
    "drop table {0}",
)


@pytest_asyncio.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """Both tenants filled by the operator's login, which proves that it can; `sql` is the owner's."""
    async with Store(database_url, limits="allocate=1000/1000") as opened:
        for namespace in (ONE, OTHER):
            await fill(opened, namespace)
        yield opened


async def tables(store: Store) -> list[str]:
    """All tables, partitions among them."""
    return [row["name"] for row in await store.sql(RELATIONS) if row["kind"] in "rp"]


async def shown(store: Store) -> dict[str, str]:
    """What tenants may read, by the catalog: table -> columns."""
    rows = await store.sql(
        """
        select format('ipam.%I', c.relname) name, string_agg(quote_ident(a.attname), ', ' order by a.attnum) columns
        from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        where c.relnamespace = 'ipam'::regnamespace and has_column_privilege('ipam_tenant', c.oid, a.attnum, 'select')
        group by c.oid"""
    )
    return {row["name"]: row["columns"] for row in rows}


async def owned(store: Store, table: str, columns: str, namespace: str) -> list[str]:
    """The rows that are the tenant's, as the owner of the store finds them."""
    home = HOME.get(table, "t.namespace")
    rows = await store.sql(f"select row({columns})::text one from {table} t where {home} = $1 order by 1", namespace)
    return [row["one"] for row in rows]


async def test_a_tenant_reads_its_own_rows_and_no_others(store: Store) -> None:
    """Of every table that it may read all rows of its namespace and none of another's; there are some of both."""
    readable = await shown(store)
    assert readable
    async with session(store.url, "ipam_tenant", ONE) as tenant:
        for table, columns in readable.items():
            mine, theirs = await owned(store, table, columns, ONE), await owned(store, table, columns, OTHER)
            assert mine, f"{table}: nothing of {ONE} to see"
            assert theirs, f"{table}: nothing of {OTHER} to hide"
            seen = await tenant.fetch(f"select row({columns})::text one from {table} order by 1")
            assert [row["one"] for row in seen] == mine, table


async def test_without_a_namespace_a_tenant_reads_nothing(store: Store) -> None:
    """Neither when none is set nor with what is no namespace: the policy compares, it does not match."""
    for namespace in (None, "", "%", f"{ONE},{OTHER}", f"{{{ONE},{OTHER}}}", "team-none", f"{ONE}' or true --"):
        async with session(store.url, "ipam_tenant", namespace) as tenant:
            for table in await shown(store):
                assert await tenant.fetchval(f"select count(*) from {table}") == 0, (table, namespace)
    async with session(store.url, "ipam_tenant", ONE) as tenant:  # the same statement of who may
        assert all([await tenant.fetchval(f"select count(*) from {table}") for table in await shown(store)])


async def test_what_is_not_a_tenants_is_closed(store: Store) -> None:
    """Every other table, every partition, view and sequence, and the columns that others' words stand in."""
    readable = await shown(store)
    others = [row["name"] for row in await store.sql(RELATIONS) if row["name"] not in readable]
    assert {"ipam.cluster", "ipam.tenant_login", "ipam.selector", "ipam.lease_generation"} <= set(others)
    assert any(name.startswith("ipam.history_") for name in others)
    async with session(store.url, "ipam_tenant", ONE) as tenant:
        for name in others:
            await store.sql(f"select count(*) from {name}")
            assert await refused(tenant, f"select count(*) from {name}"), name
        await tenant.execute("select id, name from ipam.pool")
        assert await refused(tenant, "select selectors from ipam.pool")
        assert await refused(tenant, "select * from ipam.pool")


@pytest.mark.parametrize("role", ROLES)
async def test_no_table_can_be_changed(store: Store, role: str) -> None:
    """Neither role inserts, updates, deletes, truncates, copies into, locks, indexes, opens or drops any table."""
    async with session(store.url, role, ONE) as held:
        for table in await tables(store):
            before = await store.value(f"select count(*) from {table}")
            column = await store.value(
                "select quote_ident(attname) from pg_attribute"
                f" where attrelid = '{table}'::regclass and attnum > 0 and not attisdropped and attgenerated = ''"
                " and attidentity = '' limit 1"
            )
            for change in CHANGES:
                assert await refused(held, change.format(table, column)), (table, change)
            assert await store.value(f"select count(*) from {table}") == before
        for name in [row["name"] for row in await store.sql(RELATIONS) if row["kind"] == "S"]:
            assert await refused(held, f"select nextval('{name}')"), name
            assert await refused(held, f"select setval('{name}', 1)"), name


@pytest.mark.parametrize("role", ROLES)
async def test_nothing_can_be_made_in_the_schema(store: Store, role: str) -> None:
    """No table, function, trigger, policy or privilege of their own, where our functions would find it."""
    async with session(store.url, role, ONE) as held:
        for statement in (
            "create table ipam.mine (one int)",
            "create function ipam.mine() returns int language sql as 'select 1'",
            "create trigger mine before insert on ipam.lease execute function ipam.refuse_change()",
            "create policy mine on ipam.lease using (true)",
            "alter function ipam.tidy(interval) owner to current_user",
            "drop schema ipam cascade",
        ):
            async with session(store.url) as owner:
                await allow(owner, statement)
            assert await refused(held, statement), statement
        privileges = (
            "select array_agg(relacl::text order by oid) from pg_class where relnamespace = 'ipam'::regnamespace"
        )
        before = await store.value(privileges)
        for statement in ("grant all on all tables in schema ipam to public", f"grant {role} to pg_monitor"):
            await refused(held, statement)  # or warns that nothing is granted
        assert await store.value(privileges) == before


async def test_a_tenant_can_call_nothing_that_changes(store: Store) -> None:
    """Every function of the schema is refused to it, but the one that says whose rows it reads."""
    found = await store.sql(FUNCTIONS)
    assert len(found) > 100
    async with session(store.url, "ipam_tenant", ONE) as tenant:
        assert [one["name"] for one in found if await callable_by(tenant, one)] == ["tenant_namespaces"]
        assert await tenant.fetchval("select ipam.tenant_namespaces()") == [ONE]


async def test_the_operator_calls_what_its_statements_call(store: Store) -> None:
    """It may execute the functions that its named statements begin with, and none of those that they are made of."""
    named = set(re.findall(r"ipam\.(\w+)\(", " ".join(blocks().values())))
    assert {"allocate", "release", "put_pool"} <= named
    found = await store.sql(FUNCTIONS)
    async with session(store.url, "ipam_operator") as operator:
        allowed = {one["name"] for one in found if await callable_by(operator, one)}
    assert allowed == named


async def test_functions_that_run_as_the_owner_choose_their_own_names(store: Store) -> None:
    """Only what the roles may call does so, and with a search path that the caller cannot change."""
    rows = await store.sql(
        "select proname::text name, proconfig from pg_proc where pronamespace = 'ipam'::regnamespace and prosecdef"
    )
    assert {row["name"] for row in rows} == {*functions(), "tenant_namespaces"}
    for row in rows:
        assert any(re.fullmatch(r"search_path=(ipam|pg_catalog), pg_temp", one) for one in row["proconfig"]), row


async def test_a_caller_cannot_put_names_under_our_functions(store: Store) -> None:
    """Temporary tables and a search path of the caller's own change nothing of what a function finds."""
    async with session(store.url, "ipam_operator") as operator:
        await operator.execute(
            "create temporary table confirmation as select 'release' what, timestamptz 'infinity' until"
        )
        await operator.execute("set search_path = pg_temp, ipam")
        assert await operator.fetchval("select count(*) from confirmation") == 1
        assert not await operator.fetchval("select ipam.confirmed('release')")


async def test_the_operator_reads_all(store: Store) -> None:
    """Every table, whole: the policies for tenants take nothing from it."""
    async with session(store.url, "ipam_operator") as operator:
        for row in await store.sql(RELATIONS):
            if row["kind"] in "rp" and not row["partition"]:
                count = f"select count(*) from {row['name']}"
                assert await operator.fetchval(count) == await store.value(count), row["name"]


async def test_a_condition_of_the_tenants_own_does_not_see_other_rows(store: Store) -> None:
    """A function that fails on others' rows does not fail: the policy comes first, so that no error tells of them."""
    probe = f"select count(*) from ipam.history where 1 / (namespace <> '{OTHER}')::int = 1"
    with pytest.raises(asyncpg.DivisionByZeroError):
        await store.sql(probe)
    async with session(store.url, "ipam_tenant", ONE) as tenant:
        assert await tenant.fetchval(probe) > 0


async def test_statistics_tell_tenants_nothing(store: Store) -> None:
    """What the planner knows of values (names, addresses, actors) is the owner's and not tenants'."""
    await store.sql("analyze ipam.lease")
    statistics = "select count(*) from pg_stats where schemaname = 'ipam'"
    assert await store.value(statistics) > 0
    async with session(store.url, "ipam_tenant", ONE) as tenant:
        assert await tenant.fetchval(statistics) == 0


async def test_a_login_is_bound_to_its_namespace(store: Store, postgres: Postgres) -> None:
    """A login of ipam_tenant reads what the owner has bound it to, whatever it sets; without that, nothing."""
    name = f"portal_{store.url.rpartition('_')[2]}"
    async with session(postgres.url) as owner, login(owner, store.url, name, "ipam_tenant") as url:
        async with session(url, "", OTHER) as unbound:
            assert await unbound.fetchval("select count(*) from ipam.lease") == 0
        await store.sql("insert into ipam.tenant_login values ($1, $2)", name, ONE)
        async with session(url, "", OTHER) as bound:
            seen = await bound.fetch("select distinct namespace from ipam.lease")
            assert [row["namespace"] for row in seen] == [ONE]
            for statement in (
                f"insert into ipam.tenant_login values ('{name}', '{OTHER}')",
                f"update ipam.tenant_login set namespace = '{OTHER}'",
                "set role ipam_operator",
                "set session authorization ipam",
                "select ipam.guard('{confirm}')",
            ):
                assert await refused(bound, statement), statement
            await bound.execute("set role ipam_tenant")
            assert await bound.fetchval("select ipam.tenant_namespaces()") == [ONE]
        await store.sql("delete from ipam.tenant_login")


async def test_who_reads_all_can_narrow_itself(store: Store, postgres: Postgres) -> None:
    """A login of both roles shows one tenant's rows by taking on the lesser one; the operator's alone may not."""
    count = "select count(distinct namespace) from ipam.lease"
    name = f"narrow_{store.url.rpartition('_')[2]}"
    async with session(postgres.url) as owner, login(owner, store.url, name, *ROLES) as url:
        async with session(url, "", ONE) as both:
            assert await both.fetchval(count) == 2
        async with session(url, "ipam_tenant", ONE) as narrowed:
            assert await narrowed.fetchval(count) == 1
    async with session(operator_url(store.url)) as operator:
        assert await refused(operator, "set role ipam_tenant")


async def test_a_new_table_is_closed_by_the_next_migration(store: Store) -> None:
    """Nobody has to think of it: no tenant reads it, the operator only reads it, and row security is on."""
    await store.script("create table ipam.fresh (namespace text); insert into ipam.fresh values ('team-one')")
    await store.script("create function ipam.fresh() returns int language sql as 'select 1'")
    secured = "select relrowsecurity from pg_class where oid = 'ipam.fresh'::regclass"
    assert not await store.value(secured)
    assert await migrate(store.url) == []
    assert await store.value(secured)
    async with session(store.url, "ipam_operator") as operator, session(store.url, "ipam_tenant", ONE) as tenant:
        assert await operator.fetchval("select count(*) from ipam.fresh") == 1
        assert await refused(operator, "delete from ipam.fresh")
        assert await refused(tenant, "select count(*) from ipam.fresh")
        for held in (operator, tenant):
            assert await refused(held, "select ipam.fresh()")


async def test_a_function_that_is_called_no_more_is_closed(store: Store) -> None:
    """It neither runs as the owner any more nor may the operator call it; the next migration opens what is called."""
    async with session(store.url, "ipam_operator") as operator:
        confirm = "select ipam.confirm('release', 1)"
        await operator.execute(confirm)
        await store.sql("select ipam.guard($1::text[])", sorted(functions() - {"confirm"}))
        assert await refused(operator, confirm)
        assert not await store.value("select prosecdef from pg_proc where oid = 'ipam.confirm'::regproc")
        await migrate(store.url)
        await operator.execute(confirm)


async def test_guarding_again_changes_nothing(store: Store) -> None:
    """It runs at every start of every replica: it must not lock or rewrite what is as it should be."""
    written = "select array_agg(xmin::text order by oid) from pg_class where relnamespace = 'ipam'::regnamespace"
    before = await store.value(written)
    assert await migrate(store.url) == []
    assert await store.value(written) == before


async def test_what_was_taken_comes_back(store: Store) -> None:
    """The next migration restores privileges and policies, as after a restore of a dump without them."""
    await store.script("revoke all on all tables in schema ipam from ipam_operator, ipam_tenant")
    await store.script("revoke all on schema ipam from ipam_operator, ipam_tenant; drop policy operator on ipam.lease")
    async with session(store.url, "ipam_operator") as operator:
        assert await refused(operator, "select count(*) from ipam.lease")
    assert await migrate(store.url) == []
    async with Database(operator_url(store.url), connections=1) as database:
        assert await database.value("live_claims") > 0


async def test_an_owner_who_may_not_make_roles_gets_them_later() -> None:
    """Its migration does all the rest; once an administrator has made the roles, the next one gives them their due."""
    with Postgres() as server:
        async with session(server.url) as administrator:
            await administrator.execute("create extension btree_gist; create role owner login password 'login'")
            await administrator.execute("alter database ipam owner to owner")
            url = login_url(server.url, "owner", "login")
            assert await migrate(url)
            await administrator.execute("create role ipam_operator; create role ipam_tenant")
            await administrator.execute("create role served login password 'login' in role ipam_operator")
            served = login_url(server.url, "served", "login")
            with pytest.raises(SchemaMismatchError, match=r"run `ipam-operator migrate` as owner, .* ipam_operator"):
                await migrate(served)
            assert await migrate(url) == []
            assert await migrate(served) == []
            async with Database(served, connections=1) as database:
                assert await database.value("lead", "me", 1.0) == 1


@asynccontextmanager
async def migrating(url: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """`ipam-operator migrate` as the owner of an empty database, for an operator that is to log in as `served`."""
    login = {"IPAM_DATABASE_URL": login_url(url, "served", "login"),
             "IPAM_OWNER_DATABASE_URL": login_url(url, "owner", "login")}  # fmt: skip
    async with session(url) as administrator:
        await administrator.execute("create extension btree_gist; create role owner login password 'login'")
        await administrator.execute("alter database ipam owner to owner")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ipam_operator", "migrate", *arguments,
        env={"PYTHONPATH": str(ROOT / "operator"), **login}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def heard(process: asyncio.subprocess.Process, words: str) -> None:
    """Wait until it says so."""
    assert process.stderr is not None
    said = b""
    async with asyncio.timeout(30):
        while words.encode() not in said:
            said = await process.stderr.readline()
            assert said, f"it ended without a word of {words}"


async def test_migration_tells_of_an_operator_who_cannot_log_in() -> None:
    """Given both logins it does the owner's part, and then fails if the operator's login is not there."""
    with Postgres() as server:
        async with migrating(server.url) as process:
            await heard(process, 'password authentication failed for user "served"')
            assert await process.wait() == 1
        assert await migrate(login_url(server.url, "owner", "login")) == []


async def test_migration_waits_until_the_operator_can_log_in() -> None:
    """An administrator makes login, role and membership by and by; it ends well once the operator could serve."""
    with Postgres() as server:
        async with migrating(server.url, "--wait=60") as process, session(server.url) as administrator:
            await heard(process, "waits for the database")
            await administrator.execute("create role served login password 'login'")
            await heard(process, "the operator's login: this login may not read the schema")
            await administrator.execute("create role ipam_operator; grant ipam_operator to served")
            assert await process.wait() == 0
        async with Database(login_url(server.url, "served", "login"), connections=1) as database:
            assert await database.value("lead", "me", 1.0) == 1

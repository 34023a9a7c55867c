"""The store under its two roles: two tenants of equal address space, and sessions that are less than its owner."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import asyncpg

from ipam_operator.domain.outcome import Refused
from tests.support.postgres import connected, login_url
from tests.support.store import Store, claim, network, pool

ONE, OTHER = "team-one", "team-other"
CIDR: Final = "10.0.0.0/24"
RELATIONS: Final = """
select format('ipam.%I', c.relname) name, c.relkind::text kind, c.relispartition partition, c.relrowsecurity secured
from pg_class c where c.relnamespace = 'ipam'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
order by 1"""
"""Whatever holds rows, of which new ones are found by the catalog: tables, partitions, views, sequences."""
FUNCTIONS: Final = """
select p.oid, p.proname::text name, p.proisstrict strict,
    array(
        select format('null::%I.%I', n.nspname, y.typname)
        from unnest(p.proargtypes) with ordinality t(oid, k)
        join pg_type y on y.oid = t.oid join pg_namespace n on n.oid = y.typnamespace order by t.k) nothing
from pg_proc p join pg_language l on l.oid = p.prolang
where p.pronamespace = 'ipam'::regnamespace and l.lanname <> 'internal' order by 2"""
"""All but the constructors of the range type, which make values of values."""


async def fill(store: Store, namespace: str) -> None:
    """A tenant with something in every table that has anything about it."""
    net = await store.network(CIDR, namespace=namespace, name="net")
    hour = timedelta(hours=1)
    of = await store.pool(net, "10.0.0.8-10.0.0.11", name="pool", default_lease=hour, quota=4, cool_down=600)
    mac = claim(of, mac="02:00:5e:00:00:01", name="mac", key="mac")
    cooling, kept = claim(of, name="cooling"), claim(of, name="kept", retain=True)
    await store.ask(mac, claim(of, name="plain"), cooling, kept)
    await store.ask(claim(of, name="waits"))
    await store.release(cooling, kept)
    await store.pool(net, "10.0.0.64/29", name="spare")
    gone = await store.pool(net, "10.0.0.32/30", name="gone")
    left = claim(gone, name="left", retain=True)
    await store.ask(left)
    await store.release(left)
    await store.retire(gone)
    assert isinstance(await store.pools.apply(pool(net, "10.9.0.0/24", name="refused")), Refused)
    assert isinstance(await store.networks.apply(network(CIDR, namespace=namespace, name="twin")), Refused)
    await store.rates.put({namespace: "allocate=1/1"}, whole=False)
    await store.ask(claim(of, name="limited-1"), claim(of, name="limited-2"))


@asynccontextmanager
async def session(url: str, role: str = "", namespace: str | None = None) -> AsyncIterator[Any]:
    """A connection that is `role`, for the rows of `namespace`."""
    async with connected(url) as connection:
        if namespace is not None:
            await connection.execute("select set_config('ipam.namespace', $1, false)", namespace)
        if role:
            await connection.execute(f"set role {role}")
        yield connection


@asynccontextmanager
async def login(owner: Any, url: str, name: str, *roles: str) -> AsyncIterator[str]:
    """The URL for a new login of the server that is in these roles."""
    await owner.execute(f"create role {name} login password 'login' in role {', '.join(roles)}")
    try:
        yield login_url(url, name, "login")
    finally:
        await owner.execute(f"drop owned by {name}")
        await owner.execute(f"drop role {name}")


async def callable_by(connection: Any, function: Any) -> bool:
    """Whether the session may call the function, by the catalog and by a call, which must say the same."""
    allowed = bool(await connection.fetchval("select has_function_privilege($1::oid, 'execute')", function["oid"]))
    if not allowed and not function["strict"]:  # the planner answers for a strict one that is given nothing
        assert await refused(connection, f"select ipam.{function['name']}({', '.join(function['nothing'])})")
    return allowed


async def allow(connection: Any, statement: str) -> None:
    """The positive control: it works for this session, and is undone."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement)
    finally:
        await transaction.rollback()


async def refused(connection: Any, statement: str) -> bool:
    """Whether the server refuses the statement for want of a permission, and for nothing else."""
    try:
        async with connection.transaction():
            await connection.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return True
    return False

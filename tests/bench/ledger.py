"""A store of our own to measure: pools filled to a share, and a table beside the ledger that is only inserted into."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg

from ipam_operator.domain.model import ClaimRequest, Identity, NetworkRequest, ObjectRef, PoolRequest, Strategy
from ipam_operator.domain.outcome import Accepted, Granted
from ipam_operator.net.cidr import Network
from ipam_operator.net.ranges import Range
from ipam_operator.services.claims import Claims
from ipam_operator.services.networks import Networks, Pools
from ipam_operator.store.database import Database
from ipam_operator.store.migrate import migrate
from ipam_operator.store.parents import Parents

NAMESPACE = "bench"
COLUMNS = "pool_id, addr, claim_uid, ordinal, generation, namespace, name, actor"


class Ledger:
    """One database with our schema, and `bench.floor`: the lease table's columns, keys and indexes, no triggers."""

    def __init__(self, url: str, connection: Any) -> None:
        self.url, self.connection = url, connection

    async def make_pool(self, name: str, cidr: str, strategy: Strategy = Strategy.FIRST_FREE) -> "Pool":
        """A pool of exactly these addresses: the second quarter of a network of its own, far from reserved ends."""
        block = ip_network(cidr)
        async with Database(self.url, connections=1) as database:
            parents = Parents(database)
            ref = await put_pool(parents, name, block.supernet(2), ranges=(Range.of(block),), strategy=strategy)
        key = await self.connection.fetchval("select id from ipam.pool where name = $1", name)
        return Pool(self.connection, ref, key, block)


async def put_pool(parents: Parents, name: str, cidr: Network, **facts: Any) -> ObjectRef:
    """A network of these addresses, and a pool of it.

    Raises:
        TypeError: one of them was not accepted.
    """
    network = NetworkRequest(identity(f"net-{name}"), name, cidr, "Unspecified")
    wanted = PoolRequest(identity(name), network.identity.ref, "Dynamic", **facts)
    for outcome in (await Networks(parents).apply(network), await Pools(parents).apply(wanted)):
        if not isinstance(outcome, Accepted):
            raise TypeError(f"the pool {name} was not accepted: {outcome}")
    return wanted.identity.ref


class Pool:
    """A pool under measurement, and the same leases in the bare table."""

    def __init__(self, connection: Any, ref: ObjectRef, key: int, block: Any) -> None:
        self.ref, self.key, self.size = ref, key, int(block.num_addresses)
        self.used = 0
        self._connection, self._first, self._last = connection, block[0], block[-1]

    @property
    def left(self) -> int:
        """How many addresses are free after `fill`."""
        return self.size - self.used

    def address(self, offset: int) -> Any:
        """The address so far behind the first free one."""
        return self._first + self.used + offset

    async def fill(self, share: float, limit: int) -> int:
        """Hold this share (0 to 1) of the pool from its low end; returns how many leases that are in both tables.

        At most the highest `limit` of them are written: below them the ledger merely lacks rows, which no
        allocation ever looks at, and a B-tree of some million rows is as deep as one of 16 million.
        """
        self.used = int(self.size * share)
        rows = min(self.used, limit)
        first = self._first + self.used - rows
        for relation in ("ipam.lease", "bench.floor"):
            await self._lease(relation, f"select $2::inet + i, i::int from generate_series(0, {rows - 1}) i", first)
        await self.restore()
        await self._connection.execute("vacuum analyze ipam.lease, bench.floor, ipam.free_range, ipam.pool")
        return rows

    async def make_holes(self) -> int:
        """Hold every second address; returns how many holes of one address are left."""
        holes = self.size // 2
        for relation in ("ipam.lease", "bench.floor"):
            select = f"select $2::inet + 2 * i, i::int from generate_series(0, {holes - 1}) i"
            await self._lease(relation, select, self._first)
        await self._quietly("delete from ipam.free_range where pool_id = $1", self.key)
        await self._quietly(
            "insert into ipam.free_range (pool_id, lo, hi) select $1, $2::inet + 2 * i + 1, $2::inet + 2 * i + 1 "
            f"from generate_series(0, {holes - 1}) i",
            self.key,
            self._first,
        )
        await self._connection.execute("vacuum analyze ipam.lease, bench.floor, ipam.free_range, ipam.pool")
        return holes

    async def restore(self) -> None:
        """End all samples: what lies behind `fill` is one free range again, in the bare table as well."""
        for statement in (
            "delete from ipam.lease where pool_id = $1 and addr >= $2::inet",
            "delete from bench.floor where pool_id = $1 and addr >= $2::inet",
        ):
            await self._quietly(statement, self.key, self.address(0))
        await self._quietly("delete from ipam.free_range where pool_id = $1", self.key)
        add = "insert into ipam.free_range (pool_id, lo, hi) values ($1, $2, $3)"
        await self._quietly(add, self.key, self.address(0), self._last)
        await self._quietly("update ipam.pool set low_hi = null where id = $1 and low_hi is not null", self.key)

    async def drop(self) -> None:
        """Forget its leases, so that the next pool meets tables of its own."""
        await self._connection.execute("set session_replication_role = replica")
        await self._connection.execute("truncate ipam.lease, bench.floor, ipam.free_range")
        await self._connection.execute("set session_replication_role = origin")
        self.used = 0

    async def _lease(self, relation: str, rows: str, first: Any) -> None:
        await self._quietly(
            f"insert into {relation} ({COLUMNS}) select $1, addr, gen_random_uuid(), 0, "
            f"nextval('ipam.lease_generation'), 'bench', 'filled-' || n, 'bench' from ({rows}) r (addr, n)",
            self.key,
            first,
        )

    async def _quietly(self, statement: str, *arguments: object) -> None:
        """Without triggers: what fills a table is not what is measured."""
        async with self._connection.transaction():
            await self._connection.execute("set local session_replication_role = replica")
            await self._connection.execute(statement, *arguments)


@asynccontextmanager
async def opened(server_url: str) -> AsyncIterator[Ledger]:
    """A database of its own on this server, dropped afterwards."""
    name = f"bench_{uuid4().hex[:8]}"
    keeper = await asyncpg.connect(server_url)
    try:
        await keeper.execute(f"create database {name}")
        url = urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
        await migrate(url)
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("create schema bench")
            await connection.execute("create table bench.floor (like ipam.lease including all)")
            yield Ledger(url, connection)
        finally:
            await connection.close()
    finally:
        await keeper.execute(f"drop database if exists {name} with (force)")
        await keeper.close()


def new_claim(pool: ObjectRef, *, namespace: str = NAMESPACE, **asked: Any) -> ClaimRequest:
    """A claim of a name of its own; `asked` as in ClaimRequest."""
    uid = uuid4()
    identity = Identity(uid, ObjectRef(namespace, f"claim-{uid.hex[:12]}"), 1)
    return ClaimRequest(identity, pool, actor="bench", **asked)


async def seconds_of(claims: Claims, claim: ClaimRequest) -> float:
    """Until this claim has what it asks for, others that are served with it aside.

    Raises:
        TypeError: it was not granted.
    """
    began = time.perf_counter()
    served = await claims.allocate(claim.pool, [claim])
    seconds = time.perf_counter() - began
    if not any(isinstance(one, Granted) and one.claim == claim.identity for one in served.outcomes):
        raise TypeError(f"not granted: {served.outcomes}")
    return seconds


def identity(name: str) -> Identity:
    return Identity(uuid4(), ObjectRef(NAMESPACE, name), 1)

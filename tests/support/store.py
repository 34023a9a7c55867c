"""The store as a test speaks of it: the real services on a real database, with names for what we do not care about."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network
from itertools import count
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID, uuid4

import asyncpg

from ipam_operator.domain.answers import Due, Served
from ipam_operator.domain.capacity import NetworkCount, PoolCount
from ipam_operator.domain.findings import Finding
from ipam_operator.domain.layout import NetworkFacts, effective_ranges
from ipam_operator.domain.model import (
    ClaimDetail,
    ClaimRequest,
    Identity,
    NetworkRequest,
    ObjectRef,
    PoolRequest,
    Release,
    Selector,
    Strategy,
    Term,
)
from ipam_operator.domain.outcome import Accepted, Granted, Held, Refused, Removed
from ipam_operator.domain.rates import parse
from ipam_operator.errors import StoreUnavailableError
from ipam_operator.net import ranges as sets
from ipam_operator.net.cidr import Address, parse_address_or_prefix
from ipam_operator.net.ranges import Range, parse_range
from ipam_operator.services.claims import Claims
from ipam_operator.services.networks import Networks, Pools
from ipam_operator.store.audit import Audit
from ipam_operator.store.counters import Counters
from ipam_operator.store.database import Database
from ipam_operator.store.leases import Leases
from ipam_operator.store.ownership import Ownership
from ipam_operator.store.parents import Parents
from ipam_operator.store.rates import Rates
from tests.support.postgres import OPERATOR, OPERATOR_PASSWORD, PooledUrl, login_url

T = TypeVar("T")

NAMESPACE = "team"
_numbers = count(1)


def identity(name: str | None = None, *, namespace: str = NAMESPACE, uid: UUID | None = None) -> Identity:
    """An object of a new UID, and of a new name unless one is given."""
    return Identity(uid or uuid4(), ObjectRef(namespace, name or f"o-{next(_numbers):05}"), 1)


def spans(texts: Iterable[str]) -> tuple[Range, ...]:
    """Ranges from `a`, `a-b` or a CIDR."""
    return tuple(parse_range(text) for text in texts)


def network(
    cidr: str,
    *,
    name: str | None = None,
    vrf: str = "",
    namespace: str = NAMESPACE,
    gateway: str | None = None,
    reserved: Iterable[str] = (),
) -> NetworkRequest:
    """An IPNetwork as asked for."""
    return NetworkRequest(
        identity(name, namespace=namespace),
        vrf,
        ip_network(cidr),
        "Private",
        None if gateway is None else ip_address(gateway),
        (),
        spans(reserved),
    )


def pool(
    of: NetworkRequest,
    *ranges: str,
    name: str | None = None,
    exclude: Iterable[str] = (),
    strategy: Strategy = Strategy.FIRST_FREE,
    cool_down: float = 0,
    kind: str = "Host",
    paused: bool = False,
    default_lease: timedelta | None = None,
    max_lease: timedelta | None = None,
    **facts: Any,
) -> PoolRequest:
    """An IPPool as asked for; `cool_down` in seconds; `facts` are further fields of the request."""
    return PoolRequest(
        identity(name, namespace=of.identity.ref.namespace),
        of.identity.ref,
        kind,
        spans(ranges),
        spans(exclude),
        strategy,
        timedelta(seconds=cool_down),
        paused,
        default_lease,
        max_lease,
        **facts,
    )


def claim(
    of: PoolRequest | Selector,
    *,
    namespace: str | None = None,
    count: int = 1,
    wanted: str | None = None,
    detail: ClaimDetail | None = None,
    uid: UUID | None = None,
    name: str | None = None,
    key: str = "",
    priority: int = 0,
    mac: str = "",
    retain: bool = False,
    term: Term | None = None,
    length: int | None = None,
) -> ClaimRequest:
    """An IPClaim as asked for; `key` is its sticky key; of the pool's namespace, or of the selector's tenant."""
    if key or priority or mac or retain:
        detail = replace(detail or ClaimDetail(), sticky_key=key, priority=priority, mac=mac, retain=retain)
    selector = of if isinstance(of, Selector) else None
    place, own = (of.place, of.tenant) if isinstance(of, Selector) else (of.identity.ref, of.identity.ref.namespace)
    who = identity(name, namespace=namespace or own, uid=uid)
    wish = None if wanted is None else ip_address(wanted)
    return ClaimRequest(who, place, count, wish, detail, "tester", term, selector, length=length)


def claims(
    of: PoolRequest | Selector, number: int, *, count: int = 1, namespace: str | None = None
) -> list[ClaimRequest]:
    """That many claims for `count` addresses each."""
    return [claim(of, count=count, namespace=namespace) for _ in range(number)]


def selector(*, namespace: str = NAMESPACE, tenant: str | None = None, **meaning: Any) -> Selector:
    """Pools of `namespace` for claims of `tenant`, by default of the same; labels by name, in a dict."""
    labels = tuple(sorted(meaning.pop("labels", {}).items()))
    return Selector(namespace, tenant or namespace, labels, **meaning)


def granted(served: Served) -> dict[UUID, tuple[Any, ...]]:
    """Who got what."""
    return {one.claim.uid: one.addresses for one in served.outcomes if isinstance(one, Granted)}


def texts(served: Served) -> list[str]:
    """All granted addresses as text, in the order of the outcomes."""
    return [str(address) for addresses in granted(served).values() for address in addresses]


def refused(served: Served) -> dict[UUID, Refused]:
    """Who was refused, and why."""
    return {one.subject.uid: one for one in served.outcomes if isinstance(one, Refused)}


def only(served: Served) -> Refused:
    """The one refusal."""
    (one,) = refused(served).values()
    return one


class Store:
    """The services on one `Database`; `sql` goes around them."""

    def __init__(
        self,
        url: str,
        *,
        connections: int = 4,
        limits: str | None = None,
        login: tuple[str, str] = (OPERATOR, OPERATOR_PASSWORD),
    ) -> None:
        self.url = url
        pooled = url.pooled if isinstance(url, PooledUrl) else None
        self.database = Database(
            pooled or login_url(url, *login), connections=connections, statement_cache=pooled is None
        )
        parents = Parents(self.database)
        leases = Leases(self.database)
        self.rates = Rates(self.database, leases, parse(limits or ""))
        limited = None if limits is None else self.rates
        self.claims = Claims(leases, limited)
        self.networks, self.pools = Networks(parents, limited), Pools(parents)
        self.audit, self.counters = Audit(self.database), Counters(self.database)
        self.ownership, self.parents = Ownership(self.database), parents
        self._stack = AsyncExitStack()
        self._direct: Any = None
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.database)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._direct is not None:
            await self._direct.close()
        await self._stack.aclose()

    async def sql(self, statement: str, *arguments: object) -> list[Any]:
        """Rows of a statement of the test's own."""
        if self._direct is None:
            self._direct = await asyncpg.connect(self.url)
        return list(await self._direct.fetch(statement, *arguments))

    async def sql_alone(self, statement: str) -> list[Any]:
        """The same where several tasks may ask at once."""
        async with self._turn:
            return await self.sql(statement)

    async def script(self, statements: str) -> None:
        """Several statements of the test's own."""
        await self.sql("select 1")
        await self._direct.execute(statements)

    async def value(self, statement: str, *arguments: object) -> Any:
        """The first column of the first row of a statement of the test's own."""
        return (await self.sql(statement, *arguments))[0][0]

    async def network(self, cidr: str, **facts: Any) -> NetworkRequest:
        """A network in service."""
        request = network(cidr, **facts)
        assert await self.networks.apply(request) == Accepted(request.identity)
        return request

    async def pool(self, of: NetworkRequest | str, *ranges: str, **facts: Any) -> PoolRequest:
        """A pool in service; of a network of its own when `of` is a CIDR."""
        parent = await self.network(of) if isinstance(of, str) else of
        request = pool(parent, *ranges, **facts)
        assert await self.pools.apply(request) == Accepted(request.identity)
        return request

    async def change(self, request: PoolRequest, **facts: Any) -> Accepted | Refused:
        """Apply an edit of the pool."""
        return await self.pools.apply(replace(request, **facts))

    async def allocate(self, of: PoolRequest | Selector, asked: Sequence[ClaimRequest]) -> Served:
        """Answer these claims in one batch."""
        return await self.claims.allocate(of.place if isinstance(of, Selector) else of.identity.ref, asked)

    async def ask(self, *asked: ClaimRequest) -> Served:
        """Answer these claims of one place in one batch."""
        return await self.claims.allocate(asked[0].pool, asked)

    async def take(
        self, of: PoolRequest | Selector, number: int, *, count: int = 1, namespace: str | None = None
    ) -> list[ClaimRequest]:
        """New claims, all of which are granted."""
        asked = claims(of, number, count=count, namespace=namespace)
        served = await self.allocate(of, asked)
        assert len(granted(served)) == number, served
        return asked

    async def adopt(self, of: PoolRequest, one: ClaimRequest, *shown: str) -> Served:
        """Take what the claim shows of this pool into the ledger."""
        return await self.claims.adopt(of.identity.ref, [(one, [parse_address_or_prefix(text) for text in shown])])

    async def serve(self, of: PoolRequest, *, tell: bool = False) -> Served:
        """Serve who waits, and let them know."""
        served = await self.claims.serve(of.identity.ref, tell=tell)
        if served.untold:
            await self.claims.told(served.untold)
        return served

    async def release(
        self, *ended: ClaimRequest, generation: int | None = None, deleted: bool = True, actor: str = "tester"
    ) -> list[Due]:
        """End claims."""
        asked = [(Release(one.identity.uid, generation, actor, deleted), one.pool) for one in ended]
        done, dues = await self.claims.release(asked)
        assert done == [one.identity.uid for one in ended]
        return list(dues)

    async def expire(self) -> Served:
        """End leases that are over."""
        served = await self.claims.expire(await self.ownership.run())
        assert served is not None
        return served

    async def lapse(self, *over: ClaimRequest) -> None:
        """Let the terms of these claims be over."""
        await self.sql(
            "update ipam.term set expires_at = now() - interval '1 second' where claim_uid = any($1::uuid[])",
            [one.identity.uid for one in over],
        )

    async def tenants(self, *, whole: bool = False, **labels: dict[str, str] | None) -> list[ObjectRef]:
        """Namespaces get these labels, or are gone."""
        return await self.parents.put_tenants(labels, whole=whole)

    async def sweep(self, *of: PoolRequest) -> int:
        """Return cooled addresses."""
        return await self.counters.sweep([one.identity.uid for one in of])

    async def cooled(self, of: PoolRequest) -> None:
        """Let the time pass that the pool's released addresses need."""
        await self.script(
            "begin; set local session_replication_role = replica;"  # time is no event that history tells
            "update ipam.lease l set reusable_at = now() - interval '1s' from ipam.pool p "
            f"where p.uid = '{of.identity.uid}' and l.pool_id = p.id and l.released_at is not null; commit"
        )

    async def retire(self, of: NetworkRequest | PoolRequest) -> Removed | Held:
        """Delete a network or pool."""
        service = self.pools if isinstance(of, PoolRequest) else self.networks
        return await service.retire(of.identity)

    async def count(self, of: PoolRequest) -> PoolCount:
        """The pool's counters."""
        (found,) = await self.counters.pools([of.identity.uid])
        return found

    async def network_count(self, of: NetworkRequest) -> NetworkCount:
        """The network's counters."""
        (found,) = await self.counters.networks([of.identity.uid])
        return found

    async def held(self) -> dict[UUID, list[Address]]:
        """The live ledger: claim -> addresses in ordinal order."""
        found: dict[UUID, list[Address]] = {}
        for row in await self.sql(
            "select claim_uid, addr from ipam.lease where released_at is null order by claim_uid, ordinal"
        ):
            found.setdefault(row["claim_uid"], []).append(row["addr"])
        return found

    async def waiting(self, of: PoolRequest) -> list[UUID]:
        """Who waits for the pool, first come first."""
        ref = of.identity.ref
        rows = await self.sql(
            "select claim_uid from ipam.waiting where pool_namespace = $1 and pool_name = $2"
            " order by priority desc, seq",
            ref.namespace,
            ref.name,
        )
        return [row["claim_uid"] for row in rows]

    async def untiled(self) -> list[Finding]:
        """What the audit finds in all networks."""
        rows = await self.sql("select uid from ipam.network")
        return await self.audit.untiled([row["uid"] for row in rows])

    async def free(self, of: PoolRequest) -> list[str]:
        """The pool's free ranges."""
        rows = await self.sql(
            "select lo, hi from ipam.free_range f join ipam.pool p on p.id = f.pool_id where p.uid = $1 order by hi",
            of.identity.uid,
        )
        return [str(Range(row["lo"], row["hi"])) for row in rows]

    async def pieces(self, of: PoolRequest) -> tuple[list[Range], list[Range]]:
        """The pool's leases (live and cooling) and its free ranges."""
        rows = await self.sql(
            "select ipam.low(addr) lo, ipam.high(addr) hi, true held"
            " from ipam.lease l join ipam.pool p on p.id = l.pool_id "
            "where p.uid = $1 union all select lo, hi, false from ipam.free_range f "
            "join ipam.pool p on p.id = f.pool_id where p.uid = $1",
            of.identity.uid,
        )
        both: Mapping[bool, list[Range]] = {True: [], False: []}
        for row in rows:
            both[row["held"]].append(Range(row["lo"], row["hi"]))
        return both[True], both[False]

    async def assert_tiled(self, parent: NetworkRequest | None = None, *of: PoolRequest) -> None:
        """The audit finds nothing, and neither does our own arithmetic for these pools."""
        assert await self.untiled() == []
        for one in of:
            assert parent is not None
            facts = NetworkFacts(parent.cidr, parent.gateway, parent.reserved)
            effective = effective_ranges(facts, one.ranges, one.exclude, one.type, prefixes=one.prefixes is not None)
            leases, free = await self.pieces(one)
            assert sets.merge([*leases, *free]) == effective
            assert sets.size([*leases, *free]) == sets.size(effective), "two pieces overlap"
            assert one.prefixes is not None or (await self.count(one)).size == sets.size(effective)

    async def history(self) -> dict[tuple[int, Address], UUID]:
        """Who holds what, replayed from history alone."""
        live: dict[tuple[int, Address], UUID] = {}
        # Of one time are a grant and a release that began before it.
        for row in await self.sql(
            "select pool_id, addr, claim_uid, action from ipam.history"
            " order by generation, at, array_position('{A,C,R,F,K}', action::text)"
        ):
            key = row["pool_id"], row["addr"]
            if row["action"] == b"C":
                assert live[key] == row["claim_uid"]
            elif row["action"] in {b"F", b"K"}:
                assert key not in live, "kept for whoever comes again, while it is held"
            elif row["action"] == b"A":
                assert key not in live, "granted while held"
                live[key] = row["claim_uid"]
            else:
                assert live.pop(key) == row["claim_uid"]
        return live

    async def assert_history_is_ledger(self) -> None:
        """History replayed is the live ledger."""
        rows = await self.sql("select pool_id, addr, claim_uid from ipam.lease where released_at is null")
        assert await self.history() == {(row["pool_id"], row["addr"]): row["claim_uid"] for row in rows}


async def persistently(ask: Callable[[], Awaitable[T]], seconds: float = 30.0) -> T:
    """The answer, however often the store is away before it comes."""
    async with asyncio.timeout(seconds):
        while True:
            with suppress(StoreUnavailableError):
                return await ask()

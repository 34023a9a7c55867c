"""Short words for what these tests do: objects of one namespace, the ledger behind them, waits without sleeping."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, Self
from uuid import uuid4

import asyncpg

from ipam_operator.api.names import GROUP
from tests.support.cluster import PARALLEL, Api, ApiError, Json, condition, thing
from tests.support.operator_process import OperatorProcess

PATIENCE: Final = 30.0
"""Seconds; a loaded machine of two cores is slow, and whoever is fast does not wait."""
OURS: Final = ("IPClaim", "IPPool", "IPNetwork")
Objects = dict[str, Json]


async def eventually(check: Callable[[], Awaitable[bool]], what: str, seconds: float = PATIENCE) -> None:
    """For what cannot be watched (tables, metrics, probes): ask until it is so.

    Raises:
        TimeoutError: it never was; says what.
    """
    try:
        async with asyncio.timeout(seconds):
            while not await check():  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.05)
    except TimeoutError as slow:
        raise TimeoutError(f"not so after {seconds:.0f} s: {what}") from slow


async def watch_until(
    api: Api, kind: str, namespace: str, satisfied: Callable[[Objects], bool], seconds: float = PATIENCE
) -> Objects:
    """Watch all objects of a namespace until they satisfy, by name.

    Raises:
        TimeoutError: they did not in time; with their reasons as last seen.
    """
    seen: Objects = {}
    try:
        async with asyncio.timeout(seconds):
            while True:
                listed = await api.request("GET", api.path(kind, namespace))
                seen = {item["metadata"]["name"]: item for item in listed["items"]}
                if satisfied(seen):
                    return seen
                async for event, item in api.watch(kind, namespace, listed["metadata"]["resourceVersion"]):
                    if event == "DELETED":
                        seen.pop(item["metadata"]["name"], None)
                    else:
                        seen[item["metadata"]["name"]] = item
                    if satisfied(seen):
                        return seen
    except TimeoutError as slow:
        short = {name: item.get("status", {}).get("reason") for name, item in sorted(seen.items())}
        raise TimeoutError(f"{kind} in {namespace} after {seconds:.0f} s: {short}") from slow


def bound(seen: Json) -> bool:
    """Whether a claim has its addresses."""
    ready = condition(seen, "Ready")
    return ready is not None and ready["status"] == "True" and ready["reason"] == "Allocated"


def addresses(seen: Json) -> list[str]:
    """What a claim shows."""
    return list(seen.get("status", {}).get("addresses", []))


class Launch(Protocol):
    """Starts one more operator on the test's own database."""

    def __call__(
        self, settings: Mapping[str, str] | None = None, *, ready: bool = True, kubeconfig: Path | None = None
    ) -> OperatorProcess: ...


class Tenant:
    """One namespace; every object waits for nothing unless told so."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api, self.namespace = api, namespace

    @classmethod
    async def create(cls, api: Api) -> "Tenant":
        """A namespace of a new name."""
        name = f"t-{uuid4().hex[:10]}"
        await api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return cls(api, name)

    async def network(self, cidr: str = "10.0.0.0/24", name: str = "net", **spec: Any) -> Json:
        """Create an IPNetwork."""
        return await self.api.create(thing("IPNetwork", self.namespace, name, {"cidr": cidr, **spec}))

    async def pool(self, name: str = "pool", network: str = "net", **spec: Any) -> Json:
        """Create an IPPool; a released address is free at once, unless told otherwise."""
        body = {"networkRef": {"name": network}, "coolDown": "0s", **spec}
        return await self.api.create(thing("IPPool", self.namespace, name, body))

    async def claim(self, name: str = "claim", pool: str = "pool", **spec: Any) -> Json:
        """Create an IPClaim."""
        return await self.api.create(thing("IPClaim", self.namespace, name, {"poolRef": {"name": pool}, **spec}))

    async def ask(self, name: str, **spec: Any) -> Json:
        """Create an IPClaim of exactly this spec."""
        return await self.api.create(thing("IPClaim", self.namespace, name, spec))

    async def label(self, kind: str, name: str, **labels: str | None) -> None:
        """Change labels of an object, or of the namespace."""
        namespace = "" if kind == "Namespace" else self.namespace
        await self.api.patch(kind, namespace, name, {"metadata": {"labels": labels}})

    async def space(self, cidr: str = "10.0.0.0/24", **pool: Any) -> None:
        """A network and its only pool, in service."""
        await self.network(cidr)
        await self.pool(**pool)
        await self.reason("IPPool", "pool", "Ready")

    async def claims(self, names: Iterable[str], pool: str = "pool", **spec: Any) -> None:
        """Create many IPClaims, several at once."""
        gate = asyncio.Semaphore(PARALLEL)

        async def one(name: str) -> None:
            async with gate:
                await self.claim(name, pool, **spec)

        await asyncio.gather(*(one(name) for name in names))

    async def reason(self, kind: str, name: str, *reasons: str) -> Json:
        """Watch until the newest spec is answered with one of these reasons; the object."""
        return await self.api.wait_reason(kind, self.namespace, name, *reasons, seconds=PATIENCE)

    async def bound(self, *names: str) -> Objects:
        """Watch until these claims have their addresses."""
        wanted = set(names)

        def satisfied(seen: Objects) -> bool:
            return wanted <= seen.keys() and all(bound(seen[name]) for name in wanted)

        seen = await watch_until(self.api, "IPClaim", self.namespace, satisfied)
        return {name: seen[name] for name in names}

    async def address(self, name: str = "claim") -> str:
        """Watch until the claim has its address."""
        return str((await self.bound(name))[name]["status"]["address"])

    async def capacity(self, kind: str = "IPPool", name: str = "pool", **expected: str) -> Json:
        """Watch until the object's counters are so; its status."""

        def satisfied(seen: Objects) -> bool:
            counted = seen[name].get("status", {}).get("capacity", {}) if name in seen else {}
            return bool(expected.items() <= counted.items())

        status: Json = (await watch_until(self.api, kind, self.namespace, satisfied))[name]["status"]
        return status

    async def get(self, kind: str, name: str) -> Json:
        """As it stands."""
        return await self.api.get(kind, self.namespace, name)

    async def all(self, kind: str) -> Objects:
        """As they stand, by name."""
        return {item["metadata"]["name"]: item for item in await self.api.list(kind, self.namespace)}

    async def edit(self, kind: str, name: str, **spec: Any) -> Json:
        """Change fields of the spec."""
        return await self.api.patch(kind, self.namespace, name, {"spec": spec})

    async def delete(self, kind: str, *names: str) -> None:
        """Ask for deletion."""
        for name in names:
            await self.api.delete(kind, self.namespace, name)

    async def delete_all(self, kind: str) -> None:
        """Ask for the deletion of all of a kind."""
        await self.api.request("DELETE", self.api.path(kind, self.namespace))

    async def gone(self, kind: str, *names: str) -> None:
        """Watch until these (without names: all of the kind) do not exist."""
        await watch_until(self.api, kind, self.namespace, lambda seen: not (seen.keys() & set(names or seen)))

    async def events(self, name: str, reason: str, number: int = 1) -> list[Json]:
        """Watch until there are so many Events with this reason about the object."""

        def matching(seen: Objects) -> list[Json]:
            return [
                event
                for event in seen.values()
                if event["involvedObject"]["name"] == name and event["reason"] == reason
            ]

        return matching(
            await watch_until(self.api, "Event", self.namespace, lambda seen: len(matching(seen)) >= number)
        )

    async def close(self) -> None:
        """Delete all, and watch until nothing is held by anybody; then the namespace goes, too."""
        for kind in OURS:
            await self.delete_all(kind)
        for kind in OURS:
            await self.gone(kind)
        await self.api.delete("Namespace", "", self.namespace)


class Ledger:
    """The store as its superuser sees it."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        self._connection = await asyncpg.connect(self._url)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    async def execute(self, statement: str, *arguments: Any) -> None:
        """One statement."""
        await self._connection.execute(statement, *arguments)

    async def value(self, statement: str, *arguments: Any) -> Any:
        """The first column of the first row."""
        return await self._connection.fetchval(statement, *arguments)

    async def held(self, namespace: str) -> dict[str, list[str]]:
        """Claim name -> addresses it holds, in order."""
        rows = await self._connection.fetch(
            "select name, array_agg(host(addr) order by ordinal) addrs from ipam.lease"
            " where released_at is null and namespace = $1 group by name",
            namespace,
        )
        return {row["name"]: list(row["addrs"]) for row in rows}

    async def queue(self, namespace: str) -> list[str]:
        """Names of those that wait, in order of arrival."""
        rows = await self._connection.fetch(
            "select name from ipam.waiting where namespace = $1 order by seq", namespace
        )
        return [row["name"] for row in rows]

    async def pool_id(self, namespace: str, name: str = "pool") -> int:
        """The key of a pool."""
        return int(await self.value("select id from ipam.pool where namespace = $1 and name = $2", namespace, name))

    async def squat(self, namespace: str, number: int = 1, pool: str = "pool", *, age: str = "1 hour") -> list[str]:
        """Leases of so long ago for claims that do not exist; their addresses."""
        rows = await self._connection.fetch(
            """
            with grown as (
                select array_agg(gen_random_uuid()) uids, array_agg(1::bigint) generations,
                    array_agg($1::text) namespaces, array_agg('squatter-' || i) names,
                    array_agg(1) counts, array_agg('test'::text) actors
                from generate_series(1, $3) i)
            select host(a.addrs[1]) addr from grown, ipam.allocate(
                $1, $2, uids, generations, namespaces, names, counts, null, actors, null, null, null) a
            """,
            namespace,
            pool,
            number,
        )
        await self.execute(
            f"update ipam.lease set allocated_at = now() - interval '{age}' where name like 'squatter-%'"
        )
        return [row["addr"] for row in rows]

    async def distinct(self, namespace: str) -> None:
        """Nobody shares an address."""
        held = [address for owned in (await self.held(namespace)).values() for address in owned]
        assert len(held) == len(set(held))


async def agreement(tenant: Tenant, ledger: Ledger) -> None:
    """What the claims show is what the ledger holds, and no address is held twice."""
    shown = {name: addresses(seen) for name, seen in (await tenant.all("IPClaim")).items() if addresses(seen)}
    assert shown == await ledger.held(tenant.namespace)
    await ledger.distinct(tenant.namespace)


class Writes:
    """Requests that changed objects of ours since we began to count, as the API server counts them."""

    VERBS: Final = ("PATCH", "PUT", "POST", "APPLY")

    def __init__(self, api: Api) -> None:
        self._api = api
        self._before: dict[str, float] = {}

    @classmethod
    async def begin(cls, api: Api) -> "Writes":
        """Count from now on: from when nothing is under way that was written before."""
        self = cls(api)

        async def still() -> bool:
            before, self._before = self._before, await self._read()
            return before == self._before

        await eventually(still, "what was written is counted")
        return self

    async def now(self) -> dict[str, int]:
        """`resource` or `resource/subresource` (and `: code` where it failed) -> number, without zeros."""
        after = await self._read()
        rise = {key: int(count - self._before.get(key, 0)) for key, count in after.items()}
        return {key: number for key, number in rise.items() if number}

    async def of_claims(self) -> dict[str, int]:
        """The same of claims alone, once the count rests; `ipclaims` counts their creation, too.

        A watch tells of a change before the request that made it is counted.
        """
        last, seen = None, await self.now()
        while seen != last:
            await asyncio.sleep(0.25)
            last, seen = seen, await self.now()
        return {key: number for key, number in seen.items() if key.startswith("ipclaims")}

    async def _read(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, labels, value in await self._api.metrics():
            if name != "apiserver_request_total" or labels.get("verb") not in self.VERBS or labels.get("dry_run"):
                continue
            if labels.get("group") == GROUP or labels.get("resource") == "events":
                key = "/".join(filter(None, (labels["resource"], labels["subresource"])))
                if not labels["code"].startswith("2"):
                    key += f": {labels['code']}"
                found[key] = found.get(key, 0) + value
        return found


STAMP_BINDING: Final = "mutatingadmissionpolicybinding/stamp.ipclaims.ipam.dotmac.io"


async def await_stamping(api: Api, *, expected: bool) -> None:
    """Until the API server acts on a policy, or no more."""
    probe = thing("IPClaim", "default", "probe", {"poolRef": {"name": "probe"}})

    async def so() -> bool:
        try:
            born = await api.create(probe, dry_run=True)
        except ApiError:
            return False
        return bool(born["metadata"].get("finalizers")) is expected

    await eventually(so, f"claims are born with our finalizer: {expected}")

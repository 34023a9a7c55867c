"""The first of a queue are kept informed of their place, and nobody else: no storm when its head moves."""

import asyncio

import pytest

from tests.apiserver.support import Objects, Tenant, Writes, watch_until
from tests.support.cluster import condition

OPERATOR = {
    "IPAM_POOL_TIMER_SECONDS": "0.5",
    "IPAM_QUEUE_POSITION_SECONDS": "0.5",
    "IPAM_RESYNC_SECONDS": "3600",
}


def places(seen: Objects) -> dict[str, int]:
    """What claims show."""
    found = {name: one.get("status", {}).get("queuePosition") for name, one in seen.items()}
    return {name: place for name, place in found.items() if place is not None}


async def until(tenant: Tenant, expected: dict[str, int]) -> Objects:
    """Watch until these are the places of all that wait."""
    return await watch_until(tenant.api, "IPClaim", tenant.namespace, lambda seen: places(seen) == expected)


@pytest.mark.parametrize("how", ["by name", "by selector"])
async def test_places_follow_the_queue(tenant: Tenant, how: str) -> None:
    """Who moves up is told so; since when it waits stays; and where nothing moves nothing is written."""
    await tenant.space(ranges=["10.0.0.5"])
    await tenant.claim("holder")
    await tenant.bound("holder")
    where = {"poolRef": {"name": "pool"}} if how == "by name" else {"networkRef": {"name": "net"}}
    for name in ("a", "b", "c"):
        await tenant.ask(name, **where)
        await tenant.reason("IPClaim", name, "PoolExhausted")
    before = await until(tenant, {"a": 1, "b": 2, "c": 3})
    await asyncio.sleep(1.1)  # times are written in seconds
    await tenant.delete("IPClaim", "a")
    after = await until(tenant, {"b": 1, "c": 2})
    for name in ("b", "c"):
        old, new = condition(before[name], "Ready"), condition(after[name], "Ready")
        assert old is not None
        assert new is not None
        assert new["lastTransitionTime"] == old["lastTransitionTime"]
    await tenant.delete("IPClaim", "holder")
    await tenant.bound("b")
    await until(tenant, {"c": 1})
    writes = await Writes.begin(tenant.api)
    await asyncio.sleep(2)
    assert await writes.of_claims() == {}


async def test_further_back_nobody_is_told(tenant: Tenant) -> None:
    """Of 103 the hundred in front are told when the first one goes; the last two learn it when they come to that."""
    await tenant.space(ranges=["10.0.0.5"])
    await tenant.claim("holder")
    await tenant.bound("holder")
    names = [f"w{number:03}" for number in range(103)]
    for name in names:
        await tenant.claim(name)
    await until(tenant, {name: place for place, name in enumerate(names, 1)})
    writes = await Writes.begin(tenant.api)
    await tenant.delete("IPClaim", names[0])
    moved = {name: place for place, name in enumerate(names[1:], 1) if place <= 100}
    await until(tenant, moved | {names[101]: 102, names[102]: 103})
    written = await writes.of_claims()
    assert written["ipclaims/status"] == 100

"""Exhausted is waiting, not failed: a fair queue per pool (B2, K2)."""

import pytest

from tests.apiserver.support import Ledger, Objects, Tenant, bound, watch_until
from tests.support.cluster import Json, condition
from tests.support.operator_process import OperatorProcess


def message(seen: Json, kind: str = "Ready") -> str:
    """Of a condition that must be there."""
    found = condition(seen, kind)
    assert found is not None, kind
    return str(found["message"])


async def test_exhausted_says_what_is_there(tenant: Tenant) -> None:
    """A claim that does not fit waits, and is told the pool's size, what is free and the largest free block."""
    await tenant.space("10.0.0.0/28")  # .1 to .14
    await tenant.claim("first", count=9)
    await tenant.bound("first")  # .10 to .14 are left
    await tenant.claim("second", count=8)
    second = await tenant.reason("IPClaim", "second", "PoolExhausted")
    conditions = {one["type"]: one["status"] for one in second["status"]["conditions"]}
    assert conditions == {"Ready": "False", "Reconciling": "True"}
    assert "8 addresses asked" in message(second)
    assert "14 addresses, 5 free, largest free block 10.0.0.10/31" in message(second)
    assert second["status"]["queuePosition"] == 1


async def test_a_large_claim_is_passed_until_it_stands(tenant: Tenant, ledger: Ledger) -> None:
    """A small claim passes a large one that does not fit; once that stands the next waits."""
    await tenant.space("10.0.0.0/28")
    await tenant.claim("first", count=9)
    await tenant.bound("first")
    await tenant.claim("large", count=8)
    await tenant.reason("IPClaim", "large", "PoolExhausted")
    await tenant.claim("small")
    await tenant.bound("small")
    await ledger.execute(
        "update ipam.waiting set stands_until = now() + interval '1 hour' where namespace = $1", tenant.namespace
    )
    await tenant.claim("late")
    late = await tenant.reason("IPClaim", "late", "Queued")
    assert late["status"]["queuePosition"] == 2
    assert "1 claims for pool pool go before this one" in message(late)
    await tenant.delete("IPClaim", "first")
    await tenant.bound("large", "late")


async def test_the_more_important_is_served_first(tenant: Tenant) -> None:
    """Of two who wait, the later one of higher priority gets what comes free."""
    await tenant.space(ranges=["10.0.0.5"], coolDown="0s")
    await tenant.claim("holder")
    await tenant.bound("holder")
    await tenant.claim("plain")
    await tenant.reason("IPClaim", "plain", "PoolExhausted")
    await tenant.claim("urgent", priority=50)
    urgent = await tenant.reason("IPClaim", "urgent", "PoolExhausted")
    assert urgent["status"]["queuePosition"] == 1
    await tenant.delete("IPClaim", "holder")
    await tenant.bound("urgent")
    assert "address" not in (await tenant.get("IPClaim", "plain"))["status"]


async def test_more_than_the_pool_can_ever_hold_blocks_nobody(tenant: Tenant) -> None:
    """A claim for more than the pool has in all says so, and others are served past it."""
    await tenant.space("10.0.0.0/28")
    await tenant.claim("giant", count=15)
    giant = await tenant.reason("IPClaim", "giant", "PoolExhausted")
    assert "has only 14 in all" in message(giant)
    await tenant.claim("small")
    await tenant.bound("small")
    await tenant.edit("IPClaim", "giant", count=13)
    await tenant.bound("giant")


@pytest.mark.parametrize("cool_down", ["0s", "2s"])
async def test_as_many_are_woken_as_fit(
    tenant: Tenant, ledger: Ledger, service: OperatorProcess, cool_down: str
) -> None:
    """Of 150 that wait for a full pool, the hundred who came first get the hundred addresses that are freed."""
    await tenant.space(ranges=["10.0.0.1-10.0.0.200"], coolDown=cool_down)
    await tenant.claims(["half", "other-half"], count=100)
    await tenant.bound("half", "other-half")
    names = [f"w{number:03}" for number in range(150)]
    await tenant.claims(names)
    waiting = await watch_until(
        tenant.api,
        "IPClaim",
        tenant.namespace,
        lambda seen: all(seen.get(name, {}).get("status", {}).get("reason") for name in names),
    )
    assert {waiting[name]["status"]["reason"] for name in names} == {"PoolExhausted"}
    queue = await ledger.queue(tenant.namespace)
    assert sorted(queue) == names
    before = service.metrics()
    await tenant.delete("IPClaim", "half")

    def hundred(seen: Objects) -> bool:
        return sum(bound(seen[name]) for name in names) == 100

    seen = await watch_until(tenant.api, "IPClaim", tenant.namespace, hundred)
    assert {name for name in names if bound(seen[name])} == set(queue[:100])
    assert await ledger.queue(tenant.namespace) == queue[100:]
    assert len(await ledger.held(tenant.namespace)) == 101
    await ledger.distinct(tenant.namespace)
    after = service.metrics()
    for operation in ("serve", "allocate"):
        name = "ipam_store_statements_total"
        assert after.total(name, operation=operation) - before.total(name, operation=operation) <= 12, operation


async def test_growing_binds_who_waits(tenant: Tenant) -> None:
    """A pool that grows serves those that waited for it."""
    await tenant.space(ranges=["10.0.0.1-10.0.0.2"])
    await tenant.claims(["a", "b", "c", "d"])
    await watch_until(
        tenant.api, "IPClaim", tenant.namespace, lambda seen: sum(bound(one) for one in seen.values()) == 2
    )
    await tenant.edit("IPPool", "pool", ranges=["10.0.0.1-10.0.0.4"])
    await tenant.bound("a", "b", "c", "d")


async def test_paused_pool(tenant: Tenant) -> None:
    """A paused pool hands out nothing and keeps what is held; claims wait and are bound when it goes on."""
    await tenant.space()
    await tenant.claim("before")
    address = await tenant.address("before")
    await tenant.edit("IPPool", "pool", paused=True)
    await tenant.reason("IPPool", "pool", "Ready")
    await tenant.claim("after")
    await tenant.reason("IPClaim", "after", "PoolPaused")
    assert await tenant.address("before") == address
    await tenant.edit("IPPool", "pool", paused=False)
    await tenant.bound("after")

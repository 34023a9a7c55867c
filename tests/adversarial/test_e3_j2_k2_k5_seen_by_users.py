"""Rows E3, J2, K2 and K5 as users meet them: huge and full pools are seen, queues are served, owners are one."""

import asyncio

import pytest

from tests.apiserver.support import Ledger, Objects, Tenant, addresses, bound, eventually, watch_until
from tests.support.cluster import Json, condition
from tests.support.operator_process import OperatorProcess

OPERATOR = {"IPAM_RESYNC_SECONDS": "3600", "IPAM_QUEUE_POSITION_SECONDS": "3600"}
"""Nothing but events and the counters' timer may serve who waits, and nobody is told a new place meanwhile."""
EVENT_SECONDS = 10.0


async def exhaust(tenant: Tenant) -> Json:
    """A /28 of which nine are held, and a claim for eight of the other five."""
    await tenant.space("10.0.0.0/28")
    await tenant.claim("first", count=9)
    await tenant.bound("first")
    await tenant.claim("second", count=8)
    return await tenant.reason("IPClaim", "second", "PoolExhausted")


async def test_j2_exhaustion_is_seen_in_conditions_and_metrics(tenant: Tenant, service: OperatorProcess) -> None:
    """A claim that does not fit says what would, and metrics tell that it waits, for which pool, and why."""
    before = service.metrics().total("ipam_allocations_total", result="PoolExhausted")
    second = await exhaust(tenant)
    ready, reconciling = condition(second, "Ready"), condition(second, "Reconciling")
    assert ready is not None
    assert reconciling is not None
    assert (ready["status"], reconciling["status"]) == ("False", "True")
    assert "14 addresses, 5 free, largest free block 10.0.0.10/31" in ready["message"]

    async def told() -> bool:
        metrics = service.metrics()
        of = {"namespace": tenant.namespace, "pool": "pool"}
        waiting = metrics.total("ipam_pool_waiting_claims", **of)
        free = metrics.total("ipam_pool_addresses", **of, state="free")
        return (waiting, free) == (1, 5)

    await eventually(told, "one claim waits, five addresses are free")
    assert service.metrics().total("ipam_allocations_total", result="PoolExhausted") > before
    await tenant.claim("third", count=5)
    await tenant.delete("IPClaim", "second")
    await tenant.bound("third")
    await tenant.claim("fourth")
    fourth = condition(await tenant.reason("IPClaim", "fourth", "PoolExhausted"), "Ready")
    assert fourth is not None
    assert "14 addresses, 0 free, no free block" in fourth["message"]


async def test_j2_exhaustion_is_an_event(tenant: Tenant) -> None:
    """Whoever looks at Events, of the claim or of its pool, learns that the pool is exhausted and what is left."""
    await exhaust(tenant)

    def told(seen: Objects) -> bool:
        return any(one["reason"] == "PoolExhausted" and "10.0.0.10/31" in one["message"] for one in seen.values())

    await watch_until(tenant.api, "Event", tenant.namespace, told, EVENT_SECONDS)


async def test_k5_the_loser_of_a_wish_takes_nothing_along(tenant: Tenant, ledger: Ledger) -> None:
    """Of two claims for one address one has it, also after the other is deleted; a third gets it when that is gone."""
    await tenant.space()
    await asyncio.gather(*(tenant.claim(name, address="10.0.0.7") for name in ("one", "two")))

    def decided(seen: Objects) -> bool:
        return {one.get("status", {}).get("reason") for one in seen.values()} == {"Allocated", "AddressConflict"}

    seen = await watch_until(tenant.api, "IPClaim", tenant.namespace, decided)
    winner, loser = sorted(seen, key=lambda name: not bound(seen[name]))
    assert addresses(seen[loser]) == []
    await tenant.delete("IPClaim", loser)
    await tenant.gone("IPClaim", loser)
    await tenant.claim("three", address="10.0.0.7")
    third = condition(await tenant.reason("IPClaim", "three", "AddressConflict"), "Stalled")
    assert third is not None
    assert f"held by IPClaim {winner}" in third["message"]
    assert await ledger.held(tenant.namespace) == {winner: ["10.0.0.7"]}
    await tenant.delete("IPClaim", winner)
    assert await tenant.address("three") == "10.0.0.7"


async def test_e3_gauges_neither_wrap_nor_fail(tenant: Tenant, service: OperatorProcess) -> None:
    """A pool of 2^127 addresses is counted in its status to the last one, and in metrics as nearly as a double can."""
    await tenant.space("8000::/1", type="Loopback")
    await tenant.claim()
    await tenant.bound("claim")
    await tenant.capacity(usable=str(2**127), allocated="1", free=str(2**127 - 1))
    await tenant.capacity("IPNetwork", "net", usable=str(2**127), allocated="1", free=str(2**127 - 1))

    async def exported() -> bool:
        of = {"namespace": tenant.namespace, "pool": "pool"}
        metrics = service.metrics()
        shown = {state: metrics.total("ipam_pool_addresses", **of, state=state) for state in ("free", "allocated")}
        return shown == {"free": float(2**127), "allocated": 1}

    await eventually(exported, "the gauges show 2^127 and 1")


async def counted(service: OperatorProcess, rounds: int) -> None:
    """Wait until the counters' timer has come by so often."""

    def passed() -> float:
        return service.metrics().total("ipam_store_statements_total", operation="pool_counters")

    before = passed()

    async def enough() -> bool:
        return passed() >= before + rounds

    await eventually(enough, f"{rounds} rounds of counters")


def calls(service: OperatorProcess) -> float:
    """Statements that allocate or serve."""
    metrics = service.metrics()
    names = ("allocate", "serve")
    return sum(metrics.total("ipam_store_statements_total", operation=name) for name in names)


@pytest.mark.usefixtures("stamped")
async def test_k2_each_freed_address_wakes_one(tenant: Tenant, ledger: Ledger, service: OperatorProcess) -> None:
    """Addresses freed one by one go to the queue in its order, with one write for each; then nobody is asked again."""
    await tenant.space(ranges=["10.0.0.1-10.0.0.20"])
    holders, waiters = ([f"{what}{number:02}" for number in range(20)] for what in "hw")
    await tenant.claims(holders)
    await tenant.bound(*holders)
    await tenant.claims(waiters)
    for name in waiters:
        await tenant.reason("IPClaim", name, "PoolExhausted")
    queue = await ledger.queue(tenant.namespace)
    assert sorted(queue) == waiters
    for freed, next_ in zip(holders[:10], queue[:10], strict=True):
        await tenant.delete("IPClaim", freed)
        await tenant.bound(next_)
    seen = await tenant.all("IPClaim")
    assert {name for name in waiters if bound(seen[name])} == set(queue[:10])
    assert await ledger.queue(tenant.namespace) == queue[10:]
    await counted(service, 2)  # what follows the last one bound is over, and the first telling of places
    before, versions = calls(service), versions_of(await tenant.all("IPClaim"), queue[10:])
    await counted(service, 2)
    assert calls(service) == before
    assert versions_of(await tenant.all("IPClaim"), queue[10:]) == versions
    await ledger.distinct(tenant.namespace)


def versions_of(seen: Objects, names: list[str]) -> list[str]:
    return [seen[name]["metadata"]["resourceVersion"] for name in names]

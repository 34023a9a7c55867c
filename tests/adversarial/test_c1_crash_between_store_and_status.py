"""C1: crashes between "the store has allocated" and "the owner is told" (sp#412, cal#5203)."""

import asyncio
import random

from hack.cluster import Cluster
from tests.apiserver.support import Launch, Ledger, Tenant, agreement, eventually

SETTINGS = {"IPAM_LEADER_SECONDS": "1", "IPAM_POOL_TIMER_SECONDS": "1"}
NUMBER = 300


def statuses_forbidden(control_plane: Cluster) -> str:
    """The operator may not write claims' statuses any more; its role as it was."""
    role = "clusterrole/ipam-operator"
    rules = control_plane.run_kubectl("get", role, "-o", "json")
    without_status = [
        {"op": "test", "path": "/rules/1/resources/2", "value": "ipclaims/status"},
        {"op": "remove", "path": "/rules/1/resources/2"},
    ]
    control_plane.run_kubectl("patch", role, "--type=json", "-p", str(without_status).replace("'", '"'))
    return rules


async def test_killed_at_random_moments(place: Tenant, books: Ledger, launch: Launch) -> None:
    """Killed four times amid 300 claims, every claim is bound in the end to what the ledger holds for it."""
    process = launch(SETTINGS)
    await place.space("10.0.0.0/22")
    creating = asyncio.create_task(place.claims(f"c{number}" for number in range(NUMBER)))
    shown: dict[str, list[str]] = {}
    for _ in range(4):
        target = random.randrange(1, NUMBER // 4) + len(await books.held(place.namespace))

        async def reached(wanted: int = target) -> bool:
            return creating.done() or len(await books.held(place.namespace)) >= wanted

        await eventually(reached, "some more claims are in the ledger")
        process.kill9()
        held = await books.held(place.namespace)
        assert {name: held[name] for name in shown} == shown
        shown = held
        process = launch(SETTINGS, ready=False)
    await creating
    seen = await place.bound(*(f"c{number}" for number in range(NUMBER)))
    assert {name: seen[name]["status"]["addresses"] for name in shown} == shown
    assert len(await books.held(place.namespace)) == NUMBER
    await agreement(place, books)


async def test_the_same_address_after_the_crash(
    place: Tenant, books: Ledger, launch: Launch, control_plane: Cluster
) -> None:
    """What was allocated and never told, because the status could not be written, is told after a restart."""
    process = launch(SETTINGS)
    await place.space()
    rules = statuses_forbidden(control_plane)
    try:

        async def refused() -> bool:
            return process.metrics().total("ipam_api_writes_total", kind="ipclaims", write="status", code="403") > 0

        number = 0

        async def untold() -> bool:
            nonlocal number
            number += 1
            await place.claim(f"c{number}")
            return await refused()

        await eventually(untold, "statuses are refused")

        async def allocated() -> bool:
            return len(await books.held(place.namespace)) == number

        await eventually(allocated, "all are in the ledger")
        process.kill9()
    finally:
        control_plane.run_kubectl("replace", "--force", "-f", "-", text=rules)
    held = await books.held(place.namespace)
    launch(SETTINGS, ready=False)
    seen = await place.bound(*held)
    assert {name: one["status"]["addresses"] for name, one in seen.items()} == held
    await agreement(place, books)


async def test_how_a_pool_stands_is_told_after_the_crash(place: Tenant, launch: Launch, control_plane: Cluster) -> None:
    """A claim that waits differs in nothing from the ledger: the store itself remembers what it has to be told."""
    process = launch(SETTINGS)
    await place.space("10.0.0.0/30")
    await place.claims(["a", "b"])
    await place.bound("a", "b")
    await place.claim("waiting")
    await place.reason("IPClaim", "waiting", "PoolExhausted")
    rules = statuses_forbidden(control_plane)
    try:
        await place.edit("IPPool", "pool", paused=True)

        async def refused() -> bool:
            return process.metrics().total("ipam_api_writes_total", kind="ipclaims", write="status", code="403") > 0

        await eventually(refused, "the status is refused")
        process.kill9()
    finally:
        control_plane.run_kubectl("replace", "--force", "-f", "-", text=rules)
    assert (await place.get("IPClaim", "waiting"))["status"]["reason"] == "PoolExhausted"
    process = launch(SETTINGS)
    await place.reason("IPClaim", "waiting", "PoolPaused")

    async def forgotten() -> bool:
        return process.metrics().total("ipam_store_statements_total", operation="told") > 0

    await eventually(forgotten, "the store need not remember it any more")

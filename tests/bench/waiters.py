"""A full pool whose addresses are given back: how soon those who wait have them, and whether in order."""

import asyncio
import time

from tests.bench.figures import Figure, middle
from tests.bench.load import PATIENCE_SECONDS, fresh, in_flight
from tests.bench.observer import Observer
from tests.bench.progress import say
from tests.bench.rest import Users

SIZE = 100
POOL = "small"
SECONDS = 2.0


async def waiters(users: Users, observer: Observer, rounds: int) -> list[Figure]:
    """Figures of 100 freed addresses and 100 claims that wait for them; the operator runs, nobody else."""
    network, pool = {"cidr": "10.200.0.0/24"}, {"networkRef": {"name": POOL}, "coolDown": "0s"}
    await users.make("IPNetwork", "ipnetworks", POOL, network)
    await users.make("IPPool", "ippools", POOL, {**pool, "ranges": ["10.200.0.10-10.200.0.109"]})
    await users.until("ippools", POOL, lambda found: found.get("status", {}).get("reason") == "Ready")
    seconds, in_order = [], []
    for _ in range(rounds):
        observer.forget()
        holders, waiting = fresh(SIZE), fresh(SIZE)
        await in_flight(holders, lambda name: users.claim(name, POOL))
        await observer.all_in(observer.ready, set(holders), PATIENCE_SECONDS)
        await in_flight(waiting, lambda name: users.claim(name, POOL), limit=1)
        await _all_told(observer, waiting)
        began = time.monotonic()
        await in_flight(holders, users.delete)
        await observer.all_in(observer.ready, set(waiting), PATIENCE_SECONDS)
        seconds.append(max(observer.ready[name] for name in waiting) - began)
        served = sorted(waiting, key=lambda name: int(observer.status[name]["leaseGeneration"]))
        in_order.append(sum(one == two for one, two in zip(served, waiting, strict=True)))
        say(f"{SIZE} freed, {SIZE} bound after {seconds[-1]:.2f} s, {in_order[-1]} in order")
        await in_flight(waiting, users.delete)
        await observer.all_in(observer.gone, {*holders, *waiting}, PATIENCE_SECONDS)
    return [
        Figure(f"{SIZE} freed addresses, {SIZE} waiters bound", middle(seconds), "s", at_most=SECONDS),
        Figure(f"of {SIZE} waiters served in order of arrival", min(in_order), "", at_least=SIZE),
    ]


async def _all_told(observer: Observer, names: list[str]) -> None:
    limit = time.monotonic() + PATIENCE_SECONDS
    while not all(name in observer.status for name in names):
        if time.monotonic() > limit:
            raise TimeoutError("not all who wait were told so")
        await asyncio.sleep(0.05)

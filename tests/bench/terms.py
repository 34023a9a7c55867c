"""Leases that are over all at once: what a claim of the same pool waits while they end, and what otherwise."""

import asyncio
import time

from ipam_operator.domain.model import ObjectRef
from ipam_operator.services.claims import EXPIRY_LIMIT, Claims
from ipam_operator.store.database import Database
from ipam_operator.store.leases import Leases
from ipam_operator.store.ownership import Ownership
from tests.bench.figures import Figure, quantile
from tests.bench.ledger import Ledger, Pool, new_claim, opened, seconds_of
from tests.bench.progress import say

PAUSE_SECONDS = 0.005
"""Between two claims: others come as well, but not without end."""
WARM_UP = 20
TURN_SECONDS = 0.25
"""Long against one step (some milliseconds), short against the machine's moods."""
TELL_SECONDS = EXPIRY_LIMIT / 4 * 0.002
"""Between two steps the claims of the last one are told: four at a time, and a status write takes 2 ms at least."""


async def run(server_url: str, *, quick: bool) -> list[Figure]:
    """Latency of claims while so many leases end, and how long that takes."""
    number = 10_000 if quick else 100_000
    async with opened(server_url) as ledger:
        pool = await ledger.make_pool("terms", "10.64.0.0/14")
        await _let(ledger, pool, number)
        async with Database(ledger.url, connections=4) as database:
            claims, store_run = Claims(Leases(database)), await Ownership(database).run()
            turns = asyncio.Event()
            ending = asyncio.create_task(_end(claims, store_run, turns))
            idle, busy = await _latencies(claims, pool.ref, ending, turns)
        left = await ledger.connection.fetchval("select count(*) from ipam.term where expires_at <= now()")
        ended, seconds = ending.result()
        if left or ended != number:
            raise RuntimeError(f"{ended:,} leases of {number:,} have ended, {left:,} are left")
    say(f"{number:,} leases ended in {seconds:.1f} s, {len(busy):,} claims meanwhile, {len(idle):,} in between")
    what = f"claim, p99, while {number:,} leases of its pool end"
    note = f"{EXPIRY_LIMIT} at a time, {seconds:.0f} s in all"
    return [
        Figure(what, quantile(busy, 0.99) * 1e3, "ms", quantile(idle, 0.99) * 1e3, 2.0, note=note),
        Figure(what.replace("p99", "p50"), quantile(busy, 0.5) * 1e3, "ms", quantile(idle, 0.5) * 1e3),
    ]


async def _let(ledger: Ledger, pool: Pool, number: int) -> None:
    """So many live leases, each with a term that is over."""
    await pool.fill(number / pool.size, number)
    await ledger.connection.execute(
        "insert into ipam.term (claim_uid, spec_generation, lease, since, expires_at)"
        " select claim_uid, 1, interval '10 minutes', now() - interval '11 minutes', now() - interval '1 minute'"
        " from ipam.lease where pool_id = $1",
        pool.key,
    )
    await ledger.connection.execute("vacuum analyze")


async def _end(claims: Claims, store_run: str, turns: asyncio.Event) -> tuple[int, float]:
    """How many have ended, and the seconds that took, without those in which it was not its turn."""
    total, seconds = 0, 0.0
    while True:
        await turns.wait()
        began = time.perf_counter()
        served = await claims.expire(store_run)
        if served is None:
            raise RuntimeError("the store has begun another run")
        total += len(served.outcomes)
        if len(served.outcomes) < EXPIRY_LIMIT:
            return total, seconds
        await asyncio.sleep(TELL_SECONDS)
        seconds += time.perf_counter() - began


async def _latencies(
    claims: Claims, pool: ObjectRef, ending: "asyncio.Task[tuple[int, float]]", turns: asyncio.Event
) -> tuple[list[float], list[float]]:
    """Seconds of one claim after another: while nothing ends, and while leases do.

    They take turns of TURN_SECONDS, so that what else the machine does meanwhile slows both alike.
    """
    idle: list[float] = []
    busy: list[float] = []
    for _ in range(WARM_UP):
        await seconds_of(claims, new_claim(pool))
    while not ending.done():
        for seconds in (idle, busy):
            if seconds is busy:
                turns.set()
            over = time.perf_counter() + TURN_SECONDS
            while time.perf_counter() < over and not ending.done():
                seconds.append(await seconds_of(claims, new_claim(pool)))
                await asyncio.sleep(PAUSE_SECONDS)
            turns.clear()
        await asyncio.sleep(2 * TELL_SECONDS)
    await ending
    return idle, busy

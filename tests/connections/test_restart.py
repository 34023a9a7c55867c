"""PostgreSQL restarts amid claims that come and go: all are served, nobody twice, and the books are whole."""

import asyncio
import time
from functools import partial

import pytest

from hack.postgres import Postgres
from tests.apiserver.support import Launch, Objects, Tenant, bound, watch_until
from tests.connections.support import BRISK, assert_sound, figure, ready

ROUNDS, EACH = 3, 80


def any_bound(names: frozenset[str], seen: Objects) -> bool:
    return any(bound(seen[name]) for name in names if name in seen)


@pytest.mark.parametrize("crash", [False, True], ids=["restart", "crash"])
async def test_claims_flow_while_the_server_restarts(
    place: Tenant, database_url: str, launch: Launch, postgres: Postgres, *, crash: bool
) -> None:
    """Three times in a storm of claims, of which the half is deleted in the next: each that stays has an address."""
    launch(BRISK)
    await place.space("10.0.0.0/22", coolDown="0s")
    gone: list[str] = []
    kept: list[str] = []
    for turn in range(ROUNDS):
        names = [f"c{turn}-{number:02}" for number in range(EACH)]
        flowing = asyncio.gather(place.claims(names), place.delete("IPClaim", *(leaving := kept[: EACH // 2])))
        await watch_until(place.api, "IPClaim", place.namespace, partial(any_bound, frozenset(names)))
        await asyncio.to_thread(postgres.kill if crash else postgres.stop)
        await asyncio.sleep(0)
        postgres.start()
        began = time.monotonic()
        await flowing
        await place.claim(f"next-{turn}")
        await place.bound(f"next-{turn}")
        figure(f"PostgreSQL {'crashed' if crash else 'restarted'}, from its start to a new address", began)
        names.append(f"next-{turn}")
        gone, kept = gone + leaving, kept[len(leaving) :] + names
    await place.bound(*kept)
    await place.gone("IPClaim", *gone)
    await assert_sound(database_url, place, len(kept))


async def test_nothing_is_asked_twice_of_a_server_that_died_amid(
    place: Tenant, database_url: str, launch: Launch, postgres: Postgres
) -> None:
    """A statement whose answer was lost with the server is repeated: the claim has one lease, the one that it shows."""
    process = launch(BRISK)
    await place.space(ranges=["10.0.0.1-10.0.0.8"], coolDown="0s")
    for turn in range(4):
        names = [f"c{turn}-{number}" for number in range(2)]
        await place.claims(names)
        postgres.kill()
        postgres.start()
        await place.bound(*names)
    await place.claim("late")
    await place.reason("IPClaim", "late", "PoolExhausted")
    await place.delete("IPClaim", "c0-0")
    await place.bound("late")
    await place.gone("IPClaim", "c0-0")
    await assert_sound(database_url, place, 8)

    await ready(process)

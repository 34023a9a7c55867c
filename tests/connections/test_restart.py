"""PostgreSQL or its pooler restarts amid claims that come and go: all are served, nobody twice, the books are whole."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from hack.pgbouncer import PROVEN_SECONDS, PgBouncer
from hack.postgres import Postgres
from tests.apiserver.support import Launch, Objects, Tenant, bound, watch_until
from tests.conftest import ToStore
from tests.connections.conftest import Operate
from tests.connections.support import BRISK, assert_sound, figure, ready
from tests.support.postgres import OPERATOR, OPERATOR_PASSWORD

ROUNDS, EACH = 3, 80


def any_bound(names: frozenset[str], seen: Objects) -> bool:
    return any(bound(seen[name]) for name in names if name in seen)


async def storms(
    place: Tenant, url: str, what: str, interrupt: Callable[[], Awaitable[object]], rest: float = 0.0
) -> None:
    """Three of claims, of which the half is deleted in the next: each that stays has an address.

    What `interrupt` does amid each is `what`; before that there is a rest, in seconds.
    """
    await place.space("10.0.0.0/22", coolDown="0s")
    gone: list[str] = []
    kept: list[str] = []
    for turn in range(ROUNDS):
        await asyncio.sleep(rest)
        names = [f"c{turn}-{number:02}" for number in range(EACH)]
        flowing = asyncio.gather(place.claims(names), place.delete("IPClaim", *(leaving := kept[: EACH // 2])))
        await watch_until(place.api, "IPClaim", place.namespace, partial(any_bound, frozenset(names)))
        began = time.monotonic()
        await interrupt()
        await flowing
        await place.claim(f"next-{turn}")
        await place.bound(f"next-{turn}")
        figure(f"{what}, until there is a new address", began)
        names.append(f"next-{turn}")
        gone, kept = gone + leaving, kept[len(leaving) :] + names
    await place.bound(*kept)
    await place.gone("IPClaim", *gone)
    await assert_sound(url, place, len(kept))


@pytest.mark.parametrize("crash", [False, True], ids=["restart", "crash"])
async def test_claims_flow_while_the_server_restarts(
    place: Tenant, database_url: str, launch: Launch, postgres: Postgres, *, crash: bool
) -> None:
    """It ends in a storm, in order or not, and is there again at once."""

    async def interrupt() -> None:
        await asyncio.to_thread(postgres.kill if crash else postgres.stop)
        postgres.start()  # not in a thread: it would end with that

    launch(BRISK)
    await storms(place, database_url, f"PostgreSQL {'crashed' if crash else 'restarted'}", interrupt)


async def test_claims_flow_while_the_pooler_restarts(
    place: Tenant, database_url: str, operate: Operate, postgres: Postgres
) -> None:
    """PgBouncer ends in a storm, as old ones do, with all connections; what supervises it starts it again."""
    with PgBouncer(postgres, logins={OPERATOR: OPERATOR_PASSWORD}) as pooler:

        async def interrupt() -> None:
            pid = pooler.pid
            assert pid
            os.kill(pid, signal.SIGKILL)

        url, way = ToStore(pooler).lead(database_url)
        process = operate(url, {**BRISK, **way})
        await storms(place, database_url, "PgBouncer ended", interrupt, rest=PROVEN_SECONDS)
        await ready(process)
        assert process.terminate() == 0
        assert "Traceback" not in process.log()  # it is expected, and said in a line


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

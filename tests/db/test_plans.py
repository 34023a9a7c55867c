"""Sessions keep the plans that they made while the ledger was empty: none of them may look at all leases later."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from ipam_operator.domain.model import ClaimDetail, ClaimRequest, PoolRequest, Term
from tests.support.store import Store, claim

LEASES = 8_000
TURNS = 5
TERM = Term(timedelta(minutes=10))
_numbers = count(1)
Work = Callable[[], Awaitable[object]]


def edited(one: ClaimRequest, **changes: Any) -> ClaimRequest:
    """The claim with its next spec."""
    return replace(one, identity=replace(one.identity, generation=one.identity.generation + 1), edited=True, **changes)


async def editing(store: Store, of: PoolRequest) -> Work:
    """Another hostname."""
    (one,) = await store.take(of, 1)
    return lambda: store.ask(edited(one, detail=ClaimDetail(hostname=f"h{next(_numbers)}")))


async def renewing(store: Store, of: PoolRequest) -> Work:
    """Another renewedAt."""
    one = claim(of, term=TERM)
    await store.ask(one)
    return lambda: store.ask(edited(one, term=replace(TERM, renewed_at=datetime.now(UTC))))


async def changing_mac(store: Store, of: PoolRequest) -> Work:
    """Another MAC address."""
    one = claim(of, mac="02:00:00:00:00:01")
    await store.ask(one)
    return lambda: store.ask(edited(one, detail=ClaimDetail(mac=f"02:00:00:00:01:{next(_numbers):02x}")))


async def sharing_a_key(store: Store, of: PoolRequest) -> Work:
    """A new claim with a sticky key."""

    async def work() -> object:
        return await store.ask(claim(of, key=f"k{next(_numbers)}"))

    return work


async def expiring(store: Store, of: PoolRequest) -> Work:
    """A lease that is over."""
    over = [claim(of, term=TERM) for _ in range(TURNS)]
    await store.ask(*over)

    async def work() -> object:
        await store.lapse(over.pop())
        return await store.expire()

    return work


async def keeping(store: Store, of: PoolRequest) -> Work:
    """The end of a claim whose address is kept."""
    held = [claim(of, retain=True) for _ in range(TURNS)]
    await store.ask(*held)
    return lambda: store.release(held.pop())


async def asking(store: Store, of: PoolRequest) -> Work:
    """A few new claims at once."""
    return lambda: store.take(of, 3)


async def asking_again(store: Store, of: PoolRequest) -> Work:
    """Claims that hold already."""
    asked = await store.take(of, 3)
    return lambda: store.allocate(of, asked)


async def releasing(store: Store, of: PoolRequest) -> Work:
    """The end of claims."""
    held = await store.take(of, 3 * TURNS)
    return lambda: store.release(*(held.pop() for _ in range(3)))


async def sweeping(store: Store, of: PoolRequest) -> Work:
    """What has cooled is free again."""
    held = await store.take(of, TURNS)

    async def work() -> object:
        await store.release(held.pop())
        return await store.sweep(of)

    return work


async def adopting(store: Store, of: PoolRequest) -> Work:
    """A claim that shows what the store has forgotten."""
    free = iter(range(TURNS))
    return lambda: store.adopt(of, claim(of), f"10.0.255.{next(free)}")


async def waiting(store: Store, of: PoolRequest) -> Work:
    """A claim that names an address which is held: it joins the queue, and is served from there."""
    (one,) = await store.take(of, 1)
    (taken,) = (await store.held())[one.identity.uid]

    async def work() -> object:
        await store.ask(claim(of, wanted=str(taken)))
        return await store.serve(of)

    return work


OFTEN = [asking, asking_again, waiting]
"""These do not count on it that PostgreSQL has looked at the tables again."""
KINDS = [*OFTEN, editing, renewing, changing_mac, sharing_a_key, expiring, keeping, releasing, sweeping, adopting]


@pytest.mark.parametrize("vacuumed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_plan_of_an_empty_ledger_serves_a_full_one(
    database_url: str, kind: Callable[[Store, PoolRequest], Awaitable[Work]], *, vacuumed: bool
) -> None:
    """Of thousands of leases one claim reads few, in a session that has planned before there were any.

    Of a table that was vacuumed while it was empty, PostgreSQL believes that it is, until a tick of the pools' timer
    finds that it has grown; of any other, that it has ten pages.
    """
    async with Store(database_url) as others:
        of = await others.pool("10.0.0.0/16")
        if vacuumed:
            await others.sql("vacuum analyze")
        async with Store(database_url, connections=1) as old:
            work = await kind(old, of)
            for _ in range(TURNS - 1):
                await work()
            async with Store(database_url) as crowd:
                for _ in range(LEASES // 1000):
                    await crowd.take(of, 1000)
            if vacuumed and kind not in OFTEN:
                await others.counters.sweep([])
            before = await reads(others)
            await work()
        assert await reads(others) - before < LEASES / 8


async def test_a_table_is_looked_at_again_when_it_has_grown(database_url: str) -> None:
    """Once for each time that it is four times as large, not with every tick; small ones are left alone."""
    looks = "select analyze_count from pg_stat_user_tables where schemaname = 'ipam' and relname = 'lease'"
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/16")
        seen = []
        for number in (100, 2000, 10, 1000, 8000, 10):
            await store.take(of, number)
            await store.counters.sweep([of.identity.uid])
            seen.append(int(await store.value(looks)))
        assert seen == [0, 1, 1, 1, 2, 2]


async def reads(store: Store) -> int:
    """Leases that sessions have read which have ended, once no more are reported: living ones report now and then."""
    tables = (
        "select coalesce(sum(seq_tup_read + idx_tup_fetch), 0)::bigint from pg_stat_user_tables where relname = 'lease'"
    )
    last, now = -1, int(await store.value(tables))
    while now != last:
        await asyncio.sleep(1.1)
        last, now = now, int(await store.value(tables))
    return now

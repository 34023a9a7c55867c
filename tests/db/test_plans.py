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

LEASES = 16_000
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


@pytest.mark.parametrize("kind", [editing, renewing, changing_mac, sharing_a_key, expiring, keeping])
async def test_a_plan_of_an_empty_ledger_serves_a_full_one(
    database_url: str, kind: Callable[[Store, PoolRequest], Awaitable[Work]]
) -> None:
    """Of thousands of leases one claim reads few, in a session that has planned before there were any."""
    async with Store(database_url) as others:
        of = await others.pool("10.0.0.0/16")
        async with Store(database_url, connections=1) as old:
            work = await kind(old, of)
            for _ in range(TURNS - 1):
                await work()
            async with Store(database_url) as crowd:
                for _ in range(LEASES // 1000):
                    await crowd.take(of, 1000)
            before = await reads(others)
            await work()
        assert await reads(others) - before < LEASES / 8


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

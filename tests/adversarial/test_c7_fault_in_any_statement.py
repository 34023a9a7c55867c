"""Row C7: a call that fails has done nothing, wherever it failed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from ipam_operator.domain.model import ClaimDetail, Release, Strategy
from tests.support.store import Store, claim, granted

WRITTEN = ("lease", "free_range", "waiting", "claim_detail", "tombstone", "history", "memory", "term", "pool")
NOBODYS = """select host(addr) from (
    select lo addr, 'infinity' reusable_at from ipam.free_range
    union all select addr, reusable_at from ipam.lease where released_at is not null) a
order by reusable_at desc, addr desc limit 1"""
"""An address that free choice takes last: the start of the last free range, else what cooled last."""


async def state(store: Store) -> list[str]:
    """Every row of every table that these calls write."""
    return [
        str(tuple(row))
        for table in WRITTEN
        for row in await store.sql(f"select '{table}', t::text from ipam.{table} t order by 2")
    ]


@asynccontextmanager
async def broken(store: Store, table: str, event: str) -> AsyncIterator[None]:
    """Every such statement fails, wherever in a call it comes."""
    await store.sql(
        f"create trigger broken before {event} on ipam.{table} for each statement execute function public.fail()"
    )
    yield
    await store.sql(f"drop trigger broken on ipam.{table}")


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_c7_a_fault_in_any_statement(database_url: str, strategy: Strategy) -> None:
    """C7: whichever statement of a call fails, everything is as before; repeated without the fault, it succeeds."""
    async with Store(database_url) as store:
        await store.sql(
            "create function public.fail() returns trigger language plpgsql as "
            "$$ begin raise exception 'injected' using errcode = 'data_exception'; end $$"
        )
        of = await store.pool("10.0.0.0/26", strategy=strategy)
        old = await store.take(of, 40)
        await store.release(*old[:10])  # single holes, some of them cooled: all ways to an address are in use
        failures = 0
        for table in WRITTEN:
            for event in ("insert", "update", "delete"):
                (ended,) = await store.take(of, 1)
                asked = [claim(of, detail=ClaimDetail("host")), claim(of, count=2)]
                if strategy is not Strategy.RANDOM:  # which might take the very address when the wish fails alone
                    asked.append(claim(of, wanted=await store.value(NOBODYS)))
                before = await state(store)
                async with broken(store, table, event):
                    served = await store.allocate(of, asked)
                    if not granted(served):
                        failures += 1
                        assert await state(store) == before, (table, event)
                served = await store.allocate(of, asked)
                assert granted(served).keys() == {one.identity.uid for one in asked}
                before = await state(store)
                async with broken(store, table, event):
                    done, _ = await store.claims.release([(Release(ended.identity.uid, None, "tester"), ended.pool)])
                    if not done:
                        failures += 1
                        assert await state(store) == before, (table, event)
                await store.release(ended, *asked)
                await store.sweep(of)
                await store.assert_tiled()
        assert failures >= 5
        await store.assert_history_is_ledger()

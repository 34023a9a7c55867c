"""Rows I3 and I4: locks are taken in one order, and cost follows what is asked, not what is there."""

import asyncio
import json
from random import Random

import pytest

from ipam_operator.domain.model import ClaimRequest, Release, Strategy
from tests.support.store import Store, claim, claims, granted

ONE = """explain (analyze, buffers, format json) select * from ipam.allocate(
    $1, $2, array[gen_random_uuid()], array[1]::bigint[], array['team'], array['x'], array[1], null, array['t'],
    null, null, null)"""


async def test_i3_two_pools_in_opposite_order(database_url: str) -> None:
    """Releases that touch pools A and B, and B and A, while both allocate: all end, without a single deadlock."""
    async with Store(database_url, connections=16) as store:
        parent = await store.network("10.0.0.0/16")
        pools = [await store.pool(parent, f"10.0.{k}.0/24") for k in range(2)]
        dice = Random(3)

        async def come_and_go() -> None:
            for _ in range(10):
                asked = [claim(of) for of in pools]
                dice.shuffle(asked)
                for one in asked:
                    await store.claims.allocate(one.pool, [one])
                ended: list[ClaimRequest] = dice.sample(asked, 2)
                done, _ = await store.claims.release([(Release(one.identity.uid), one.pool) for one in ended])
                assert len(done) == 2

        deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"
        await asyncio.gather(*(come_and_go() for _ in range(16)))
        await store.sql("select pg_stat_clear_snapshot()")
        assert await store.value(deadlocks) == 0
        assert await store.held() == {}
        await store.assert_tiled()


async def buffers(store: Store, ref: tuple[str, str]) -> int:
    """Pages that one allocation touches, the middle of five (the first loads plans and catalogs)."""
    seen: list[int] = []
    for _ in range(7):
        (plan,) = json.loads(await store.value(ONE, *ref))
        seen.append(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])
    return sorted(seen[2:])[2]


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_i4_cost_is_flat_from_empty_to_full(database_url: str, strategy: Strategy) -> None:
    """One allocation touches as many pages in a pool that is empty, half full, full of holes and 99 % full."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/20", strategy=strategy)
        ref = (of.identity.ref.namespace, of.identity.ref.name)
        costs = [await buffers(store, ref)]
        held = []
        for count in (1000, 1024, 1024, 980):
            held += await store.take(of, 1, count=count)
            costs.append(await buffers(store, ref))
        assert len(held) == 4
        assert max(costs) <= 2 * min(costs) + 20, costs


async def test_i4_cost_does_not_follow_the_size_of_the_prefix(database_url: str) -> None:
    """One allocation, and one wish in the middle, touch as many pages in a /64 and a /8 as in a /28."""
    async with Store(database_url) as store:
        costs = []
        for cidr in ("10.0.0.0/28", "17.0.0.0/8", "2001:db8::/64", "2001:db9::/32"):
            of = await store.pool(cidr)
            costs.append(await buffers(store, (of.identity.ref.namespace, of.identity.ref.name)))
            assert len(granted(await store.allocate(of, claims(of, 3)))) == 3
        assert max(costs) <= 2 * min(costs), costs

"""Rows G1 and G3: an address cools by the database's clock, and nobody is so short of addresses that it does not."""

import re
from importlib import resources

import pytest

from ipam_operator.domain.model import PoolRequest, Strategy
from ipam_operator.domain.outcome import Reason
from tests.support.store import Store, claim, claims, granted, identity, network, refused, texts

CLOCKS = re.compile(r"\b(?:datetime\.now|utcnow|time\.time|today)\b|\b(?:clock_timestamp|statement_timestamp)\(")


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_g1_a_nearly_full_pool_waits(database_url: str, strategy: Strategy) -> None:
    """Claims and wishes wait for addresses that cool; those then go out longest released first under LRU."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", strategy=strategy, cool_down=3600)
        held = await store.take(of, 6)
        given = await store.held()
        for one in held[:2]:
            await store.release(one)
        oldest, newer = (str(given[one.identity.uid][0]) for one in held[:2])
        waits = [claim(of), claim(of, wanted=newer)]
        served = await store.allocate(of, waits)
        reasons = [refused(served)[one.identity.uid].reason for one in waits]
        assert reasons == [Reason.POOL_EXHAUSTED, Reason.ADDRESS_CONFLICT]
        assert all(3500 < due.seconds <= 3600 for due in served.due)
        assert await store.sweep(of) == 0
        assert texts(await store.serve(of)) == []
        await store.cooled(of)
        got = granted(await store.serve(of))
        assert [str(got[one.identity.uid][0]) for one in waits] == [oldest, newer]


def test_g1_cooling_is_the_default() -> None:
    """A pool that says nothing cools its addresses."""
    silent = PoolRequest(identity(), network("10.0.0.0/24").identity.ref, "Host")
    assert silent.cool_down.total_seconds() == 300


def test_g3_only_the_databases_clock_counts() -> None:
    """Neither the store's Python nor its SQL asks another clock than the transaction's now()."""
    package = resources.files("ipam_operator.store")
    files = [
        file
        for folder in (package, package.joinpath("sql"), package.joinpath("migrations"))
        for file in folder.iterdir()
        if file.name.endswith((".py", ".sql"))
    ]
    assert len(files) > 15
    assert {file.name: CLOCKS.findall(file.read_text()) for file in files if CLOCKS.search(file.read_text())} == {}


async def test_g3_a_lease_from_the_future_is_not_lost(database_url: str) -> None:
    """A database whose clock stepped back keeps what it released "later" cooling, and serves everything else."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/30", cool_down=60)
        held = await store.take(of, 2)
        await store.release(held[0])
        await store.sql("update ipam.lease set released_at = now() + '1 day', reusable_at = now() + '25 hours' "
                        "where released_at is not null")  # fmt: skip
        assert (await store.count(of)).cooling == 1
        assert len(refused(await store.allocate(of, claims(of, 1)))) == 1
        await store.assert_tiled()

"""Nobody waits for what is there: whoever makes room says so."""

import pytest

from ipam_operator.domain.model import Strategy
from tests.support.store import Store, claims, granted


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_an_address_that_needs_no_cooling_is_due_at_once(database_url: str, strategy: Strategy) -> None:
    """Without a cool-down a release calls for whoever waits, whatever the strategy."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/30", strategy=strategy)
        held = await store.take(of, 2)
        (waiter,) = claims(of, 1)
        await store.allocate(of, [waiter])
        (due,) = await store.release(held[0])
        assert due.seconds <= 0
        assert granted(await store.serve(of)).keys() == {waiter.identity.uid}


async def test_who_leaves_the_head_of_a_queue_lets_the_next_be_served(database_url: str) -> None:
    """A large claim that stands at the head is deleted: those behind it, who fit, are called for."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", cool_down=3600)
        await store.take(of, 3)
        (large, *small) = [*claims(of, 1, count=4), *claims(of, 2)]
        await store.allocate(of, [large])
        await store.sql("update ipam.waiting set stands_until = now() + interval '1 minute'")
        await store.allocate(of, small)
        assert await store.waiting(of) == [one.identity.uid for one in (large, *small)]
        (due,) = await store.release(large)
        assert (due.pool, due.seconds) == (of.identity.ref, 0)
        assert granted(await store.serve(of)).keys() == {one.identity.uid for one in small}


async def test_who_leaves_a_queue_that_still_cannot_go_on_says_nothing(database_url: str) -> None:
    """A claim from the middle of a queue, or in front of one that does not fit either, calls for nobody."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", cool_down=3600)
        await store.take(of, 3)
        (first, second, third) = claims(of, 3, count=4)
        await store.allocate(of, [first, second, third])
        assert await store.release(second) == []
        assert await store.release(first) == []
        assert await store.waiting(of) == [third.identity.uid]

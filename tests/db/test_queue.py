"""The queue: who waits, in which order they are served, and when to look again."""

from dataclasses import replace

import pytest

from ipam_operator.domain.model import ClaimDetail, Consent, ObjectRef, PoolRequest, Strategy
from ipam_operator.domain.outcome import Reason, Refused
from tests.support.store import Store, claim, claims, granted, network, only, pool, refused, selector


async def test_the_waiting_are_served_in_order_of_arrival(database_url: str) -> None:
    """Released addresses go to those who came first, also when later ones ask at the same time."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        held = await store.take(of, 6)
        first, second, third = claims(of, 3)
        for one in (first, second, third):
            await store.allocate(of, [one])
        await store.release(held[5])
        latecomer = claim(of)
        served = await store.allocate(of, [latecomer, third])
        assert list(granted(served)) == [first.identity.uid]
        assert refused(served)[third.identity.uid].queue_position == 2
        assert refused(served)[latecomer.identity.uid].queue_position == 3


async def test_who_is_more_important_goes_first(database_url: str) -> None:
    """Priority goes before arrival, also after an edit; among equals who came first is first."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        held = await store.take(of, 6)
        low, early, late, high = claim(of), claim(of, priority=5), claim(of, priority=5), claim(of, priority=100)
        for one in (low, early, late):
            await store.allocate(of, [one])
        said = only(await store.allocate(of, [high]))
        assert (said.reason, said.queue_position) == (Reason.POOL_EXHAUSTED, 1)
        edited = replace(early, identity=replace(early.identity, generation=2), detail=ClaimDetail(priority=4))
        assert only(await store.allocate(of, [edited])).queue_position == 3
        for one, served in zip(held, (high, late, early, low), strict=False):
            await store.release(one)
            assert list(granted(await store.serve(of))) == [served.identity.uid]


async def passed(store: Store, of: PoolRequest, count: int) -> bool:
    """Whether a new claim for `count` addresses is served although others wait."""
    return bool(granted(await store.allocate(of, [claim(of, count=count)])))


async def test_a_large_claim_lets_as_many_addresses_pass_as_it_asks_for(database_url: str) -> None:
    """Smaller claims pass one that does not fit, but not beyond its own count: then it stands, and is served first."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")  # 14 hosts
        held = await store.take(of, 8)
        large = claim(of, count=7)
        assert only(await store.allocate(of, [large])).reason is Reason.POOL_EXHAUSTED
        assert [await passed(store, of, count) for count in (2, 3)] == [True, True]
        await store.release(*held[:2])
        assert not await passed(store, of, 3), "5 have passed, 8 would be more than 7"
        assert not await passed(store, of, 1), "it stands now, and even one that would still do waits"
        await store.release(*held[2:6])
        assert list(granted(await store.serve(of))) == [large.identity.uid]
        assert await store.untiled() == []


async def test_a_large_claim_stands_in_the_way_for_a_while_only(database_url: str) -> None:
    """When it has stood for ten minutes in vain it is passed again, by as many as before."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        await store.take(of, 8)
        large, two = claim(of, count=7), claim(of, count=2)
        await store.allocate(of, [large])
        assert [await passed(store, of, count) for count in (3, 1)] == [True, True]
        await store.sql("update ipam.waiting set passed = 6")
        (due,) = (await store.allocate(of, [two])).due
        assert 590 < due.seconds <= 600
        assert granted(await store.serve(of)) == {}
        await store.sql("update ipam.waiting set stands_until = now() - interval '1 second'")
        assert list(granted(await store.serve(of))) == [two.identity.uid]
        assert await store.waiting(of) == [large.identity.uid]


async def test_who_can_never_fit_stands_in_nobodys_way(database_url: str) -> None:
    """A waiting claim for more than the whole pool does not block those behind it."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        giant, small = claim(of, count=7), claim(of)
        await store.allocate(of, [giant])
        assert list(granted(await store.allocate(of, [small]))) == [small.identity.uid]


async def test_a_waiting_wish_is_served_before_free_choice(database_url: str) -> None:
    """An address that somebody named goes to them, even when others wait longer."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        held = await store.take(of, 6)
        any_one, named = claim(of), claim(of, wanted="10.0.0.3")
        await store.allocate(of, [any_one])
        await store.allocate(of, [named])
        await store.release(held[2])
        assert list(granted(await store.serve(of))) == [named.identity.uid]


async def test_two_wishes_for_one_address_are_served_in_order(database_url: str) -> None:
    """Of two who name the same address the earlier gets it, the later goes on waiting."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        (holder,) = await store.take(of, 1)
        early, late = claim(of, wanted="10.0.0.1"), claim(of, wanted="10.0.0.1")
        await store.allocate(of, [early])
        await store.allocate(of, [late])
        await store.release(holder)
        assert list(granted(await store.serve(of))) == [early.identity.uid]
        assert await store.waiting(of) == [late.identity.uid]
        await store.assert_tiled()


async def test_claims_queue_for_a_pool_that_does_not_exist_yet(database_url: str) -> None:
    """Claims wait by the name of their pool and are served when it comes into service."""
    async with Store(database_url) as store:
        of = pool(await store.network("10.0.0.0/29"))
        asked = claims(of, 2)
        said = refused(await store.allocate(of, asked))
        assert {one.reason for one in said.values()} == {Reason.POOL_NOT_FOUND}
        await store.pools.apply(of)
        assert list(granted(await store.serve(of))) == [one.identity.uid for one in asked]


async def test_the_wait_for_a_pool_says_why_it_is_not_in_service(database_url: str) -> None:
    """A claim of a refused pool is told the pool's own refusal; `tell` repeats it to all who wait."""
    async with Store(database_url) as store:
        parent = network("10.0.0.0/29")
        of = pool(parent)
        assert isinstance(await store.pools.apply(of), Refused)
        asked = claims(of, 2)
        said = only(await store.allocate(of, asked[:1]))
        await store.allocate(of, asked[1:])
        assert said.reason is Reason.NETWORK_NOT_FOUND
        assert f"there is no IPNetwork {parent.identity.ref.name}" in said.message
        assert refused(await store.serve(of, tell=True)).keys() == {one.identity.uid for one in asked}
        assert (await store.serve(of)).outcomes == ()


async def test_asking_again_keeps_the_place_and_takes_the_new_wish(database_url: str) -> None:
    """An edit of a waiting claim keeps its place in the queue."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        held = await store.take(of, 6)
        first, second = claim(of, count=2), claim(of)
        await store.allocate(of, [first])
        await store.allocate(of, [second])
        await store.allocate(of, [claim(of, uid=first.identity.uid)])
        assert await store.waiting(of) == [first.identity.uid, second.identity.uid]
        await store.release(held[0])
        assert list(granted(await store.serve(of))) == [first.identity.uid]


async def test_a_waiting_claim_may_turn_to_another_pool(database_url: str) -> None:
    """Who is served by another pool waits no longer at the first, and does not stop its queue."""
    async with Store(database_url) as store:
        full, spare = await store.pool("10.0.0.0/30"), await store.pool("10.1.0.0/30")
        held = await store.take(full, 2)
        mover, stayer = claim(full), claim(full)
        await store.allocate(full, [mover, stayer])
        moved = claim(spare, uid=mover.identity.uid)
        assert list(granted(await store.allocate(spare, [moved]))) == [mover.identity.uid]
        assert await store.waiting(full) == [stayer.identity.uid]
        await store.release(held[0])
        assert list(granted(await store.serve(full))) == [stayer.identity.uid]


@pytest.mark.parametrize("wanted", [None, "10.0.0.1"])
async def test_a_place_in_the_queue_of_a_holder_is_void(database_url: str, wanted: str | None) -> None:
    """A place that a lost race left behind is dropped instead of stopping the queue."""
    async with Store(database_url) as store:
        full, spare = await store.pool("10.0.0.0/30"), await store.pool("10.1.0.0/30")
        held = await store.take(full, 2)
        (holder,) = await store.take(spare, 1)
        await store.sql(
            "insert into ipam.waiting (claim_uid, pool_namespace, pool_name, namespace, name, generation, count, "
            "wanted, actor, key) values ($1, $2, $3, 'team', 'x', 1, 1, $4::text::inet, 'a', 'x')",
            holder.identity.uid,
            full.identity.ref.namespace,
            full.identity.ref.name,
            wanted,
        )
        waiter = claim(full)
        await store.allocate(full, [waiter])
        await store.release(*held)
        assert list(granted(await store.serve(full))) == [waiter.identity.uid]
        assert await store.waiting(full) == []
        await store.assert_tiled()


async def test_release_tells_when_the_next_address_has_cooled(database_url: str) -> None:
    """A release into a pool that somebody waits for says when to look again; without anybody it says nothing."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/30", cool_down=3600)
        held = await store.take(of, 2)
        assert await store.release(held[0]) == []
        served = await store.allocate(of, claims(of, 1))
        assert [due.pool for due in served.due] == [of.identity.ref]
        (due,) = await store.release(held[1])
        assert 3500 < due.seconds <= 3600


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_cooled_addresses_that_do_not_suffice_are_not_due_for_ever(database_url: str, strategy: Strategy) -> None:
    """A claim that needs more than has cooled is not called for again and again."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", strategy=strategy, cool_down=3600)
        held = await store.take(of, 6)
        await store.release(held[0])
        await store.cooled(of)
        assert only(await store.allocate(of, claims(of, 1, count=3))).reason is Reason.POOL_EXHAUSTED
        assert (await store.serve(of)).due == ()
        (due,) = await store.release(held[1])
        assert due.seconds > 3500


async def test_names_are_namespaced(database_url: str) -> None:
    """Pools of one name in two namespaces have two queues."""
    async with Store(database_url) as store:
        here = await store.pool(await store.network("10.0.0.0/30"), name="same")
        there = pool(await store.network("10.0.0.0/30", namespace="other"), name="same")
        assert there.identity.ref == ObjectRef("other", "same")
        await store.pools.apply(there)
        await store.take(here, 2)
        assert only(await store.allocate(here, claims(here, 1))).reason is Reason.POOL_EXHAUSTED
        assert len(granted(await store.allocate(there, claims(there, 2)))) == 2


@pytest.mark.parametrize("quota", [None, 5])
async def test_claims_that_never_fit_stand_in_nobodys_way(database_url: str, quota: int | None) -> None:
    """However many there are: larger than the pool, by its name and by a selector; larger than a quota."""
    async with Store(database_url) as store:
        labels = {"tier": "front"}
        of = await store.pool("10.0.0.0/24", labels=labels, allowed=Consent("All"), quota=quota)
        for asked in (of, selector(tenant="guest", labels=labels)):
            hopeless = claims(asked, 2001, count=6 if quota else 1000, namespace="guest")
            assert len(refused(await store.ask(*hopeless))) == 2001
        assert len(granted(await store.ask(claim(of)))) == 1
        served = await store.ask(claim(selector(labels=labels)))
        assert len(granted(served)) == 1
        await store.release(hopeless[0])


@pytest.mark.parametrize("labels", [{}, {"tier": "front"}])
async def test_more_than_fit_into_one_look_stand_in_nobodys_way(database_url: str, labels: dict[str, str]) -> None:
    """A thousand claims for the whole pool, which one address keeps from all of them: small ones behind are served."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", labels=labels)
        if labels:
            await store.ask(claim(selector(labels=labels)))
        else:
            await store.take(of, 1)
        await store.ask(*claims(of, 2500, count=254))
        small = claims(of, 30)
        assert granted(await store.ask(*small)).keys() == {one.identity.uid for one in small}


async def test_wishes_that_cannot_be_served_stand_in_nobodys_way(database_url: str) -> None:
    """For what cools or is kept for others, or beyond a quota: another one's wish is looked at all the same."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", allowed=Consent("All"), quota=1, cool_down=3600)
        kept = claim(of, namespace="guest", retain=True)
        (address,) = granted(await store.ask(kept))[kept.identity.uid]
        await store.release(kept)
        await store.ask(*(claim(of, namespace="other", wanted=str(address)) for _ in range(1200)))
        await store.ask(claim(of, namespace="guest"))
        await store.ask(*(claim(of, namespace="guest", wanted=f"10.0.0.{100 + n % 100}") for n in range(1200)))
        own = claim(of, wanted="10.0.0.77")
        assert granted(await store.ask(own)).keys() == {own.identity.uid}


async def test_beyond_a_quota_that_is_used_up_meanwhile_others_come(database_url: str) -> None:
    """One look grants what the quota takes of a thousand, and sees who is behind them."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", allowed=Consent("All"), quota=5, paused=True)
        await store.ask(*claims(of, 1100, count=2, namespace="guest"))
        behind = claim(of)
        await store.ask(behind)
        await store.change(of, paused=False)
        served = granted(await store.serve(of))
        assert len(served) == 3
        assert behind.identity.uid in served

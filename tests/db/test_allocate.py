"""Allocation: what one batch of claims gets."""

import asyncpg
import pytest

from ipam_operator.domain.model import ClaimDetail, Strategy
from ipam_operator.domain.outcome import Granted, Reason, Vanished
from ipam_operator.services.claims import SERVE_LIMIT
from tests.support.store import Store, claim, claims, granted, only, refused, texts


async def test_first_free_hands_out_the_lowest_addresses_in_order(database_url: str) -> None:
    """A FirstFree pool serves a batch from its low end, without the network's own address."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        assert texts(await store.allocate(of, claims(of, 3))) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        assert await store.untiled() == []


async def test_a_grant_says_how_to_use_the_address(database_url: str) -> None:
    """A grant carries prefix length, gateway and family of its network."""
    async with Store(database_url) as store:
        of = await store.pool(await store.network("10.0.0.0/20", gateway="10.0.0.1"))
        (one,) = (await store.allocate(of, claims(of, 1))).outcomes
        assert isinstance(one, Granted)
        assert (str(one.addresses[0]), one.block.prefix_length, str(one.block.gateway)) == ("10.0.0.2", 20, "10.0.0.1")
        assert one.block.family == 4


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_a_known_claim_is_told_the_same_again(database_url: str, strategy: Strategy) -> None:
    """Asking again answers with the same addresses and the same fencing number, in any batch."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", strategy=strategy)
        asked = [claim(of), claim(of, count=3), claim(of, wanted="10.0.0.200")]
        first = await store.allocate(of, asked)
        again = await store.allocate(of, [*claims(of, 2), *asked])
        assert granted(again).items() >= granted(first).items()
        assert len(granted(again)) == 5
        assert await store.untiled() == []


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_several_addresses_come_all_or_not_at_all(database_url: str, strategy: Strategy) -> None:
    """A claim for more than is free takes nothing and leaves what is free to others."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", strategy=strategy)  # six hosts
        await store.take(of, 2)
        (greedy,) = claims(of, 1, count=5)
        assert only(await store.allocate(of, [greedy])).reason is Reason.POOL_EXHAUSTED
        assert (await store.count(of)).free == 4


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_exact_fit_empties_the_pool(database_url: str, strategy: Strategy) -> None:
    """A claim for exactly what is free, over several ranges, gets it."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        of = await store.pool(parent, "10.0.0.5", "10.0.0.7-10.0.0.9", "10.0.0.20-10.0.0.21", strategy=strategy)
        served = await store.allocate(of, claims(of, 1, count=6))
        assert sorted(texts(served)) == ["10.0.0.20", "10.0.0.21", "10.0.0.5", "10.0.0.7", "10.0.0.8", "10.0.0.9"]
        assert await store.free(of) == []
        await store.assert_tiled(parent, of)


async def test_a_batch_beyond_the_stock_serves_its_front(database_url: str) -> None:
    """When a batch does not fit, its first claims are served and the others wait in their order."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        asked = claims(of, 9)
        served = await store.allocate(of, asked)
        assert list(granted(served)) == [one.identity.uid for one in asked[:6]]
        assert [refused(served)[one.identity.uid].queue_position for one in asked[6:]] == [1, 2, 3]


async def test_a_claim_that_can_never_fit_does_not_hold_up_its_batch(database_url: str) -> None:
    """Claims behind one that asks for more than the whole pool are served at once."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        giant, small = claim(of, count=7), claim(of)
        served = await store.allocate(of, [giant, small])
        assert list(granted(served)) == [small.identity.uid]
        assert "has only 6 in all" in refused(served)[giant.identity.uid].message


async def test_least_recently_used_takes_fresh_space_before_used(database_url: str) -> None:
    """An LRU pool hands out never-used addresses first, then the one released longest ago."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", strategy=Strategy.LEAST_RECENTLY_USED)
        asked = await store.take(of, 5)
        await store.release(asked[3])
        await store.release(asked[1])
        assert texts(await store.allocate(of, claims(of, 3))) == ["10.0.0.6", "10.0.0.4", "10.0.0.2"]
        assert await store.untiled() == []


async def test_random_serves_every_address_once(database_url: str) -> None:
    """A Random pool hands out all of its addresses, whatever the dice say, and never one twice."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        of = await store.pool(parent, "10.0.0.1-10.0.0.3", "10.0.0.100-10.0.0.160", strategy=Strategy.RANDOM)
        served = await store.allocate(of, claims(of, 64))
        assert len(set(texts(served))) == 64
        await store.assert_tiled(parent, of)


@pytest.mark.parametrize("wanted", ["10.0.0.1", "10.0.0.4", "10.0.0.6"])
async def test_a_wish_is_served_wherever_it_lies(database_url: str, wanted: str) -> None:
    """A named free address at the start, middle or end of a free range is granted."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/29")
        of = await store.pool(parent)
        assert texts(await store.allocate(of, [claim(of, wanted=wanted)])) == [wanted]
        await store.assert_tiled(parent, of)


async def test_a_wish_goes_before_free_choice_of_the_same_batch(database_url: str) -> None:
    """Free choice leaves alone what the same batch names."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        free, named = claim(of), claim(of, wanted="10.0.0.1")
        served = granted(await store.allocate(of, [free, named]))
        assert [str(served[one.identity.uid][0]) for one in (free, named)] == ["10.0.0.2", "10.0.0.1"]


async def test_a_wish_for_a_held_address_names_the_holder_and_free_neighbours(database_url: str) -> None:
    """A conflict says who holds the address and which free addresses lie next to it."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        holder = claim(of, wanted="10.0.0.3", name="holder")
        await store.allocate(of, [holder])
        said = only(await store.allocate(of, [claim(of, wanted="10.0.0.3")]))
        assert said.reason is Reason.ADDRESS_CONFLICT
        assert said.message == "10.0.0.3 is held by IPClaim holder; free near it: 10.0.0.2, 10.0.0.4"


async def test_a_wish_for_a_cooling_address_says_how_long(database_url: str) -> None:
    """A wish for what cools waits, is told so, and is served once the address has cooled."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", cool_down=3600)
        await store.release(*(await store.take(of, 1)))
        wish = claim(of, wanted="10.0.0.1")
        served = await store.allocate(of, [wish])
        assert "10.0.0.1 was released and cools for another 3" in only(served).message
        assert 3500 < served.due[0].seconds <= 3600
        await store.cooled(of)
        assert granted(await store.serve(of)).keys() == {wish.identity.uid}


@pytest.mark.parametrize("wanted", ["10.0.0.0", "10.0.0.7", "10.0.0.5", "10.9.9.9", "2001:db8::1"])
async def test_a_wish_outside_of_the_pool_is_refused(database_url: str, wanted: str) -> None:
    """Network, broadcast, excluded and foreign addresses are refused as outside of the pool."""
    async with Store(database_url) as store:
        of = await store.pool(await store.network("10.0.0.0/29"), exclude=["10.0.0.5"])
        assert only(await store.allocate(of, [claim(of, wanted=wanted)])).reason is Reason.OUTSIDE_POOL


async def test_exhaustion_names_size_and_largest_free_block(database_url: str) -> None:
    """An exhausted pool says how large it is, how much is free and the largest aligned free block."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        await store.take(of, 1, count=8)
        said = only(await store.allocate(of, claims(of, 1, count=250)))
        assert said.reason is Reason.POOL_EXHAUSTED
        assert said.message == (
            f"250 addresses asked; pool {of.identity.ref.name} has 254 addresses, 246 free, "
            "largest free block 10.0.0.64/26; the claim waits for more"
        )


async def test_more_than_the_whole_pool_says_so(database_url: str) -> None:
    """A claim that no release could ever satisfy is told the pool's size."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        assert "has only 6 in all" in only(await store.allocate(of, claims(of, 1, count=7))).message


async def test_a_paused_pool_gives_nothing_but_remembers_who_asked(database_url: str) -> None:
    """Claims of a paused pool wait, known ones keep what they hold."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        (old,) = await store.take(of, 1)
        await store.change(of, paused=True)
        (new,) = claims(of, 1)
        served = await store.allocate(of, [old, new])
        assert list(granted(served)) == [old.identity.uid]
        assert refused(served)[new.identity.uid].reason is Reason.POOL_PAUSED
        await store.change(of, paused=False)
        assert list(granted(await store.serve(of))) == [new.identity.uid]


async def test_a_deleted_claim_is_not_served_any_more(database_url: str) -> None:
    """A late request of a deleted claim takes no address for nobody."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        (gone, other) = claims(of, 2)
        await store.release(gone)
        served = await store.allocate(of, [gone, other])
        assert Vanished(gone.identity) in served.outcomes
        assert list(granted(served)) == [other.identity.uid]


async def test_details_are_remembered_and_renewed(database_url: str) -> None:
    """What people search by is stored with the first request and follows later ones."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        asked = claim(of, detail=ClaimDetail("web-1", "rack 4", "first"))
        await store.allocate(of, [asked, claim(of)])
        renewed = claim(of, detail=ClaimDetail("web-2", "rack 5", "later"), uid=asked.identity.uid)
        await store.allocate(of, [renewed])
        rows = await store.sql("select claim_uid, hostname, assigned_to, description from ipam.claim_detail")
        assert [tuple(row) for row in rows] == [(asked.identity.uid, "web-2", "rack 5", "later")]


async def test_one_bad_claim_blocks_nobody(database_url: str) -> None:
    """A claim that the database refuses is left out; the rest of its batch is served."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        asked = claims(of, 5)
        bad = claim(of, count=0)
        await store.change(of, paused=True)
        served = await store.allocate(of, [*asked[:2], bad, *asked[2:]])
        assert refused(served).keys() == {one.identity.uid for one in asked}


async def test_a_pool_of_one_address(database_url: str) -> None:
    """The only address of a /32 is granted once."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.7/32")
        served = await store.allocate(of, claims(of, 2))
        assert texts(served) == ["10.0.0.7"]
        assert only(served).reason is Reason.POOL_EXHAUSTED


async def test_a_large_claim_is_served(database_url: str) -> None:
    """One claim may take thousands of addresses, over range boundaries."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/16")
        of = await store.pool(parent, "10.0.0.0/20", "10.0.64.0/20")
        (asked,) = await store.take(of, 1, count=5000)
        held = (await store.held())[asked.identity.uid]
        assert (len(set(held)), str(held[0]), str(held[-1])) == (5000, "10.0.0.1", "10.0.67.136")
        await store.assert_tiled(parent, of)


async def test_large_claims_that_waited_are_served_together(database_url: str) -> None:
    """One statement serves all waiting claims that fit, whatever their counts are."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/16", paused=True)
        asked = claims(of, 10, count=1024)
        await store.allocate(of, asked)
        await store.change(of, paused=False)
        served = granted(await store.serve(of))
        assert [len(served[one.identity.uid]) for one in asked] == [1024] * 10


async def test_serving_is_bounded(database_url: str) -> None:
    """One statement serves at most its limit of waiting claims, the next one goes on."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/16", paused=True)
        asked = claims(of, SERVE_LIMIT + 1)
        await store.allocate(of, asked)
        await store.change(of, paused=False)
        assert list(granted(await store.serve(of))) == [one.identity.uid for one in asked[:SERVE_LIMIT]]
        assert list(granted(await store.serve(of))) == [asked[-1].identity.uid]


async def test_the_ledger_refuses_what_no_pool_has(database_url: str) -> None:
    """Whoever writes: a lease outside of its pool's effective ranges is refused by the database."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        with pytest.raises(asyncpg.CheckViolationError, match="outside the effective ranges"):
            await store.sql(
                "insert into ipam.lease (pool_id, addr, claim_uid, ordinal, generation, namespace, name, actor) "
                "select id, '10.0.0.9', gen_random_uuid(), 0, 1, 'n', 'c', 'a' from ipam.pool where uid = $1",
                of.identity.uid,
            )

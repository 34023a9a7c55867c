"""Claims whose spec was changed under their lease, which a rule of the CRD refuses where it is on."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ipam_operator.domain.model import ClaimDetail, ClaimRequest, Prefixes, Term
from ipam_operator.domain.outcome import Reason
from tests.support.store import Store, claim, granted, network, only, pool, selector, texts


def edited(one: ClaimRequest, **changes: Any) -> ClaimRequest:
    """The claim with its next spec."""
    return replace(one, identity=replace(one.identity, generation=one.identity.generation + 1), edited=True, **changes)


async def test_what_it_asks_for_is_what_it_holds(database_url: str) -> None:
    """More or fewer, another one, another pool: what it had ends, what it asks for begins, in one step."""
    async with Store(database_url) as store:
        of, other = await store.pool("10.0.0.0/24", cool_down=60), await store.pool("10.0.1.0/24")
        one = claim(of)
        assert texts(await store.ask(one)) == ["10.0.0.1"]
        one = edited(one)
        assert texts(await store.ask(one)) == ["10.0.0.1"], "nothing that matters was edited"
        one = edited(one, count=3)
        assert texts(await store.ask(one)) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
        one = edited(one, count=1, wanted=(await store.held())[one.identity.uid][1])
        assert texts(await store.ask(one)) == ["10.0.0.2"]
        one = edited(one, pool=other.identity.ref, wanted=None)
        assert texts(await store.ask(one)) == ["10.0.1.1"]
        assert texts(await store.ask(one)) == ["10.0.1.1"]
        assert (await store.count(of)).allocated == 0
        await store.assert_tiled()
        await store.assert_history_is_ledger()


@pytest.mark.parametrize("place", ["by name", "by selector", "prefixes"])
async def test_who_asks_for_fewer_keeps_the_others(database_url: str, place: str) -> None:
    """In a full pool, past those who wait: what is too much cools and feeds the queue, the rest is as it was."""
    async with Store(database_url) as store:
        prefixes = Prefixes((28,), 28) if place == "prefixes" else None
        cidr, length = ("10.0.0.0/24", 28) if prefixes else ("10.0.0.0/28", None)
        of = await store.pool(cidr, kind="Loopback", cool_down=60, prefixes=prefixes, labels={"tier": "front"})
        where = selector(labels={"tier": "front"}) if place == "by selector" else of
        term = Term(timedelta(hours=1))
        one, rest, next_ = (claim(where, count=count, length=length, term=term) for count in (5, 11, 3))
        before = granted(await store.ask(one))[one.identity.uid]
        await store.ask(rest)
        assert only(await store.ask(next_)).reason is Reason.POOL_EXHAUSTED
        end = await store.value("select expires_at from ipam.term where claim_uid = $1", one.identity.uid)
        fewer = edited(one, count=2)
        served = await store.ask(fewer)
        assert granted(served)[one.identity.uid] == before[:2]
        assert [str(addr) for addr in (await store.held())[one.identity.uid]] == [str(addr) for addr in before[:2]]
        assert await store.value("select expires_at from ipam.term where claim_uid = $1", one.identity.uid) == end
        rows = await store.sql(
            "select addr, reason, actor from ipam.history where claim_uid = $1 and action = 'R' order by addr",
            one.identity.uid,
        )
        assert [(str(row["addr"]), row["reason"]) for row in rows] == [(str(addr), "Edited") for addr in before[2:]]
        await store.cooled(of)
        assert granted(await store.serve(of)).keys() == {next_.identity.uid}
        assert granted(await store.ask(fewer))[one.identity.uid] == before[:2]
        await store.assert_tiled()
        await store.assert_history_is_ledger()


async def test_of_another_kind(database_url: str) -> None:
    """A prefix of another length, or of another family, or of both."""
    async with Store(database_url) as store:
        net = await store.network("10.0.0.0/16")
        of = await store.pool(net, "10.0.1.0/24", prefixes=Prefixes((26, 28), 28))
        one = claim(of, length=26)
        await store.ask(one)
        assert texts(await store.ask(edited(one, length=28))) == ["10.0.1.0/28"]
        for cidr in ("10.1.0.0/24", "2001:db8::/64"):
            await store.pool(cidr, labels={"tier": "front"})
        four, both = (selector(labels={"tier": "front"}, **which) for which in ({"family": 4}, {"dual": True}))
        other = claim(four)
        assert texts(await store.ask(other)) == ["10.1.0.1"]
        other = edited(other, selector=both, pool=both.place)
        assert texts(await store.ask(other)) == ["10.1.0.1", "2001:db8::1"]
        assert texts(await store.ask(edited(other, selector=four, pool=four.place))) == ["10.1.0.1"]
        await store.assert_history_is_ledger()


async def test_of_two_families_or_one(database_url: str) -> None:
    """As many addresses, and yet not what is asked for."""
    async with Store(database_url) as store:
        for cidr in ("10.0.0.0/24", "2001:db8::/64"):
            await store.pool(cidr)
        four, both = selector(family=4), selector(dual=True)
        one = claim(four, count=2)
        await store.ask(one)
        one = edited(one, selector=both, pool=both.place, count=1)
        assert texts(await store.ask(one)) == ["10.0.0.1", "2001:db8::1"]
        assert texts(await store.ask(edited(one, selector=four, pool=four.place, count=2))) == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize("count", [1, 2])
async def test_of_two_families_nothing_ends_that_is_asked_for(database_url: str, count: int) -> None:
    """Twice as many addresses as the claim's count are what it asks for."""
    async with Store(database_url) as store:
        for cidr in ("10.0.0.0/24", "2001:db8::/64"):
            await store.pool(cidr)
        both = selector(dual=True)
        one = claim(both, count=count)
        await store.ask(one)
        before = await store.held()
        assert texts(await store.ask(edited(one, detail=ClaimDetail(description="another")))) == [
            str(address) for address in before[one.identity.uid]
        ]
        assert await store.held() == before
        assert await store.sql("select * from ipam.history where action = 'R'") == []


async def test_a_place_that_is_not_there(database_url: str) -> None:
    """A pool that is yet to come, or another network: nothing of the old place is held meanwhile."""
    async with Store(database_url) as store:
        net = await store.network("10.0.0.0/24")
        of = await store.pool(net)
        one, other = claim(of), claim(selector(network=net.identity.ref.name))
        await store.ask(one)
        await store.ask(other)
        said = only(await store.ask(edited(one, pool=pool(network("10.1.0.0/24")).identity.ref)))
        assert (said.reason, said.ended) == (Reason.POOL_NOT_FOUND, True)
        elsewhere = selector(network="elsewhere")
        said = only(await store.ask(edited(other, selector=elsewhere, pool=elsewhere.place)))
        assert (said.reason, said.ended) == (Reason.POOL_NOT_FOUND, True)
        assert await store.held() == {}


async def test_nothing_ends_without_an_edit(database_url: str) -> None:
    """What the store has and the spec has not, a repair must find; only an edit ends a lease."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        one = claim(of, count=2)
        await store.ask(one)
        assert texts(await store.ask(replace(one, count=1))) == ["10.0.0.1", "10.0.0.2"]


async def test_pools_may_change_their_labels(database_url: str) -> None:
    """A claim that is edited keeps its address though its selector means another pool by now."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", labels={"tier": "front"})
        await store.pool("10.0.1.0/24", labels={"tier": "front"}, priority=9)
        meant = selector(labels={"tier": "front"})
        await store.change(of, labels={"tier": "front"}, priority=20)
        one = claim(meant)
        assert texts(await store.ask(one)) == ["10.0.0.1"]
        await store.change(of, labels={})
        assert texts(await store.ask(edited(one))) == ["10.0.0.1"]


async def test_it_waits_without_what_it_does_not_ask_for(database_url: str) -> None:
    """Where the new place is full it holds nothing, and others may have what it had."""
    async with Store(database_url) as store:
        of, full = await store.pool("10.0.0.0/24"), await store.pool("10.0.1.0/30")
        await store.take(full, 2)
        one = claim(of)
        await store.ask(one)
        moved = edited(one, pool=full.identity.ref)
        assert only(await store.ask(moved)).reason is Reason.POOL_EXHAUSTED
        assert one.identity.uid not in await store.held()
        assert granted(await store.ask(claim(of)))

"""Addresses that are kept for whoever had them, although the claim is gone."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest

from ipam_operator.domain.model import ClaimDetail, Release, Strategy
from ipam_operator.domain.outcome import Accepted, Granted, Reason, Refused, Removed
from tests.support.store import Store, claim, claims, granted, only, refused, selector, spans, texts


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_nobody_else_gets_what_is_kept(database_url: str, strategy: Strategy) -> None:
    """By free choice or by name, in a full pool; its own identity does, in its turn."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", strategy=strategy)
        kept = claim(of, name="web-0", retain=True)
        (address,) = texts(await store.ask(kept))
        await store.release(kept)
        others = claims(of, 6)
        assert len(granted(await store.ask(*others))) == 5
        refusal = only(await store.ask(claim(of, wanted=address)))
        assert refusal.reason is Reason.ADDRESS_CONFLICT
        assert f"{address} is kept for a claim that is gone" in refusal.message
        counted = await store.count(of)
        assert (counted.retained, counted.cooling, counted.free, counted.waiting) == (1, 1, 0, 2)
        await store.release(*others)
        again = claim(of, name="web-0")
        assert texts(await store.ask(again)) == [address]
        assert (await store.count(of)).retained == 0
        await store.assert_history_is_ledger()
        assert await store.untiled() == []


@pytest.mark.parametrize("how", ["name", "key", "mac", "address", "selector"])
async def test_it_comes_back_to_its_identity(database_url: str, how: str) -> None:
    """Known by its name, its stickyKey or its MAC address; also where the claim names the address, or a selector."""
    facts: dict[str, Any] = {"key": {"key": "web/0"}, "mac": {"mac": "02:00:5e:10:00:09"}}.get(how, {"name": "web-0"})
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", labels={"a": "b"})
        kept = claim(of, retain=True, **facts)
        addresses = granted(await store.ask(kept))[kept.identity.uid]
        await store.release(kept)
        await store.ask(*claims(of, 5))
        wanted = str(addresses[0]) if how == "address" else None
        again = claim(selector(labels={"a": "b"}) if how == "selector" else of, wanted=wanted, **facts)
        assert granted(await store.ask(again)) == {again.identity.uid: addresses}


async def test_until_its_time_is_over(database_url: str) -> None:
    """Then it is free like any other."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", cool_down=3600)
        kept = claim(of, retain=True)
        await store.ask(kept)
        await store.release(kept)
        days = await store.value("select extract(epoch from reusable_at - now()) / 86400 from ipam.lease")
        assert 29.9 < float(days) <= 30
        await store.cooled(of)
        assert (await store.count(of)).retained == 0
        assert await store.sweep(of) == 1
        assert len(granted(await store.ask(*claims(of, 6)))) == 6


async def test_what_the_last_spec_says_counts(database_url: str) -> None:
    """Also when it was never answered; an orphan's is what was answered last."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        plain, turned, edited, orphan = claim(of), *(claim(of, retain=True) for _ in range(3))
        await store.ask(plain, turned, edited, orphan)
        await store.ask(replace(edited, identity=replace(edited.identity, generation=2), detail=ClaimDetail()))
        for one, retain in ((plain, True), (turned, False)):
            await store.claims.release([(Release(one.identity.uid, retain=retain), of.identity.ref)])
        await store.release(edited)
        assert [one.claim for one in await store.claims.retained()] == [plain.identity.ref.name]
        epoch = await store.ownership.lead("me", 60)
        assert epoch is not None
        found = await store.audit.compare({}, settled_seconds=0)
        await store.ownership.release_orphans(epoch, found, "resync", timedelta(days=7))
        kept = await store.claims.retained()
        assert {one.claim for one in kept} == {plain.identity.ref.name, orphan.identity.ref.name}


async def test_an_expired_lease_is_not_kept(database_url: str) -> None:
    """Its claim is there still, and could be renewed."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28", default_lease=timedelta(hours=1))
        over = claim(of, retain=True)
        await store.ask(over)
        await store.lapse(over)
        await store.expire()
        assert await store.claims.retained() == []


async def test_a_pool_is_not_made_smaller_than_what_it_keeps(database_url: str) -> None:
    """Its owner is told, and can let go."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        kept = claim(of, name="web-0", retain=True)
        (address,) = texts(await store.ask(kept))
        await store.release(kept)
        smaller = await store.change(of, exclude=spans([address]))
        assert isinstance(smaller, Refused)
        assert smaller.reason is Reason.SHRINK_REFUSED
        await store.claims.end_retention(of.identity.ref, ip_address(address), actor="boss")
        assert isinstance(await store.change(of, exclude=spans([address])), Accepted)


@pytest.mark.parametrize("before", ["deleted", "never seen to go"])
async def test_a_pool_made_anew_goes_on_with_what_it_kept(database_url: str, before: str) -> None:
    """Deletion is not held up, and whoever comes first to the new pool gets nothing that is kept for others."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/28")
        of = await store.pool(parent, name="hosts")
        kept, outside = claim(of, name="web-0", retain=True), claim(of, name="web-1", retain=True, wanted="10.0.0.9")
        await store.ask(kept, outside)
        await store.release(kept, outside)
        if before == "deleted":
            assert await store.retire(of) == Removed(of.identity)
            assert [str(one.address) for one in await store.claims.retained()] == ["10.0.0.1", "10.0.0.9"]
        again = await store.pool(parent, "10.0.0.1-10.0.0.7", name="hosts")
        assert (await store.count(again)).retained == 1
        assert texts(await store.ask(claim(again))) == ["10.0.0.2"]
        assert texts(await store.ask(claim(again, name="web-0"))) == ["10.0.0.1"]
        assert [one.claim for one in await store.claims.retained()] == ["web-1"]
        await store.claims.end_retention(again.identity.ref, ip_address("10.0.0.9"), actor="boss")
        assert await store.claims.retained() == []
        assert await store.untiled() == []
        await store.assert_history_is_ledger()


async def test_by_hand(database_url: str) -> None:
    """What is kept is listed, by namespace or all; let go it cools like any other, and history says who did it."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28", cool_down=3600)
        kept = [claim(of, key=f"k{number}", retain=True) for number in range(3)]
        await store.ask(*kept)
        await store.release(*kept)
        listed = await store.claims.retained("team")
        assert [(one.key, str(one.address), one.pool) for one in listed] == [
            (f"k{number}", f"10.0.0.{number + 1}", of.identity.ref) for number in range(3)
        ]
        assert await store.claims.retained("other") == []
        freed = await store.claims.end_retention(of.identity.ref, ip_address("10.0.0.2"), actor="boss")
        assert (freed and freed.name) == "k1"
        for address in ("10.0.0.2", "10.0.0.9"):
            assert await store.claims.end_retention(of.identity.ref, ip_address(address), actor="boss") is None
        assert len(await store.claims.retained()) == 2
        assert (await store.count(of)).cooling == 3
        assert await store.value("select actor from ipam.history where action = 'F'") == "boss"
        await store.assert_history_is_ledger()


async def test_no_more_than_the_quota(database_url: str) -> None:
    """What is kept counts in no quota, but in a pool that has one a namespace keeps no more than that."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28", quota=3)
        for _ in range(3):
            batch = [claim(of, retain=True) for _ in range(2)]
            assert len(granted(await store.ask(*batch))) == 2
            await store.release(*batch)
        assert len(await store.claims.retained()) == 3
        assert len(refused(await store.ask(*claims(of, 4)))) == 1


async def test_memory_lasts_as_long_as_what_is_kept(database_url: str) -> None:
    """Housekeeping forgets what claims had long ago, but not what is kept for them."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        kept, plain = claim(of, name="kept", count=2, retain=True), claim(of, name="plain")
        had = granted(await store.ask(kept, plain))[kept.identity.uid]
        await store.release(kept, plain)
        await store.sql("update ipam.memory set at = now() - interval '90 days'")
        await store.ownership.tidy(timedelta(days=30))
        assert await store.value("select array_agg(distinct key) from ipam.memory") == ["kept"]
        again = claim(of, name="kept", count=2)
        assert granted(await store.ask(again)) == {again.identity.uid: had}


async def test_several_of_one_key_have_all_of_it_again(database_url: str) -> None:
    """Two live claims shared a key, and both went: whoever comes with it gets what is kept, one after the other."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        first, second = (claim(of, key="x", retain=True) for _ in range(2))
        had = set(texts(await store.ask(first, second)))
        await store.release(second)
        await store.release(first)
        await store.ask(*claims(of, 3))
        again = [texts(await store.ask(claim(of, key="x")))[0] for _ in range(2)]
        assert set(again) == had
        both = claim(of, name="y", count=2, retain=True)
        kept = granted(await store.ask(both))[both.identity.uid]
        await store.release(both)
        three = claim(of, name="y", count=3)
        assert set(kept) < set(granted(await store.ask(three))[three.identity.uid])


@pytest.mark.parametrize("quota", [None, 9])
async def test_who_comes_back_takes_nothing_from_those_who_wait(database_url: str, quota: int | None) -> None:
    """In a full pool with a queue its own address is for nobody else; what is free goes to the queue all the same."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", quota=quota)
        kept = claim(of, name="web-0", retain=True)
        addresses = granted(await store.ask(kept))[kept.identity.uid]
        await store.release(kept)
        held = await store.take(of, 5)
        waiting = claim(of)
        assert only(await store.ask(waiting)).reason is Reason.POOL_EXHAUSTED
        again = claim(of, name="web-0")
        assert granted(await store.ask(again)) == {again.identity.uid: addresses}
        await store.release(again, held[0])
        both = [claim(of, name="web-0"), claim(of, name="web-0")]
        await store.ask(*both)
        served = await store.serve(of)
        assert refused(served) == {}
        assert waiting.identity.uid in await store.held()
        await store.assert_history_is_ledger()


async def test_by_selector_it_comes_back_past_a_better_pool(database_url: str) -> None:
    """Also where somebody waits who does not fit: its own address is better than one of the best pool."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", labels={"a": "b"}, priority=1)
        best = await store.pool("10.1.0.0/29", labels={"a": "b"}, priority=9)
        kept = claim(of, name="web-0", retain=True)
        addresses = granted(await store.ask(kept))[kept.identity.uid]
        await store.release(kept)
        await store.take(of, 3)
        await store.take(best, 5)
        meaning = selector(labels={"a": "b"})
        await store.ask(claim(meaning, count=3))
        again = claim(meaning, name="web-0")
        served = await store.ask(again)
        assert granted(served) == {again.identity.uid: addresses}
        assert [one.pool for one in served.outcomes if isinstance(one, Granted)] == [of.identity.ref]


async def test_in_an_lru_pool_what_is_over_counts_no_more(database_url: str) -> None:
    """Its rows stay in the ledger for their age; they are neither kept nor in the way of what is."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28", strategy=Strategy.LEAST_RECENTLY_USED, quota=2)
        over = [claim(of, retain=True) for _ in range(2)]
        await store.ask(*over)
        await store.release(*over)
        await store.cooled(of)
        kept = claim(of, name="web-0", retain=True)
        await store.ask(kept)
        await store.release(kept)
        assert [one.claim for one in await store.claims.retained()] == ["web-0"]
        await store.sql("update ipam.memory set at = now() - interval '90 days'")
        await store.ownership.tidy(timedelta(days=30))
        assert await store.value("select array_agg(key) from ipam.memory") == ["web-0"]


async def test_all_come_back_though_there_is_a_quota(database_url: str) -> None:
    """One at a time, because each takes of its namespace's room, and at once: nobody waits for what is kept for it."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", quota=6)
        kept = [claim(of, name=f"k{k}", retain=True) for k in range(3)]
        await store.allocate(of, kept)
        await store.release(*kept)
        await store.take(of, 3)
        await store.change(of, paused=True)
        again = [claim(of, name=f"k{k}", retain=True) for k in range(3)]
        await store.allocate(of, again)
        await store.change(of, paused=False)
        served = await store.serve(of)
        while served.due and min(due.seconds for due in served.due) <= 0:
            served = await store.serve(of)
        assert {one.identity.uid for one in again} <= set(await store.held())

"""Reservations: held for a while, then confirmed by the claim itself or taken over by another one."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ipam_operator.domain.findings import FindingType
from ipam_operator.domain.model import ClaimRequest, Consent, Promise, Term
from ipam_operator.domain.outcome import Granted, Reason
from tests.support.store import Store, claim, claims, granted, network, only, pool, refused, selector, texts

HOUR = timedelta(hours=1)
RESERVE = Term(HOUR, reserved=True)


def edited(one: ClaimRequest, **facts: Any) -> ClaimRequest:
    """The claim in its next generation."""
    return replace(one, identity=replace(one.identity, generation=one.identity.generation + 1), **facts)


def taker(of: Any, reserving: ClaimRequest, **facts: Any) -> ClaimRequest:
    """A claim that names the reservation."""
    return replace(claim(of, **facts), reservation=reserving.identity.ref.name)


async def until(store: Store, one: ClaimRequest) -> float | None:
    """Minutes that the claim holds from now."""
    found = await store.sql(
        "select extract(epoch from expires_at - now()) / 60 left_over from ipam.term where claim_uid = $1",
        one.identity.uid,
    )
    return round(float(found[0]["left_over"])) if found and found[0]["left_over"] is not None else None


@pytest.mark.parametrize(
    ("lease", "default", "holds"),
    [(None, None, None), (24 * HOUR, None, 1440), (None, 2 * HOUR, 120)],
)
async def test_a_claim_confirms_its_own(
    database_url: str, lease: timedelta | None, default: timedelta | None, holds: int | None
) -> None:
    """It keeps its addresses; its own lease, the pool's, or none begins when it says so."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", default_lease=default)
        asked = claim(of, count=2, term=RESERVE)
        (said,) = (await store.ask(asked)).outcomes
        assert isinstance(said, Granted)
        assert said.reserved
        assert said.expires_at is not None
        assert await until(store, asked) == 60
        half = "interval '30 minutes'"
        await store.sql(f"update ipam.term set since = since - {half}, expires_at = expires_at - {half}")
        confirmed = edited(asked, term=Term(lease))
        (kept,) = (await store.ask(confirmed)).outcomes
        assert isinstance(kept, Granted)
        assert (kept.reserved, kept.addresses) == (False, said.addresses)
        assert await until(store, asked) == holds
        (same,) = (await store.ask(confirmed)).outcomes
        assert same == kept


async def test_what_is_not_confirmed_comes_back(database_url: str) -> None:
    """When its time is over, or when the claim is deleted, others get it; a late confirmation asks anew."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/30")
        late, cancelled = claim(of, term=RESERVE), claim(of, term=RESERVE)
        await store.ask(late, cancelled)
        first, second = claims(of, 2)
        assert len(refused(await store.ask(first, second))) == 2
        await store.release(cancelled)
        assert list(granted(await store.serve(of))) == [first.identity.uid]
        await store.lapse(late)
        assert only(await store.expire()).reason is Reason.EXPIRED_ALLOCATION
        assert list(granted(await store.serve(of))) == [second.identity.uid]
        assert only(await store.ask(edited(late, term=Term()))).reason is Reason.POOL_EXHAUSTED
        await store.release(first)
        assert list(granted(await store.serve(of))) == [late.identity.uid]
        assert await until(store, late) is None


@pytest.mark.parametrize("how", ["by name", "by selector", "waiting"])
async def test_another_takes_it_over(database_url: str, how: str) -> None:
    """The same addresses, in a full pool, past its queue; the first one is told who has them now, and holds nothing."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/30", labels={"a": "b"}, quota=2)
        reserving = claim(of, count=2, term=RESERVE)
        addresses = granted(await store.ask(reserving))[reserving.identity.uid]
        assert len(refused(await store.ask(*claims(of, 3)))) == 3
        place = selector(labels={"a": "b"}) if how == "by selector" else of
        taking = taker(place, reserving, count=2, term=Term(timedelta(days=1)))
        if how == "waiting":
            assert only(await store.ask(replace(taking, reservation=""))).reason is Reason.QUOTA_EXCEEDED
            taking = edited(taking)
        served = await store.ask(taking)
        assert granted(served) == {taking.identity.uid: addresses}
        told = only(served)
        assert (told.subject.uid, told.reason) == (reserving.identity.uid, Reason.EXPIRED_ALLOCATION)
        assert f"IPClaim {taking.identity.ref.name} has taken" in told.message
        assert await until(store, taking) == 1440
        assert only(await store.ask(reserving)).message == told.message
        assert granted(await store.ask(taking)) == {taking.identity.uid: addresses}, "asked again"
        assert await store.held() == {taking.identity.uid: list(addresses)}
        assert await store.value("select held from ipam.held_by") == 2
        await store.release(reserving)
        assert await store.held() == {taking.identity.uid: list(addresses)}
        assert await store.untiled() == []
        await store.assert_history_is_ledger()


async def test_what_cannot_be_taken_over(database_url: str) -> None:
    """Nothing there, somebody's own, another namespace's, another pool's or another number: said, and nothing moves."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28", allowed=Consent("All"))
        other = await store.pool("10.1.0.0/28")
        reserving, own = claim(of, term=RESERVE), claim(of)
        before = granted(await store.ask(reserving, own))
        cases = [
            (taker(of, claim(of)), "has reserved addresses now"),
            (taker(of, own), "has reserved addresses now"),
            (taker(of, reserving, namespace="guest"), "has reserved addresses now"),
            (taker(of, reserving, count=2), "2 addresses asked; IPClaim"),
            (taker(other, reserving), "of another pool"),
        ]
        for asked, words in cases:
            refusal = only(await store.ask(asked))
            assert refusal.reason is Reason.RESERVATION_NOT_FOUND
            assert words in refusal.message
        assert {uid: tuple(found) for uid, found in (await store.held()).items()} == before
        assert await store.value("select count(*) from ipam.waiting") == 0
        mixed = [claim(of), taker(of, own), claim(of)]
        served = await store.ask(*mixed)
        assert granted(served).keys() == {mixed[0].identity.uid, mixed[2].identity.uid}


async def test_of_two_one_takes_it(database_url: str) -> None:
    """At once, from two connections and while it ends: the address has one holder, or is free."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        for number in range(15):
            reserving = claim(of, term=RESERVE)
            (address,) = texts(await store.ask(reserving))
            takers = [taker(of, reserving) for _ in range(2)]
            if number % 3 == 0:
                await store.lapse(reserving)
            said = await asyncio.gather(*(store.ask(one) for one in takers), store.expire())
            got = [text for one in said[:2] for text in texts(one)]
            assert got in ([address], []) if number % 3 == 0 else got == [address]
            assert await store.untiled() == []
        await store.assert_history_is_ledger()


async def test_mac_addresses_go_with_it(database_url: str) -> None:
    """The reservation's is free for others; the one who takes over has its own, or waits for it."""
    mac, other = "02:00:5e:10:00:01", "02:00:5e:10:00:02"
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        reserving, holder = claim(of, term=RESERVE, mac=mac), claim(of, mac=other)
        addresses = granted(await store.ask(reserving, holder))[reserving.identity.uid]
        waiting = claim(of, mac=mac)
        assert only(await store.ask(waiting)).reason is Reason.MAC_CONFLICT
        taking = taker(of, reserving, mac=other)
        served = await store.ask(taking)
        assert refused(served)[taking.identity.uid].reason is Reason.MAC_CONFLICT
        assert (await store.held())[taking.identity.uid] == list(addresses)
        assert of.identity.ref in {due.pool for due in served.due}
        assert list(granted(await store.serve(of))) == [waiting.identity.uid]
        await store.release(holder)
        assert [(one.claim.uid, one.mac) for one in (await store.serve(of)).outcomes if isinstance(one, Granted)] == [
            (taking.identity.uid, other)
        ]


async def test_a_restored_store_knows_that_it_reserves(database_url: str) -> None:
    """The end and the mode that a claim shows come back with it."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        reserving = claim(of, term=RESERVE)
        await store.ask(reserving)
        await store.sql("delete from ipam.term")
        until_then = datetime.now(UTC).replace(microsecond=0) + HOUR
        await store.claims.keep([Promise(reserving.identity.uid, 1, until_then, RESERVE)])
        assert len(granted(await store.ask(taker(of, reserving)))) == 1


async def test_a_reservation_may_come_later(database_url: str) -> None:
    """A claim that found none is one that the resync asks again, and then takes over."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        reserving = claim(of, term=RESERVE)
        early = taker(of, reserving)
        assert only(await store.ask(early)).reason is Reason.RESERVATION_NOT_FOUND
        found = await store.audit.compare({early.identity.uid: ""}, settled_seconds=0)
        assert [one.claim_uid for one in found if one.type is FindingType.UNKNOWN] == [early.identity.uid]
        await store.ask(reserving)
        assert granted(await store.ask(early)).keys() == {early.identity.uid}


async def test_no_pool_no_take_over(database_url: str) -> None:
    """Claims of pools that do not exist take nothing, several at once or beside one of the right pool."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        reserving = claim(of, term=RESERVE)
        await store.ask(reserving)
        ghosts = [taker(pool(network(f"10.9.{k}.0/24")), reserving) for k in range(4)]
        heir = taker(of, reserving)
        served = await asyncio.gather(*(store.ask(one) for one in (*ghosts, heir)))
        assert [uid for one in served for uid in granted(one)] == [heir.identity.uid]
        assert list(await store.held()) == [heir.identity.uid]


@pytest.mark.parametrize("facts", [{"paused": True}, {"allowed": Consent("Same")}])
async def test_a_pool_that_gives_nothing(database_url: str, facts: dict[str, Any]) -> None:
    """Paused, or without consent by now: nothing is handed over, and the reservation stays what it is."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", allowed=Consent("All"))
        reserving = claim(of, term=RESERVE, namespace="guest")
        await store.ask(reserving)
        await store.change(of, **facts)
        heir = taker(of, reserving, namespace="guest")
        assert granted(await store.ask(heir)) == {}
        assert list(await store.held()) == [reserving.identity.uid]
        await store.change(of, paused=False, allowed=Consent("All"))
        assert list(granted(await store.ask(heir))) == [heir.identity.uid]


@pytest.mark.parametrize("retain", [False, True])
async def test_the_heir_comes_again(database_url: str, *, retain: bool) -> None:
    """Re-created by Git, and renewed after its end, it has its address again, though nothing is reserved by then."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", cool_down=300)
        reserving = claim(of, term=RESERVE)
        await store.ask(reserving)
        heir = taker(of, reserving, name="heir", term=Term(24 * HOUR), retain=retain)
        assert texts(await store.ask(heir)) == ["10.0.0.1"]
        await store.release(heir)
        again = taker(of, reserving, name="heir", term=Term(24 * HOUR), retain=retain)
        assert texts(await store.ask(again)) == ["10.0.0.1"]
        await store.lapse(again)
        await store.expire()
        assert texts(await store.ask(edited(again, term=Term(24 * HOUR, datetime.now(UTC))))) == ["10.0.0.1"]
        assert only(await store.ask(taker(of, reserving, name="stranger"))).reason is Reason.RESERVATION_NOT_FOUND


async def test_who_names_a_reservation_waits_for_nothing_else(database_url: str) -> None:
    """A claim that waited leaves the queue with that edit, and those behind it are served."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        held = await store.take(of, 6)
        large, small = claim(of, count=4), claim(of)
        for one in (large, small):
            await store.ask(one)
        assert only(await store.ask(edited(large, reservation="nobody"))).reason is Reason.RESERVATION_NOT_FOUND
        assert await store.waiting(of) == [small.identity.uid]
        await store.release(*held[:4])
        assert list(granted(await store.serve(of))) == [small.identity.uid]


async def test_what_was_handed_over_does_not_come_back(database_url: str) -> None:
    """A status that was not written since shows an end still: nothing is revived, and a new mode gets others."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        reserving = claim(of, term=RESERVE)
        (said,) = (await store.ask(reserving)).outcomes
        assert isinstance(said, Granted)
        assert said.expires_at is not None
        heir = taker(of, reserving)
        await store.ask(heir)
        shown = {reserving.identity.uid: "10.0.0.1", heir.identity.uid: "10.0.0.1"}
        found = await store.audit.compare(shown, {reserving.identity.uid: said.expires_at}, settled_seconds=0)
        assert [one.type for one in found if one.claim_uid == reserving.identity.uid] == [FindingType.UNBACKED]
        await store.claims.keep([Promise(reserving.identity.uid, 1, said.expires_at, RESERVE)])
        assert only(await store.ask(reserving)).reason is Reason.EXPIRED_ALLOCATION
        assert texts(await store.ask(edited(reserving, term=Term()))) == ["10.0.0.2"], "as its message says"


async def test_a_live_claim_becomes_a_reservation(database_url: str) -> None:
    """For as long as it says, from now: what its lease was before does not end it."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        one = claim(of, term=Term(24 * HOUR))
        await store.ask(one)
        five = "since = since - interval '5 hours', expires_at = expires_at - interval '5 hours'"
        await store.sql(f"update ipam.term set {five}")
        await store.ask(edited(one, term=RESERVE))
        assert await until(store, one) == 60
        heir = taker(of, one)
        assert list(granted(await store.ask(heir))) == [heir.identity.uid]

"""History when transactions overlap: a transaction began before what it sees was made (ADR 7)."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, cast

from hack.places import ROOT
from ipam_operator.domain.model import ClaimDetail, Release, Term
from ipam_operator.store.database import Connection, Database
from ipam_operator.store.leases import Leases
from tests.support.store import Store, claim

TIMES = (
    "select h.name || ' ' || h.action::text said from ipam.history h"
    " order by h.at, h.generation, array_position('{A,C,R,F,K}', h.action::text)"
)


async def late(
    store: Store, meanwhile: Callable[[], Awaitable[object]], act: Callable[[Leases], Awaitable[object]]
) -> None:
    """Begin a transaction, let others do something `meanwhile`, then `act` in it."""

    async def work(connection: Connection) -> None:
        await meanwhile()
        await act(Leases(cast("Database", connection)))

    await store.database.transaction("late", work)


async def said(store: Store) -> list[str]:
    """Names and actions by the time that history gives them."""
    return [row["said"] for row in await store.sql(TIMES)]


async def test_a_release_is_not_before_its_grant(database_url: str) -> None:
    """Whoever waited with a release for the grant that it ends does not end it before it began; nor does cooling."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28", cool_down=60)
        held = claim(of, name="held")
        await late(
            store,
            lambda: store.ask(held),
            lambda leases: leases.release([held.pool], [Release(held.identity.uid, None, "tester")]),
        )
        assert await said(store) == ["held A", "held R"]
        (lease,) = await store.sql("select * from ipam.lease")
        assert lease["allocated_at"] == lease["released_at"] == lease["reusable_at"] - timedelta(minutes=1)
        assert await store.value("select max(at) from ipam.history") == lease["released_at"]
        await store.assert_history_is_ledger()


async def test_letting_go_is_not_before_the_release(database_url: str) -> None:
    """Nor does a retention end before it began."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28", cool_down=60)
        kept = claim(of, name="kept", key="k", retain=True)

        async def meanwhile() -> None:
            await store.ask(kept)
            await store.release(kept)

        await late(
            store, meanwhile, lambda leases: leases.end_retention(of.identity.ref, ip_address("10.0.0.1"), "boss")
        )
        assert await said(store) == ["kept A", "kept R", "kept F"]
        (lease,) = await store.sql("select * from ipam.lease")
        assert lease["released_at"] == lease["reusable_at"] - timedelta(minutes=1)
        await store.assert_history_is_ledger()


async def test_the_page_finds_who_had_it(database_url: str) -> None:
    """The statements of docs/operations/history.md, as whom the operator logs in."""
    page = (ROOT / "docs/operations/history.md").read_text()
    who_had, what_did = re.findall(r"^```sql\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        for name in ("first", "second"):
            one = replace(claim(of, name=name, wanted="10.0.0.10"), actor="alice")
            await store.ask(one)
            await store.release(one)
        (row,) = await store.sql(who_had)
        assert (row["action"], row["name"], row["reason"]) == (b"R", "second", "Deleted")
        assert [row["name"] for row in await store.sql(what_did)] == ["first", "second"]


async def test_a_takeover_is_not_before_its_reservation(database_url: str) -> None:
    """Who takes over holds from when the other let go, not before that began."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28", cool_down=60)
        reserving = claim(of, name="reserving", term=Term(timedelta(hours=1), reserved=True))
        taking = replace(claim(of, name="taking"), reservation="reserving")
        await late(store, lambda: store.ask(reserving), lambda leases: leases.allocate(of.identity.ref, [taking]))
        assert await said(store) == ["reserving A", "reserving R", "taking A"]
        assert await store.held() == {taking.identity.uid: [ip_address("10.0.0.1")]}
        await store.assert_history_is_ledger()


async def reasons(store: Store) -> list[str]:
    """What happened to which address, why, and by whom."""
    rows = await store.sql(
        "select host(addr) || ' ' || action::text || ' ' || coalesce(reason, '-') || ' ' || actor said"
        " from ipam.history order by at, generation, ordinal"
    )
    return [row["said"] for row in rows]


async def test_each_change_of_a_live_claim_and_why(database_url: str) -> None:
    """Edits and renewals are a row each, by whoever made them; asking again, and what was never granted, are none."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        one = claim(of, count=2, detail=ClaimDetail(hostname="web"), term=Term(timedelta(minutes=10)))

        async def edited(by: str, **changes: Any) -> None:
            nonlocal one
            one = replace(
                one, identity=replace(one.identity, generation=one.identity.generation + 1), actor=by, **changes
            )
            await store.ask(one)
            await store.ask(one)

        await store.ask(one)
        await edited("alice", detail=ClaimDetail(hostname="www"))
        await edited("bob", term=Term(timedelta(minutes=10), datetime(2026, 1, 1, tzinfo=UTC)))
        await edited("carol", term=Term(timedelta(minutes=20), datetime(2026, 1, 1, tzinfo=UTC)))
        await edited("dan")
        waiting = claim(of, wanted="10.0.0.1")
        await store.ask(waiting)
        await store.ask(
            replace(waiting, identity=replace(waiting.identity, generation=2), detail=ClaimDetail(priority=3))
        )
        await store.release(one)
        assert await reasons(store) == [
            "10.0.0.1 A - tester",
            "10.0.0.2 A - tester",
            "10.0.0.1 C Edited alice",
            "10.0.0.1 C Renewed bob",
            "10.0.0.1 C Edited carol",
            "10.0.0.1 R Deleted tester",
            "10.0.0.2 R Deleted tester",
        ]
        await store.assert_history_is_ledger()


async def test_why_what_was_held_has_ended(database_url: str) -> None:
    """A lease that is over, one that its claim does not ask for any more, one whose claim is gone, one kept."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", cool_down=60)
        over, other = claim(of, term=Term(timedelta(minutes=10))), claim(of)
        await store.allocate(of, [over, other])
        await store.lapse(over)
        await store.expire()
        await store.ask(replace(other, identity=replace(other.identity, generation=2), count=2, edited=True))
        await store.adopt(of, claim(of, name="again"), "10.0.0.9")
        kept = claim(of, retain=True, wanted="10.0.0.20")
        await store.ask(kept)
        await store.release(kept)
        await store.claims.end_retention(of.identity.ref, ip_address("10.0.0.20"), actor="carol")
        assert [" ".join(line.split()[:3]) for line in await reasons(store)] == [
            "10.0.0.1 A -",
            "10.0.0.2 A -",
            "10.0.0.1 R Expired",
            "10.0.0.2 R Replaced",
            "10.0.0.2 A -",
            "10.0.0.3 A -",
            "10.0.0.9 A Restored",
            "10.0.0.20 A -",
            "10.0.0.20 R Deleted",
            "10.0.0.20 F RetentionEnded",
        ]

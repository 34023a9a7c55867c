"""History when transactions overlap: a transaction began before what it sees was made (ADR 7)."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from typing import cast

from ipam_operator.domain.model import Release, Term
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

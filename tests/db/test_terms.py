"""Leases that end unless they are renewed."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ipam_operator.domain.model import ClaimRequest, Strategy, Term
from ipam_operator.domain.outcome import Granted, Reason
from ipam_operator.services.claims import EXPIRY_LIMIT
from tests.support.store import Store, claim, claims, granted, only, refused, texts

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def renewed(one: ClaimRequest, at: datetime) -> ClaimRequest:
    """The same claim after an edit of spec.renewedAt."""
    lease = one.term.lease if one.term else None
    identity = replace(one.identity, generation=one.identity.generation + 1)
    return replace(one, identity=identity, term=Term(lease, at))


async def ends(store: Store, *asked: ClaimRequest) -> list[timedelta | None]:
    """How long claims hold, counted from now by the database's clock, in minutes."""
    rows = await store.sql(
        "select claim_uid uid, date_trunc('minute', expires_at - now() + interval '30 s') left_over from ipam.term"
    )
    found = {row["uid"]: row["left_over"] for row in rows}
    return [found.get(one.identity.uid) for one in asked]


@pytest.mark.parametrize(
    ("default", "longest", "asked", "holds"),
    [
        (None, None, None, None),
        (None, DAY, None, None),
        (HOUR, None, None, HOUR),
        (HOUR, None, DAY, DAY),
        (HOUR, DAY, 2 * DAY, DAY),
        (2 * DAY, DAY, None, DAY),
        (None, None, DAY, DAY),
    ],
)
async def test_who_decides_how_long(
    database_url: str,
    default: timedelta | None,
    longest: timedelta | None,
    asked: timedelta | None,
    holds: timedelta | None,
) -> None:
    """The claim's lease, else the pool's; cut to the pool's longest; without either a claim never expires."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", default_lease=default, max_lease=longest)
        term = None if asked is None else Term(asked)
        single, double = claim(of, term=term), claim(of, term=term, count=2)
        for served in (await store.allocate(of, [single]), await store.allocate(of, [double, *claims(of, 1)])):
            one = served.outcomes[0]
            assert isinstance(one, Granted)
        assert await ends(store, single, double) == [holds, holds]
        for served in (await store.allocate(of, [single]), await store.allocate(of, [single, double])):
            one = served.outcomes[0]
            assert isinstance(one, Granted)
            assert (one.expires_at is None) is (holds is None)
            if one.expires_at is not None:
                assert one.expires_at - one.allocated_at == holds


async def test_those_who_wait_have_their_whole_lease(database_url: str) -> None:
    """The lease of a claim that had to wait begins when it gets its address."""
    async with Store(database_url) as store:
        of = await store.pool(await store.network("10.0.0.0/24"), "10.0.0.5")
        holder, waiter = claim(of), claim(of, term=Term(HOUR))
        await store.allocate(of, [holder])
        await store.allocate(of, [waiter])
        assert await ends(store, waiter) == [None]
        await store.release(holder)
        (served,) = (await store.serve(of)).outcomes
        assert isinstance(served, Granted)
        assert served.expires_at is not None
        assert await ends(store, waiter) == [HOUR]


async def test_an_expired_claim_is_told_and_its_address_cools(database_url: str) -> None:
    """What is over ends once; asking again changes nothing, and others get the address when it has cooled."""
    async with Store(database_url) as store:
        of = await store.pool(await store.network("10.0.0.0/24"), "10.0.0.5", cool_down=3600)
        mine = claim(of, term=Term(HOUR), count=1)
        await store.allocate(of, [mine])
        assert (await store.expire()).outcomes == ()
        await store.lapse(mine)
        told = only(await store.expire())
        assert (told.subject, told.reason) == (mine.identity, Reason.EXPIRED_ALLOCATION)
        assert "set spec.renewedAt to the present time" in told.message
        assert (await store.expire()).outcomes == ()
        assert only(await store.allocate(of, [mine])) == told
        assert (await store.count(of)).cooling == 1
        other = claim(of)
        assert only(await store.allocate(of, [other])).reason is Reason.POOL_EXHAUSTED
        await store.cooled(of)
        assert granted(await store.serve(of)).keys() == {other.identity.uid}
        assert await store.untiled() == []
        await store.assert_history_is_ledger()


async def test_a_renewal_begins_the_lease_anew(database_url: str) -> None:
    """Another renewedAt moves the end, the same does not; which clock it was read from does not matter."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        mine = claim(of, term=Term(DAY, NOON))
        first = await store.allocate(of, [mine])
        for at, left in ((NOON, HOUR), (NOON + HOUR, DAY), (NOON + HOUR, HOUR), (NOON - HOUR, DAY)):
            await store.sql(  # 23 hours pass
                "update ipam.term set since = since - interval '23 hours', expires_at = now() + interval '1 hour'"
                " where expires_at > now() + interval '1 hour'"
            )
            mine = renewed(mine, at)
            assert granted(await store.allocate(of, [mine])) == granted(first)
            assert await ends(store, mine) == [left], at


async def test_renewed_after_its_end_a_claim_has_its_address_again(database_url: str) -> None:
    """If it is still free the claim gets it back under a new number, even while it cools."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", cool_down=3600)
        mine = claim(of, term=Term(HOUR))
        (before,) = (await store.allocate(of, [mine])).outcomes
        await store.lapse(mine)
        await store.expire()
        (after,) = (await store.allocate(of, [renewed(mine, NOON)])).outcomes
        assert isinstance(before, Granted)
        assert isinstance(after, Granted)
        assert after.addresses == before.addresses
        assert after.lease_generation > before.lease_generation
        assert await ends(store, mine) == [HOUR]


async def test_a_late_renewal_revives_nobody_elses_lease(database_url: str) -> None:
    """When its address has another holder by then, the claim gets the next one and the holder keeps his."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        mine = claim(of, term=Term(HOUR))
        await store.allocate(of, [mine])
        await store.lapse(mine)
        await store.expire()
        other = claim(of)
        assert texts(await store.allocate(of, [other])) == ["10.0.0.1"]
        assert texts(await store.allocate(of, [renewed(mine, NOON)])) == ["10.0.0.2"]
        assert texts(await store.allocate(of, [other])) == ["10.0.0.1"]


async def test_a_changed_lease_moves_the_end_of_a_live_claim(database_url: str) -> None:
    """Longer, shorter, gone or new: the end follows the spec."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        mine = claim(of)
        await store.allocate(of, [mine])
        for lease in (DAY, HOUR, None, 2 * HOUR):
            identity = replace(mine.identity, generation=mine.identity.generation + 1)
            mine = replace(mine, identity=identity, term=Term(lease))
            assert texts(await store.allocate(of, [mine])) == ["10.0.0.1"]
            assert await ends(store, mine) == [lease]


async def test_a_stale_spec_changes_no_term(database_url: str) -> None:
    """An older generation of a claim that arrives late does not take its lease away."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        old = claim(of, term=Term(HOUR))
        new = replace(renewed(old, NOON), term=Term(DAY, NOON))
        await store.allocate(of, [new])
        await store.allocate(of, [old])
        assert await ends(store, new) == [DAY]


async def test_g3_only_the_databases_clock_counts(database_url: str) -> None:
    """Adversarial G3: a renewedAt of long ago or far ahead, as a wrong clock writes it, changes no lease."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        past, future = (claim(of, term=Term(HOUR, NOON.replace(year=year))) for year in (1990, 2190))
        await store.allocate(of, [past, future])
        assert await ends(store, past, future) == [HOUR, HOUR]
        assert (await store.expire()).outcomes == ()


async def test_an_edit_of_something_else_ends_nothing(database_url: str) -> None:
    """A pool's shorter default holds for what is granted later: an edited hostname makes no claim expire."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", default_lease=DAY)
        mine = claim(of)
        await store.allocate(of, [mine])
        await store.change(of, default_lease=HOUR)
        edited = replace(mine, identity=replace(mine.identity, generation=2), term=Term())
        await store.allocate(of, [edited])
        assert await ends(store, mine) == [DAY]


async def test_terms_know_no_daylight_saving(database_url: str) -> None:
    """All intervals are kept in seconds: a lease of a day has 24 hours, also where clocks are moved."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", default_lease=DAY, max_lease=2 * DAY, cool_down=86400)
        await store.allocate(of, [claim(of, term=Term(DAY))])
        days = "select extract(day from greatest(cool_down, default_lease, max_lease)) from ipam.pool"
        assert await store.value(days) == 0
        assert await store.value("select extract(day from lease) from ipam.term") == 0


async def test_deleted_claims_leave_no_term(database_url: str) -> None:
    """A deletion ends the term as well, before and after its end."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        live, over = claim(of, term=Term(HOUR)), claim(of, term=Term(HOUR))
        await store.allocate(of, [live, over])
        await store.lapse(over)
        await store.expire()
        await store.release(live, over)
        assert await store.sql("select from ipam.term") == []


async def test_g4_expiry_goes_in_bounded_steps(database_url: str) -> None:
    """Adversarial G4: however many leases are over, one statement ends a hundred, the longest due first."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/20", default_lease=HOUR)
        many = claims(of, 2 * EXPIRY_LIMIT + 50)
        await store.allocate(of, many)
        await store.sql("update ipam.term t set expires_at = now() - make_interval(secs => l.generation)"
                        " from ipam.lease l where l.claim_uid = t.claim_uid")  # fmt: skip
        steps = [list(refused(await store.expire())) for _ in range(4)]
        assert [len(step) for step in steps] == [EXPIRY_LIMIT, EXPIRY_LIMIT, 50, 0]
        order = [one.identity.uid for one in reversed(many)]
        assert [set(step) for step in steps[:2]] == [
            set(order[:EXPIRY_LIMIT]),
            set(order[EXPIRY_LIMIT : 2 * EXPIRY_LIMIT]),
        ]
        assert await store.untiled() == []


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_renewals_race_with_expiry(database_url: str, strategy: Strategy) -> None:
    """Whoever renews while leases are ended holds afterwards, the same address as before, and only once."""
    async with Store(database_url, connections=8) as store:
        of = await store.pool("10.0.0.0/24", strategy=strategy, cool_down=3600)
        mine = [claim(of, term=Term(HOUR)) for _ in range(60)]
        had = granted(await store.allocate(of, mine))
        await store.lapse(*mine)
        halves = [[renewed(one, NOON) for one in half] for half in (mine[:30], mine[30:])]
        await asyncio.gather(store.expire(), *(store.allocate(of, half) for half in halves), store.expire())
        got = granted(await store.allocate(of, [one for half in halves for one in half]))
        assert got == had
        assert await store.untiled() == []
        await store.assert_history_is_ledger()

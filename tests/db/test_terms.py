"""Leases that end unless they are renewed."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ipam_operator.domain.findings import FindingType
from ipam_operator.domain.model import ClaimRequest, PoolRequest, Promise, Strategy, Term
from ipam_operator.domain.outcome import Granted, Reason
from ipam_operator.services.claims import EXPIRY_LIMIT
from ipam_operator.store.migrate import migrate
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
        many = claims(of, 2 * EXPIRY_LIMIT + 10)
        await store.allocate(of, many)
        await store.sql("update ipam.term t set expires_at = now() - make_interval(secs => l.generation)"
                        " from ipam.lease l where l.claim_uid = t.claim_uid")  # fmt: skip
        steps = [list(refused(await store.expire())) for _ in range(4)]
        assert [len(step) for step in steps] == [EXPIRY_LIMIT, EXPIRY_LIMIT, 10, 0]
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


async def shown(store: Store, of: PoolRequest, one: ClaimRequest) -> Granted:
    """What the claim's status says: its end in whole seconds."""
    (found,) = (await store.allocate(of, [one])).outcomes
    assert isinstance(found, Granted)
    assert found.expires_at is not None
    return replace(found, expires_at=found.expires_at.replace(microsecond=0))


async def compared(store: Store, seen: Granted) -> set[FindingType]:
    """What a comparison with this claim's status finds."""
    uid = seen.claim.uid
    addresses = {uid: ",".join(map(str, seen.addresses))}
    ends = {} if seen.expires_at is None else {uid: seen.expires_at}
    return {one.type for one in await store.audit.compare(addresses, ends, settled_seconds=0)}


async def repair(store: Store, of: PoolRequest, asked: ClaimRequest, seen: Granted) -> Granted:
    """As the resync does: keep what is shown, then the claim's own path (adopted, then asked)."""
    assert seen.expires_at is not None
    await store.claims.keep([Promise(seen.claim.uid, seen.claim.generation, seen.expires_at, asked.term or Term())])
    await store.claims.adopt(of.identity.ref, [(asked, seen.addresses)])
    (found,) = (await store.allocate(of, [asked])).outcomes
    assert isinstance(found, Granted), found
    return found


OVER = "since = now() - interval '61 minutes', expires_at = now() - interval '1 minute', expired_at = null"
NOTHING = "since = null, expires_at = null"
FREED = (
    "update ipam.lease set released_at = now() - interval '9 minutes', reusable_at = now() - interval '8 minutes',"
    " act = 'R'"
)


@pytest.mark.parametrize(
    "restored",
    [
        f"update ipam.term set {OVER}, spec_generation = 1, lease = interval '1 hour', renewed_at = null",
        f"update ipam.term set {OVER}",
        f"update ipam.term set {OVER}, spec_generation = 1, lease = null, renewed_at = null",
        "update ipam.term set expires_at = null, spec_generation = 1, lease = null, renewed_at = null",
        f"update ipam.term set {NOTHING}, spec_generation = 1, renewed_at = null, expired_at = now(); {FREED}",
        f"update ipam.term set {NOTHING}, spec_generation = 1, renewed_at = null; {FREED}",
        "delete from ipam.term",
        f"delete from ipam.term; {FREED}",
        "delete from ipam.term; delete from ipam.lease; select ipam.rebuild_free_ranges(id) from ipam.pool",
    ],
    ids=[
        "not yet renewed", "same spec", "by the pool's default", "without a lease", "ended", "not yet granted",
        "no term", "neither term nor lease", "nothing at all",
    ],
)  # fmt: skip
@pytest.mark.parametrize("lease", [DAY, None], ids=["own lease", "pool's lease"])
async def test_a_restored_store_learns_what_claims_show(
    database_url: str, restored: str, lease: timedelta | None
) -> None:
    """Whatever it knows, a claim keeps address and end, to the second, though its pool's leases are shorter now."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", default_lease=DAY)
        first = claim(of, term=Term(HOUR))
        others = await store.take(of, 3)  # so that its address is not the pool's first
        await store.allocate(of, [first])
        await store.release(*others)
        mine = replace(renewed(first, NOON), term=Term(lease, NOON))
        seen = await shown(store, of, mine)
        await store.change(of, default_lease=HOUR, max_lease=HOUR)
        await store.script(f"begin; select from ipam.pool for update; {restored}; commit")
        assert FindingType.RENEWED in await compared(store, seen)
        found = await repair(store, of, mine, seen)
        assert (found.addresses, found.expires_at) == (seen.addresses, seen.expires_at)
        assert (await store.expire()).outcomes == ()
        assert not await compared(store, seen) & {FindingType.RENEWED, FindingType.UNBACKED, FindingType.DRIFT}
        edited = replace(mine, identity=replace(mine.identity, generation=3))
        again = await shown(store, of, edited)
        assert (again.addresses, again.expires_at) == (seen.addresses, seen.expires_at), "it was renewed once only"


async def test_what_is_kept_ends_when_its_claim_says(database_url: str) -> None:
    """A shown end that is over by now ends the lease, at that moment and not at the one that was restored."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        mine = claim(of, term=Term(DAY))
        await store.allocate(of, [mine])
        await store.lapse(mine)
        at = (await store.value("select expires_at from ipam.term")).replace(microsecond=0)
        await store.sql(
            "update ipam.term set since = since - interval '2 hours', expires_at = now() - interval '2 hours'"
        )
        await store.claims.keep([Promise(mine.identity.uid, 1, at, mine.term)])
        assert f"the lease ended at {at:%Y-%m-%dT%H:%M:%SZ}" in only(await store.expire()).message


async def test_an_unanswered_edit_is_no_part_of_what_is_kept(database_url: str) -> None:
    """Only the end is put back: what the spec asks for anew is a renewal still, and what it asked before is none."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        mine = claim(of, term=Term(HOUR, NOON))
        seen = await shown(store, of, mine)
        await store.lapse(mine)
        assert seen.expires_at is not None
        await store.claims.keep([Promise(mine.identity.uid, 1, seen.expires_at)])
        assert await store.value("select expires_at from ipam.term") == seen.expires_at
        mine = renewed(mine, NOON)  # an edit of something else
        assert (await shown(store, of, mine)).expires_at == seen.expires_at
        await store.sql("update ipam.term set expires_at = expires_at - interval '30 minutes'")
        await store.allocate(of, [renewed(mine, NOON + HOUR)])
        assert await ends(store, mine) == [HOUR]


async def test_a_status_of_an_older_spec_keeps_nothing(database_url: str) -> None:
    """A lease that was shortened is not made longer by the status that was there before."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        mine = claim(of, term=Term(DAY))
        seen = await shown(store, of, mine)
        short = replace(mine, identity=replace(mine.identity, generation=2), term=Term(HOUR))
        await store.allocate(of, [short])
        assert await compared(store, seen) == {FindingType.RENEWED}
        assert seen.expires_at is not None
        await store.claims.keep([Promise(mine.identity.uid, 1, seen.expires_at, mine.term)])
        assert await ends(store, mine) == [HOUR]


async def test_no_term_is_kept_of_a_deleted_claim(database_url: str) -> None:
    """A list that is older than the deletion brings nothing back."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        mine = claim(of, term=Term(DAY))
        seen = await shown(store, of, mine)
        await store.release(mine)
        assert seen.expires_at is not None
        await store.claims.keep([Promise(mine.identity.uid, 1, seen.expires_at, mine.term)])
        assert await store.sql("select from ipam.term") == []


async def test_no_lease_ends_in_a_store_that_was_not_compared(database_url: str) -> None:
    """Expiry is refused when the store has begun another run since the comparison, as a restore does."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        mine = claim(of, term=Term(HOUR))
        await store.allocate(of, [mine])
        run = await store.ownership.run()
        assert await store.ownership.run() == run
        await store.script(
            "begin; create temporary table dump on commit drop as select * from ipam.term;"
            " truncate ipam.term; insert into ipam.term select * from dump; commit"
        )
        await store.lapse(mine)
        assert await store.claims.expire(run) is None
        assert await store.claims.expire("") is None
        assert await store.held() != {}
        assert only(await store.expire()).subject == mine.identity


async def test_every_database_has_a_run_of_its_own(database_url: str, empty_database_url: str) -> None:
    """One that was restored into the same server is another store, in whatever zone its times are told."""
    await migrate(empty_database_url)
    async with Store(database_url) as store, Store(empty_database_url) as other:
        run = await store.ownership.run()
        assert run != await other.ownership.run()
        await store.sql("set timezone = 'Asia/Kathmandu'")
        assert await store.value("select ipam.store_run()") == run

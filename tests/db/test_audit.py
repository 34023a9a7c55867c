"""The ledger compared with itself and with the cluster, and the operator's own rows."""

from datetime import timedelta
from ipaddress import ip_network
from uuid import uuid4

import asyncpg
import pytest

from ipam_operator.domain.findings import Finding, FindingType
from ipam_operator.domain.model import PoolRequest, Term
from ipam_operator.net.ranges import Range
from tests.support.store import Store, claim, claims, pool

EVERYTHING = 0.0
"""Seconds that a lease must have settled, to be judged."""
LEASE_OUTSIDE = (
    "insert into ipam.lease (pool_id, addr, claim_uid, ordinal, generation, namespace, name, actor) "
    "select id, '10.0.0.20', gen_random_uuid(), 0, 1, 'n', 'c', 'a' from ipam.pool"
)


def found(findings: list[Finding]) -> list[tuple[FindingType, str]]:
    return [(one.type, one.addresses) for one in findings]


async def damaged(store: Store) -> PoolRequest:
    """A pool of two ranges with leases at both ends and in the middle."""
    of = await store.pool(await store.network("10.0.0.0/24"), "10.0.0.10-10.0.0.19", "10.0.0.30-10.0.0.39")
    await store.allocate(of, [claim(of, wanted=f"10.0.0.{last}") for last in (10, 15, 19, 30, 39)])
    return of


@pytest.mark.parametrize(
    ("cidr", "ranges"),
    [
        ("10.0.0.0/24", ()),
        ("10.0.0.7/32", ()),
        ("10.0.0.0/24", ("10.0.0.5", "10.0.0.7", "10.0.0.9-10.0.0.20", "10.0.0.254")),
        ("2001:db8::/64", ()),
        ("2001:db8::/64", ("2001:db8::5", "2001:db8:0:0:ffff::/80")),
        ("2001:db8::1/128", ()),
    ],
)
async def test_a_clean_store_has_no_findings(database_url: str, cidr: str, ranges: tuple[str, ...]) -> None:
    """Single addresses, several ranges and IPv6: what the services did is tiled, empty, in use and cooling."""
    async with Store(database_url) as store:
        parent = await store.network(cidr)
        of = await store.pool(parent, *ranges, cool_down=3600)
        await store.assert_tiled(parent, of)
        asked = await store.take(of, min(3, (await store.count(of)).size))
        await store.assert_tiled(parent, of)
        await store.release(asked[0])
        await store.assert_tiled(parent, of)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("delete from ipam.free_range where hi = '10.0.0.14'", [(FindingType.LEAKED, "10.0.0.11-10.0.0.14")]),
        ("delete from ipam.lease where addr = '10.0.0.10'", [(FindingType.LEAKED, "10.0.0.10")]),
        ("delete from ipam.lease where addr = '10.0.0.15'", [(FindingType.LEAKED, "10.0.0.15")]),
        ("delete from ipam.lease where addr = '10.0.0.39'", [(FindingType.LEAKED, "10.0.0.39")]),
        ("update ipam.free_range set lo = lo + 1 where hi = '10.0.0.14'", [(FindingType.LEAKED, "10.0.0.11")]),
        ("update ipam.free_range set lo = lo - 1 where hi = '10.0.0.14'", [(FindingType.FREE_AND_HELD, "10.0.0.10")]),
        ("update ipam.free_range set hi = hi + 1 where hi = '10.0.0.14'", [(FindingType.FREE_AND_HELD, "10.0.0.15")]),
        (
            "insert into ipam.free_range (pool_id, lo, hi) select id, '10.0.0.12', '10.0.0.13' from ipam.pool",
            [(FindingType.FREE_AND_HELD, "10.0.0.12-10.0.0.13")],
        ),
        (
            "insert into ipam.free_range (pool_id, lo, hi) select id, '10.0.0.39', '10.0.0.39' from ipam.pool",
            [(FindingType.FREE_AND_HELD, "10.0.0.39")],
        ),
        (
            "insert into ipam.free_range (pool_id, lo, hi) select id, '10.0.0.25', '10.0.0.26' from ipam.pool",
            [(FindingType.OUTSIDE_RANGE, "10.0.0.25-10.0.0.26")],
        ),
        (
            "insert into ipam.free_range (pool_id, lo, hi) select id, '10.0.0.200', '10.0.0.200' from ipam.pool",
            [(FindingType.OUTSIDE_RANGE, "10.0.0.200")],
        ),
        (
            "alter table ipam.lease disable trigger lease_inserted; " + LEASE_OUTSIDE,
            [(FindingType.OUTSIDE_RANGE, "10.0.0.20")],
        ),
        ("delete from ipam.pool_range where hi = '10.0.0.39'", None),
    ],
)
async def test_every_kind_of_damage_is_found(
    database_url: str, damage: str, expected: list[tuple[FindingType, str]] | None
) -> None:
    """A leak or overlap at the start, in the middle and at the end of ranges is named exactly."""
    async with Store(database_url) as store:
        of = await damaged(store)
        await store.script(damage)
        if expected is None:
            expected = [
                (FindingType.OUTSIDE_RANGE, "10.0.0.30"),
                (FindingType.OUTSIDE_RANGE, "10.0.0.31-10.0.0.38"),
                (FindingType.OUTSIDE_RANGE, "10.0.0.39"),
            ]
        findings = await store.untiled()
        assert found(findings) == expected
        assert {one.pool for one in findings} == {of.identity.ref}


async def test_a_free_range_over_a_lease_is_no_leak(database_url: str) -> None:
    """What is free twice or free and held is told as that, and as nothing else."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        held = claim(of, wanted="10.0.0.100")
        await store.allocate(of, [held])
        await store.script(
            "delete from ipam.free_range; "
            "insert into ipam.free_range (pool_id, lo, hi) select id, '10.0.0.1', '10.0.0.254' from ipam.pool"
        )
        (one,) = await store.untiled()
        assert (one.type, one.addresses, one.claim_uid) == (
            FindingType.FREE_AND_HELD,
            "10.0.0.100",
            held.identity.uid,
        )


@pytest.mark.parametrize("cidr", ["255.255.255.0/24", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120", "0.0.0.0/24"])
async def test_the_ends_of_the_space_are_audited(database_url: str, cidr: str) -> None:
    """Damage at the first and last address of all does not wrap around."""
    async with Store(database_url) as store:
        of = await store.pool(await store.network(cidr), kind="Loopback")
        await store.take(of, 1, count=256)
        assert await store.untiled() == []
        await store.script("insert into ipam.free_range (pool_id, lo, hi) select pool_id, addr, addr from ipam.lease")
        assert {one.type for one in await store.untiled()} == {FindingType.FREE_AND_HELD}
        assert len(await store.untiled()) == 256
        await store.script("delete from ipam.free_range; delete from ipam.lease")
        ((kind, addresses),) = found(await store.untiled())
        assert kind is FindingType.LEAKED
        assert addresses == str(Range.of(ip_network(cidr)))


async def test_rebuilding_repairs_free_ranges(database_url: str) -> None:
    """Free ranges made anew from the ledger tile with it, wherever the leases lie."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        of = await store.pool(parent, "10.0.0.10-10.0.0.19", "10.0.0.30-10.0.0.39", "10.0.0.50")
        await store.allocate(of, [claim(of, wanted=f"10.0.0.{last}") for last in (10, 15, 18, 19, 31, 39, 50)])
        before = await store.free(of)
        await store.sql("select ipam.rebuild_free_ranges(id) from ipam.pool")
        assert await store.free(of) == before
        await store.assert_tiled(parent, of)


async def test_cluster_and_ledger_agree(database_url: str) -> None:
    """Claims that show what they hold, and claims that wait, are no findings."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/30")
        holder, waiter = claim(of, count=2), claim(of)
        await store.allocate(of, [holder, waiter])
        shown = {holder.identity.uid: "10.0.0.1,10.0.0.2", waiter.identity.uid: ""}
        assert await store.audit.compare(shown, settled_seconds=EVERYTHING) == []


async def test_cluster_and_ledger_disagree_in_six_ways(database_url: str) -> None:
    """Each way to disagree has its name, with pool, claim and addresses where the store knows them."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        orphan, unanswered, drift = await store.take(of, 3)
        ghost = claim(pool(await store.network("10.1.0.0/29")))
        await store.claims.allocate(ghost.pool, [ghost])
        unbacked, unknown = uuid4(), uuid4()
        shown = {
            unanswered.identity.uid: "",
            drift.identity.uid: "10.0.0.9",
            unbacked: "10.0.0.6",
            unknown: "",
        }
        findings = await store.audit.compare(shown, settled_seconds=EVERYTHING)
        assert {(one.type.value, one.claim_uid, one.addresses) for one in findings} == {
            ("Orphan", orphan.identity.uid, "10.0.0.1"),
            ("Unanswered", unanswered.identity.uid, "10.0.0.2"),
            ("Drift", drift.identity.uid, "10.0.0.3"),
            ("Unbacked", unbacked, "10.0.0.6"),
            ("Unknown", unknown, ""),
            ("Ghost", ghost.identity.uid, ""),
        }
        placed = {one.type: (one.pool, one.claim) for one in findings}
        assert placed[FindingType.ORPHAN] == (of.identity.ref, orphan.identity.ref)
        assert placed[FindingType.GHOST] == (ghost.pool, ghost.identity.ref)


async def test_a_claim_that_shows_a_later_end_than_the_store_was_renewed(database_url: str) -> None:
    """By a second, or where the store has no end; an end that only lacks its fraction is none, nor one that is over."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        known, over, later = (claim(of, term=Term(timedelta(hours=1))) for _ in range(3))
        endless, absent = claim(of), claim(of)
        everybody = [known, over, later, endless, absent]
        await store.allocate(of, everybody)
        await store.sql("update ipam.term set expires_at = date_trunc('second', expires_at) + interval '0.999 s'")
        at = await store.value("select min(expires_at) from ipam.term")
        await store.lapse(over)
        ended = await store.value("select min(expires_at) from ipam.term")
        await store.expire()
        shown = {uid: ",".join(map(str, addresses)) for uid, addresses in (await store.held()).items()}
        shown[over.identity.uid] = ""
        ends = {one.identity.uid: at.replace(microsecond=0) for one in (known, later, endless)}
        ends[over.identity.uid] = ended.replace(microsecond=0)
        ends[later.identity.uid] += timedelta(seconds=1)
        findings = await store.audit.compare(shown, ends, settled_seconds=EVERYTHING)
        assert {(one.type, one.claim_uid) for one in findings} == {
            (FindingType.RENEWED, later.identity.uid),
            (FindingType.RENEWED, endless.identity.uid),
        }
        assert await store.audit.compare(shown, settled_seconds=EVERYTHING) == []


async def test_young_leases_are_not_judged(database_url: str) -> None:
    """A lease that may be younger than the list of claims is no finding."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        await store.take(of, 1)
        assert await store.audit.compare({}, settled_seconds=60) == []
        assert len(await store.audit.compare({}, settled_seconds=EVERYTHING)) == 1
        assert await store.audit.live_claims() == 1


async def test_only_the_leader_releases_orphans(database_url: str) -> None:
    """A deposed leader's epoch releases nothing; the new one's does, what it has seen and nothing newer."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        orphan, renewed = await store.take(of, 2)
        seen = await store.audit.compare({}, settled_seconds=EVERYTHING)
        old = await store.ownership.lead("a", 60)
        assert old == 1
        assert await store.ownership.lead("b", 60) is None
        assert await store.ownership.lead("a", 60) == 1
        await store.ownership.resign("a")
        new = await store.ownership.lead("b", 60)
        assert new == 2
        assert await store.ownership.release_orphans(old, seen, "resync") is None
        assert len(await store.held()) == 2
        await store.release(renewed, deleted=False)
        await store.allocate(of, [renewed])
        assert await store.ownership.release_orphans(new, seen, "resync") == (1, ())
        assert list(await store.held()) == [renewed.identity.uid]
        assert orphan.identity.uid not in await store.held()
        await store.assert_history_is_ledger()


async def test_the_lead_passes_on_when_it_expires(database_url: str) -> None:
    """Who does not renew loses the lead, and may not have it back under the old number."""
    async with Store(database_url) as store:
        assert await store.ownership.lead("a", 0) == 1
        assert await store.ownership.lead("b", 0) == 2
        assert await store.ownership.lead("a", 60) == 3
        await store.ownership.resign("b")
        assert await store.ownership.lead("b", 60) is None


async def test_a_store_belongs_to_the_first_cluster_until_it_is_adopted(database_url: str) -> None:
    """Another cluster is told whose store it is, unless a person says adopt."""
    async with Store(database_url) as store:
        first, second = uuid4(), uuid4()
        assert await store.ownership.claim(first, adopt=False) == first
        assert await store.ownership.claim(second, adopt=False) == first
        assert await store.ownership.claim(second, adopt=True) == second
        assert await store.ownership.claim(first, adopt=False) == second


async def test_a_confirmation_holds_for_its_time(database_url: str) -> None:
    """A person's yes is known by name, and void when its time is over."""
    async with Store(database_url) as store:
        assert not await store.ownership.confirmed("release")
        await store.ownership.confirm("release", 60)
        assert await store.ownership.confirmed("release")
        assert not await store.ownership.confirmed("other")
        await store.ownership.confirm("release", -1)
        assert not await store.ownership.confirmed("release")


async def test_tidy_forgets_old_tombstones_only(database_url: str) -> None:
    """A deleted claim is remembered for a day."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        old, young = claims(of, 2)
        await store.release(old, young)
        await store.sql(
            "update ipam.tombstone set at = now() - interval '25 hours' where claim_uid = $1", old.identity.uid
        )
        assert await store.ownership.tidy(timedelta(days=30)) == 1
        rows = await store.sql("select claim_uid from ipam.tombstone")
        assert [row["claim_uid"] for row in rows] == [young.identity.uid]
        await store.ownership.ping()


async def test_history_cannot_be_changed(database_url: str) -> None:
    """Who held what is append-only, and says the same as the ledger."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        await store.release((await store.take(of, 2))[0])
        for statement in ("delete from ipam.history", "update ipam.history set actor = 'x'", "truncate ipam.history"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await store.sql(statement)
        await store.assert_history_is_ledger()

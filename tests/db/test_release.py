"""Release: the end of claims, cooling, and what becomes of addresses afterwards."""

import json
import time
from ipaddress import ip_address
from uuid import uuid4

import pytest

from ipam_operator.api import v1alpha1
from ipam_operator.domain.model import ClaimRequest, ObjectRef, Release, Strategy
from ipam_operator.domain.outcome import Granted, Reason
from tests.support.store import Store, claim, claims, granted, network, only, pool, refused, texts


async def test_a_released_address_cools_before_it_is_free(database_url: str) -> None:
    """Released addresses are neither held nor free until their time is over and a sweep has come by."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", cool_down=3600)
        held = await store.take(of, 6)
        await store.release(*held[:2])
        counted = await store.count(of)
        assert (counted.allocated, counted.cooling, counted.free) == (4, 2, 0)
        assert await store.sweep(of) == 0
        await store.cooled(of)
        assert await store.sweep(of) == 2
        assert await store.free(of) == ["10.0.0.1-10.0.0.2"]
        await store.assert_tiled()


async def test_swept_addresses_merge_with_their_neighbours(database_url: str) -> None:
    """Free ranges around returned addresses become one again."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        held = await store.take(of, 10)
        await store.release(*held[1:9:2])
        await store.sweep(of)
        assert await store.free(of) == ["10.0.0.2", "10.0.0.4", "10.0.0.6", "10.0.0.8", "10.0.0.11-10.0.0.14"]
        await store.release(*held[0:9:2], held[9])
        await store.sweep(of)
        assert await store.free(of) == ["10.0.0.1-10.0.0.14"]


async def test_release_twice_is_release_once(database_url: str) -> None:
    """A repeated release changes nothing, and its address may have another holder by then."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/30")
        (first,) = await store.take(of, 1)
        await store.release(first)
        (second,) = await store.take(of, 1)
        await store.release(first)
        assert list(await store.held()) == [second.identity.uid]
        await store.assert_history_is_ledger()


async def test_a_release_that_names_an_older_grant_is_void(database_url: str) -> None:
    """The fencing number of an earlier grant does not end a later one."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/30")
        asked = claim(of)
        (old,) = (await store.allocate(of, [asked])).outcomes
        await store.release(asked, deleted=False)
        (new,) = (await store.allocate(of, [asked])).outcomes
        assert isinstance(old, Granted)
        assert isinstance(new, Granted)
        assert new.lease_generation > old.lease_generation
        await store.release(asked, generation=old.lease_generation, deleted=False)
        assert list(await store.held()) == [asked.identity.uid]
        await store.release(asked, generation=new.lease_generation, deleted=False)
        assert await store.held() == {}


async def test_release_ends_waiting(database_url: str) -> None:
    """A deleted claim leaves the queue, also of a pool that does not exist."""
    async with Store(database_url) as store:
        of = pool(network("10.0.0.0/30"))
        asked = claims(of, 2)
        await store.allocate(of, asked)
        await store.release(asked[0])
        assert await store.waiting(of) == [asked[1].identity.uid]


async def test_release_needs_no_pool(database_url: str) -> None:
    """A claim's leases end wherever they are: the pool that it names is a hint."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/30")
        (asked,) = await store.take(of, 1)
        done, _ = await store.claims.release([(Release(asked.identity.uid), ObjectRef("nowhere", "none"))])
        assert done == [asked.identity.uid]
        assert await store.held() == {}


async def test_all_addresses_of_a_claim_end_together(database_url: str) -> None:
    """Every address of a claim is released, and only that claim's."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        several, other = claim(of, count=5), claim(of)
        await store.allocate(of, [several, other])
        await store.release(several)
        assert list(await store.held()) == [other.identity.uid]
        assert (await store.count(of)).allocated == 1


async def test_lru_keeps_the_age_of_what_has_cooled(database_url: str) -> None:
    """The sweep leaves an LRU pool's addresses in the ledger; they count as free all the same."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/29")
        of = await store.pool(parent, strategy=Strategy.LEAST_RECENTLY_USED)
        held = await store.take(of, 6)
        await store.release(*held[:4])
        assert await store.sweep(of) == 0
        counted = await store.count(of)
        assert (counted.free, counted.cooling, counted.allocated) == (4, 0, 2)
        whole = await store.network_count(parent)
        assert (whole.free, whole.cooling, whole.allocated) == (4, 0, 2)
        assert len(granted(await store.allocate(of, claims(of, 4)))) == 4


async def test_adopt_restores_what_claims_show(database_url: str) -> None:
    """A claim gets the very addresses that it shows, in their order, and is New only once."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        asked = claim(of, count=2)
        shown = [ip_address("10.0.0.9"), ip_address("10.0.0.3")]
        assert texts(await store.claims.adopt(of.identity.ref, [(asked, shown)])) == ["10.0.0.9", "10.0.0.3"]
        assert texts(await store.allocate(of, [asked])) == ["10.0.0.9", "10.0.0.3"]
        assert (await store.claims.adopt(of.identity.ref, [(asked, shown)])).outcomes == ()
        await store.assert_tiled()


async def test_adopt_never_renumbers(database_url: str) -> None:
    """When one of a claim's addresses is taken it gets none, and its batch goes on."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        await store.take(of, 1)
        unlucky, lucky = claim(of, count=2), claim(of)
        served = await store.claims.adopt(
            of.identity.ref,
            [(unlucky, [ip_address("10.0.0.5"), ip_address("10.0.0.1")]), (lucky, [ip_address("10.0.0.5")])],
        )
        assert list(granted(served)) == [lucky.identity.uid]
        assert refused(served)[unlucky.identity.uid].reason is Reason.ADDRESS_CONFLICT
        assert "the store has lost this claim's lease" in only(served).message
        await store.assert_tiled()


@pytest.mark.parametrize("shown", ["10.0.0.0", "10.0.0.15", "10.9.9.9", "2001:db8::1"])
async def test_adopt_takes_nothing_from_outside(database_url: str, shown: str) -> None:
    """An address that the pool does not hand out is not adopted."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        served = await store.claims.adopt(of.identity.ref, [(claim(of), [ip_address(shown)])])
        assert only(served).reason is Reason.ADDRESS_CONFLICT
        assert await store.held() == {}


async def test_adopt_gives_deleted_claims_and_absent_pools_nothing(database_url: str) -> None:
    """A deleted claim has no answer; one whose pool is out of service is told so, and holds nothing."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        gone = claim(of)
        await store.release(gone)
        absent = pool(network("10.1.0.0/28"))
        shown = [ip_address("10.0.0.5")]
        assert (await store.claims.adopt(of.identity.ref, [(gone, shown)])).outcomes == ()
        told = only(await store.claims.adopt(absent.identity.ref, [(claim(absent), shown)]))
        assert told.reason is Reason.POOL_NOT_FOUND
        assert await store.held() == {}


async def test_release_stays_linear(database_url: str) -> None:
    """A row of a release of 65,536 addresses costs at most four times what it costs among 4,096."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/15")

        async def per_row(number: int) -> float:
            asked = await store.take(of, number // 1024, count=1024)
            started = time.perf_counter()
            await store.release(*asked)
            return (time.perf_counter() - started) / number

        await per_row(1024)  # plans and pages
        small = min([await per_row(4096) for _ in range(3)])
        assert await per_row(65_536) <= 4 * small
        await store.assert_tiled()


async def test_nobody_is_asked_for_whom_the_database_cannot_look_at(database_url: str) -> None:
    """A claim that cannot be adopted for a fault is named, so that it gets no other address than it shows."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        good, bad = claims(of, 2)
        await store.script(
            "create function broken() returns trigger language plpgsql as 'begin raise division_by_zero; end';"
            "create trigger broken before insert on ipam.lease for each row"
            f" when (new.claim_uid = '{bad.identity.uid}') execute function broken()"
        )
        shown = [(good, [ip_address("10.0.0.9")]), (bad, [ip_address("10.0.0.3")])]
        served = await store.claims.adopt(of.identity.ref, shown)
        assert granted(served).keys() == {good.identity.uid}
        assert served.unread == {bad.identity.uid}


async def test_a_name_that_no_object_has_ends_a_claim(database_url: str) -> None:
    """A claim whose selector is no selector can be deleted, with others beside it."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        (good,) = await store.take(of, 1)
        spec = {"poolSelector": {"matchLabels": {"a\x00b": "x"}}}
        place = v1alpha1.claim_place(good.identity.ref, spec)
        asked = [
            (Release(uid, None, "tester"), where)
            for uid, where in ((good.identity.uid, of.identity.ref), (uuid4(), place))
        ]
        done, _ = await store.claims.release(asked)
        assert len(done) == 2


async def test_a_plan_of_an_empty_ledger_serves_a_full_one(database_url: str) -> None:
    """A session keeps the plans that it made when there were no leases yet: none of them looks at all leases."""
    explain = "explain (analyze, buffers, format json) "
    release = "select ipam.release('{}', '{}', array['%s']::uuid[], array[null]::bigint[], array['x'], true)"
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/19")

        async def blocks(one: ClaimRequest) -> int:
            (found,) = json.loads(await store.value(explain + release % one.identity.uid))
            return int(found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"])

        for early in await store.take(of, 2):
            before = await blocks(early)
        held = await store.take(of, 4000)
        assert await blocks(held[0]) < before + 100
        await store.assert_tiled()

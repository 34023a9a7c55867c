"""Rows of the adversarial list that the store alone decides; each test carries its row's id."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import asyncpg
import pytest

from ipam_operator.domain.answers import Due
from ipam_operator.domain.capacity import percent
from ipam_operator.domain.findings import FindingType
from ipam_operator.domain.model import Strategy
from ipam_operator.domain.outcome import Accepted, Granted, Reason, Refused, Removed
from tests.support.store import Store, claim, claims, granted, network, only, pool, refused, spans, texts


async def test_a1_concurrent_free_choice_is_distinct(database_url: str) -> None:
    """64 claims of two replicas for 16 addresses, 200 times: 16 distinct ones are granted."""
    async with Store(database_url, connections=8) as one, Store(database_url, connections=8) as two:
        of = await one.pool(await one.network("10.0.0.0/24"), "10.0.0.16-10.0.0.31")
        for _ in range(200):
            asked = claims(of, 64)
            served = await asyncio.gather(*((one, two)[k % 2].allocate(of, [who]) for k, who in enumerate(asked)))
            addresses = [text for some in served for text in texts(some)]
            assert (len(addresses), len(set(addresses))) == (16, 16)
            await one.release(*asked)


MASKED_LEASE = """insert into ipam.lease (pool_id, addr, claim_uid, ordinal, generation, namespace, name, actor)
select id, $1::inet, gen_random_uuid(), 0, 1, 'n', 'c', 'a' from ipam.pool"""


@pytest.mark.parametrize(
    ("spelling", "cidr"),
    [("10.0.7.1/24", "10.0.0.0/16"), ("10.0.7.1/31", "10.0.0.0/16"), ("2001:db8:7::1/64", "2001:db8::/32")],
)
async def test_a5_a_host_with_another_mask_is_no_second_address(database_url: str, spelling: str, cidr: str) -> None:
    """10.0.7.1/24 is not 10.0.7.1 to UNIQUE: neither table nor function takes it, before or after the other form."""
    masked = ip_interface(spelling)
    async with Store(database_url) as store:
        assert not await store.value("select $1::inet = host($1::inet)::inet", masked)
        of = await store.pool(cidr)
        for plain in ([], [claim(of, wanted=str(masked.ip))]):
            await store.allocate(of, plain)
            before = await store.free(of)
            with pytest.raises(asyncpg.CheckViolationError):
                await store.sql(MASKED_LEASE, masked)
            wish = replace(claim(of), wanted=masked)
            assert (await store.allocate(of, [wish])).outcomes == ()
            assert granted(await store.claims.adopt(of.identity.ref, [(wish, [masked])])) == {}
            assert list(await store.held()) == [one.identity.uid for one in plain]
            assert await store.free(of) == before
        await store.assert_tiled()


async def test_a7_two_replicas_answer_one_claim(database_url: str) -> None:
    """Two operators that both think they lead give one claim one address."""
    async with Store(database_url) as one, Store(database_url) as two:
        of = await one.pool("10.0.0.0/24")
        for asked in claims(of, 20):
            first, second = await asyncio.gather(one.allocate(of, [asked]), two.allocate(of, [asked]))
            assert granted(first) == granted(second)
        assert len(await one.held()) == 20


async def test_a9_growth_and_twin_pools_give_no_duplicates(database_url: str) -> None:
    """A grown pool goes on behind what it gave, a shrink over leases and a twin over the same range are refused."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        of = await store.pool(parent, "10.0.0.10-10.0.0.12")
        before = texts(await store.allocate(of, claims(of, 3)))
        assert isinstance(await store.pools.apply(pool(parent, "10.0.0.10-10.0.0.12")), Refused)
        assert isinstance(await store.change(of, ranges=spans(["10.0.0.10-10.0.0.11"])), Refused)
        assert isinstance(await store.change(of, ranges=spans(["10.0.0.9-10.0.0.13"])), Accepted)
        after = texts(await store.allocate(of, claims(of, 3)))
        assert (before, after) == (["10.0.0.10", "10.0.0.11", "10.0.0.12"], ["10.0.0.9", "10.0.0.13"])
        await store.assert_tiled()


async def test_b1_of_overlapping_networks_one_is_in_service(database_url: str) -> None:
    """32 at once over one space: one is accepted, the others have a clear reason."""
    async with Store(database_url, connections=16) as store:
        said = await asyncio.gather(*(store.networks.apply(network(f"10.0.0.0/{8 + k % 16}")) for k in range(32)))
        assert sum(isinstance(one, Accepted) for one in said) == 1
        assert {one.reason for one in said if isinstance(one, Refused)} == {Reason.NETWORK_OVERLAP}


async def test_b4_what_is_deleted_takes_no_space(database_url: str) -> None:
    """The same CIDR may come back at once, with cooling addresses left behind."""
    async with Store(database_url) as store:
        for _ in range(3):
            parent = await store.network("10.0.0.0/24")
            of = await store.pool(parent, cool_down=3600)
            await store.release(*await store.take(of, 3))
            assert await store.retire(of) == Removed(of.identity)
            assert await store.retire(parent) == Removed(parent.identity)


async def test_c6_a_late_release_does_not_free_the_next_holder(database_url: str) -> None:
    """A replayed release names a grant that is over: it neither ends the next one nor makes the address cool anew."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.7/32", cool_down=3600)
        first, second = claims(of, 2)
        (old,) = (await store.allocate(of, [first])).outcomes
        assert isinstance(old, Granted)
        seen = await store.audit.compare({}, settled_seconds=0)
        epoch = await store.ownership.lead("operator", 60)
        assert epoch is not None

        async def replay() -> None:
            await store.release(first, generation=old.lease_generation)
            await store.release(first)
            assert await store.ownership.release_orphans(epoch, seen, "resync") == (0, ())

        await store.release(first)
        await store.cooled(of)
        cooling = "select released_at, reusable_at from ipam.lease where released_at is not null"
        before = await store.sql(cooling)
        await replay()
        assert await store.sql(cooling) == before
        assert granted(await store.allocate(of, [second])).keys() == {second.identity.uid}
        await replay()
        assert list(await store.held()) == [second.identity.uid]
        await store.assert_history_is_ledger()


@pytest.mark.parametrize("length", range(24, 33))
async def test_d1_ipv4_ends_are_exact(database_url: str, length: int) -> None:
    """From /24 to /32 exactly the addresses that Python calls hosts are handed out."""
    await hosts_are_granted(database_url, f"10.0.0.0/{length}")


@pytest.mark.parametrize("length", range(120, 129))
async def test_d1_ipv6_ends_are_exact(database_url: str, length: int) -> None:
    """From /120 to /128 exactly the addresses that Python calls hosts are handed out."""
    await hosts_are_granted(database_url, f"2001:db8::/{length}")


async def hosts_are_granted(url: str, cidr: str) -> None:
    expected = [str(host) for host in ip_network(cidr).hosts()]
    async with Store(url) as store:
        for strategy in Strategy:
            of = await store.pool(await store.network(cidr, vrf=strategy), strategy=strategy)
            got = texts(await store.allocate(of, claims(of, 1, count=len(expected))))
            assert sorted(got, key=ip_address) == expected
            assert strategy is Strategy.RANDOM or got == expected
            assert only(await store.allocate(of, claims(of, 1))).reason is Reason.POOL_EXHAUSTED
        await store.assert_tiled()


@pytest.mark.parametrize("kind", ["Host", "Loopback"])
@pytest.mark.parametrize("network_", ["10.0.0.0/28", "2001:db8::/124"])
async def test_d1_both_ends_of_ranges_are_inclusive(database_url: str, network_: str, kind: str) -> None:
    """Start and end of a pool's ranges and of its holes count, and only the network's own ends are kept from hosts."""
    async with Store(database_url) as store:
        at = ip_network(network_)
        parent = await store.network(network_, reserved=[f"{at[11]}-{at[12]}"])
        ranges, exclude = [f"{at[0]}-{at[3]}", str(at[5]), f"{at[8]}-{at[15]}"], [f"{at[1]}-{at[2]}", str(at[14])]
        of = await store.pool(parent, *ranges, exclude=exclude, kind=kind)
        ends = {0: kind != "Host", 15: kind != "Host" or at.version == 6}
        expected = [str(at[k]) for k in (0, 3, 5, 8, 9, 10, 13, 15) if ends.get(k, True)]
        assert texts(await store.allocate(of, claims(of, len(expected) + 1))) == expected
        await store.assert_tiled(parent, of)


@pytest.mark.parametrize(
    ("cidr", "expected"),
    [
        ("10.0.0.4/31", ["10.0.0.4", "10.0.0.5"]),
        ("10.0.0.4/32", ["10.0.0.4"]),
        ("2001:db8::4/127", ["2001:db8::4", "2001:db8::5"]),
        ("2001:db8::4/128", ["2001:db8::4"]),
    ],
)
async def test_d2_the_smallest_networks_are_usable(database_url: str, cidr: str, expected: list[str]) -> None:
    """/31 and /127 have two addresses, /32 and /128 one."""
    async with Store(database_url) as store:
        of = await store.pool(cidr)
        assert (await store.count(of)).size == len(expected)
        assert texts(await store.allocate(of, claims(of, len(expected) + 1))) == expected


async def test_d3_the_subnet_router_anycast_address_is_kept_back(database_url: str) -> None:
    """A /64 starts at ::1, and nobody may name ::0."""
    async with Store(database_url) as store:
        of = await store.pool("2001:db8::/64")
        assert only(await store.allocate(of, [claim(of, wanted="2001:db8::")])).reason is Reason.OUTSIDE_POOL
        assert texts(await store.allocate(of, claims(of, 1))) == ["2001:db8::1"]


async def test_d5_the_ends_of_all_space_do_not_wrap(database_url: str) -> None:
    """0.0.0.0/0 and ::/0 are handled, first and last address included."""
    async with Store(database_url) as store:
        for cidr in ("0.0.0.0/0", "::/0"):
            parent = await store.network(cidr, vrf=cidr)
            first, last = str(parent.cidr[0]), str(parent.cidr[-1])
            of = await store.pool(parent, kind="Loopback")
            asked = [claim(of, wanted=last), claim(of, wanted=first)]
            assert texts(await store.allocate(of, asked)) == [last, first]
            await store.assert_tiled(parent, of)
            await store.release(*asked)
            await store.sweep(of)
            mapped = [] if parent.cidr.version == 4 else ["::fffe:ffff:ffff", "::1:0:0:0"]
            assert "-".join(await store.free(of)) == "-".join([first, *mapped, last])


async def test_e4_percentages_stay_between_0_and_100(database_url: str) -> None:
    """Used of usable never exceeds 100, with whole-network pools, reservations and several pools."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/29", gateway="10.0.0.1", reserved=["10.0.0.0-10.0.0.1"])
        ends = await store.pool(parent, "10.0.0.2-10.0.0.3", "10.0.0.7", kind="NAT")
        hosts = await store.pool(parent, "10.0.0.4-10.0.0.6")
        for of in (ends, hosts):
            counted = await store.count(of)
            await store.take(of, 1, count=counted.size)
            full = await store.count(of)
            assert percent(full.allocated, full.size) == "100"
        whole = await store.network_count(parent)
        assert 0 <= whole.allocated <= whole.pool_size
        assert 0 <= whole.unassigned <= whole.usable
        assert whole.allocated == 6


async def test_g2_cooling_ends_without_traffic_and_holds_no_deletion(database_url: str) -> None:
    """An idle pool's addresses come back by the sweep; a pool with only cooling ones can be deleted."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/29")
        of = await store.pool(parent, cool_down=3600)
        await store.release(*await store.take(of, 6))
        assert (await store.count(of)).free == 0
        await store.cooled(of)
        assert await store.sweep(of) == 6
        assert await store.free(of) == ["10.0.0.1-10.0.0.6"]
        await store.release(*await store.take(of, 6))
        assert await store.retire(of) == Removed(of.identity)
        await store.assert_tiled()


async def test_h3_counters_are_recounted_rows(database_url: str) -> None:
    """After chaos the counters are what a count of the rows says."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        of = await store.pool(parent, cool_down=3600)
        held = [*await store.take(of, 20), *await store.take(of, 10, count=3)]
        await store.release(*held[::3])
        await store.cooled(of)
        await store.release(*held[1::3])
        await store.sweep(of)
        counted = await store.count(of)
        leases, free = await store.pieces(of)
        live = sum(len(some) for some in (await store.held()).values())
        assert counted.allocated == live
        assert counted.cooling == len(leases) - live
        assert counted.free == sum(one.size for one in free)
        await store.assert_tiled(parent, of)


OF_POOL = """select 'pool' what, p::text from ipam.pool p where p.id = $1
union all select 'network', n::text from ipam.network n join ipam.pool p on p.network_id = n.id where p.id = $1
union all select 'part', t::text from ipam.part t join ipam.pool p
    on p.id = t.pool_id or p.network_id = t.network_id where p.id = $1
union all select 'range', r::text from ipam.pool_range r where r.pool_id = $1
union all select 'free', f::text from ipam.free_range f where f.pool_id = $1
union all select 'lease', l::text from ipam.lease l where l.pool_id = $1
union all select 'waiting', w::text from ipam.waiting w join ipam.pool p
    on (p.namespace, p.name) = (w.pool_namespace, w.pool_name) where p.id = $1
union all select 'history', h::text from ipam.history h where h.pool_id = $1"""


@pytest.mark.parametrize("elsewhere", [{"vrf": "blue"}, {"namespace": "blue", "name": "net"}], ids=["vrf", "namespace"])
async def test_j1_the_same_address_lives_in_two_spaces(database_url: str, elsewhere: dict[str, str]) -> None:
    """Whatever happens in one address space, an equal one, even of the same names, does not change by a single row."""
    async with Store(database_url) as store:
        names = {"name": "pool"} if "namespace" in elsewhere else {}
        here = await store.network("10.0.0.0/29", **({"name": "net"} if names else {}))
        red = await store.pool(here, **names)
        blue = await store.pool(await store.network("10.0.0.0/29", **elsewhere), cool_down=3600, **names)
        theirs = claims(blue, 7)
        assert len(granted(await store.allocate(blue, theirs))) == 6
        await store.release(theirs[2])
        its_id = await store.value("select id from ipam.pool where uid = $1", blue.identity.uid)
        before = sorted(tuple(row) for row in await store.sql(OF_POOL, its_id))
        assert {what for what, _ in before} == {"pool", "network", "part", "range", "lease", "waiting", "history"}

        ours = [claim(red, wanted="10.0.0.1"), claim(red, wanted="10.0.0.3"), claim(red), *claims(red, 4, count=2)]
        assert len(granted(await store.allocate(red, ours))) == 4
        await store.release(*ours[:2])
        await store.sweep(red)
        assert len(granted(await store.serve(red, tell=True))) == 1
        await store.claims.adopt(red.identity.ref, [(claim(red), [ip_address("10.0.0.3")])])
        assert isinstance(await store.change(red, exclude=spans(["10.0.0.1"])), Refused)
        assert isinstance(await store.networks.apply(replace(here, gateway=ip_address("10.0.0.1"))), Refused)
        assert (await store.count(red)).waiting == 2
        findings = await store.audit.compare({one.identity.uid: "10.0.0.2" for one in theirs}, settled_seconds=0)
        assert {one.pool for one in findings if one.type is FindingType.ORPHAN} == {red.identity.ref}
        epoch = await store.ownership.lead("operator", 60)
        assert epoch is not None
        orphans = [one for one in findings if one.type is FindingType.ORPHAN]
        assert await store.ownership.release_orphans(epoch, orphans, "resync") == (5, (Due(red.identity.ref, 0.0),))
        await store.release(*ours)
        assert await store.retire(red) == Removed(red.identity)
        assert await store.retire(here) == Removed(here.identity)
        assert sorted(tuple(row) for row in await store.sql(OF_POOL, its_id)) == before


async def test_j2_exhaustion_says_what_would_fit(database_url: str) -> None:
    """The refusal has a reason, a place in the queue and the largest free block."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        await store.take(of, 1, count=200)
        said = only(await store.allocate(of, claims(of, 1, count=60)))
        assert (said.reason, said.queue_position) == (Reason.POOL_EXHAUSTED, 1)
        assert "254 addresses, 54 free, largest free block 10.0.0.208/28" in said.message
        counted = await store.count(of)
        assert (counted.waiting, counted.largest_free_block) == (1, "10.0.0.208/28")


async def test_k2_as_many_bind_as_were_released_in_order(database_url: str) -> None:
    """200 hold, 200 wait, 100 are released: exactly the first 100 bind, and the pool then says nothing is due."""
    async with Store(database_url) as store:
        of = await store.pool(await store.network("10.0.0.0/16"), "10.0.1.0-10.0.1.199")
        held = await store.take(of, 200)
        waiters = claims(of, 200)
        assert len(refused(await store.allocate(of, waiters))) == 200
        (due,) = await store.release(*held[:100])
        assert due.seconds <= 0
        served = await store.serve(of)
        assert list(granted(served)) == [one.identity.uid for one in waiters[:100]]
        again = await store.serve(of)
        assert (again.outcomes, again.due) == ((), ())
        assert await store.waiting(of) == [one.identity.uid for one in waiters[100:]]


async def test_k3_one_bad_claim_among_a_thousand_blocks_nobody(database_url: str) -> None:
    """The database refuses one claim of a batch; the 999 others are answered."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/16", paused=True)
        asked = claims(of, 999)
        bad = replace(claim(of), count=0)
        served = await store.allocate(of, [*asked[:500], bad, *asked[500:]])
        assert refused(served).keys() == {one.identity.uid for one in asked}


async def test_k5_two_claims_with_one_wish(database_url: str) -> None:
    """One holds; deleting the other frees nothing under it."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        one, two = claim(of, wanted="10.0.0.3"), claim(of, wanted="10.0.0.3")
        assert granted(await store.allocate(of, [one, two])).keys() == {one.identity.uid}
        await store.release(two)
        assert list(await store.held()) == [one.identity.uid]

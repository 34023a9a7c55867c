"""Networks and pools: what comes into service, what an edit may change, and what holds a deletion."""

import asyncio
from dataclasses import replace
from ipaddress import ip_address
from uuid import uuid4

import asyncpg
import pytest

from ipam_operator.domain.model import Identity, Strategy
from ipam_operator.domain.outcome import Accepted, Held, Reason, Refused, Removed
from tests.support.store import Store, claim, claims, granted, network, only, pool, spans, texts

MASKED = {
    "lease": (
        "insert into ipam.lease (pool_id, addr, claim_uid, ordinal, generation, namespace, name, actor) "
        "select id, '10.0.0.1/24', gen_random_uuid(), 0, 1, 'n', 'c', 'a' from ipam.pool"
    ),
    "free_range": (
        "insert into ipam.free_range (pool_id, lo, hi) select id, '10.0.0.1/24', '10.0.0.1/24' from ipam.pool"
    ),
    "pool_range": (
        "insert into ipam.pool_range (pool_id, lo, hi) select id, '10.0.0.1/24', '10.0.0.2/24' from ipam.pool"
    ),
    "waiting": (
        "insert into ipam.waiting (claim_uid, pool_namespace, pool_name, namespace, name, generation, count, wanted, "
        "actor, key) values (gen_random_uuid(), 'n', 'p', 'n', 'c', 1, 1, '10.0.0.1/24', 'a', 'c')"
    ),
    "network": "update ipam.network set gateway = '10.0.0.1/24'",
    "part": "update ipam.part set rng = ipam.inetrange('10.0.0.0/24', '10.0.0.7/24', '[]')",
}
"""By table, what would give one host a second key."""


def why(outcome: Accepted | Refused) -> tuple[Reason, str]:
    assert isinstance(outcome, Refused), outcome
    return outcome.reason, outcome.message


async def test_overlapping_networks_are_refused_and_named(database_url: str) -> None:
    """Within one address space networks do not overlap; the refusal names who has what."""
    async with Store(database_url) as store:
        first = await store.network("10.0.0.0/16")
        reason, message = why(await store.networks.apply(network("10.0.9.0/24")))
        assert reason is Reason.NETWORK_OVERLAP
        assert f"network {first.identity.ref.name} has 10.0.0.0-10.0.255.255" in message
        assert isinstance(await store.networks.apply(network("10.0.0.0/8")), Refused)
        assert isinstance(await store.networks.apply(network("10.1.0.0/16")), Accepted)


async def test_address_spaces_are_apart(database_url: str) -> None:
    """Another VRF or namespace may use the same addresses."""
    async with Store(database_url) as store:
        one = await store.network("10.0.0.0/29")
        two = await store.network("10.0.0.0/29", vrf="blue")
        three = await store.network("10.0.0.0/29", namespace="other")
        for parent in (one, two, three):
            of = await store.pool(parent)
            assert texts(await store.allocate(of, claims(of, 1))) == ["10.0.0.1"]
        await store.assert_tiled()


async def test_overlapping_pools_are_refused_and_named(database_url: str) -> None:
    """Pools of one network share no address, whatever they exclude."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        first = await store.pool(parent, "10.0.0.10-10.0.0.20", exclude=["10.0.0.15"])
        reason, message = why(await store.pools.apply(pool(parent, "10.0.0.15")))
        assert reason is Reason.NETWORK_OVERLAP
        assert f"pool {first.identity.ref.name} has 10.0.0.10-10.0.0.20" in message
        assert isinstance(await store.pools.apply(pool(parent, "10.0.0.21-10.0.0.30")), Accepted)


async def test_a_pool_stays_inside_of_its_network(database_url: str) -> None:
    """Ranges beyond the network or of the other family are refused with the words of the rule."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        reason, message = why(await store.pools.apply(pool(parent, "10.0.0.250-10.0.1.5")))
        assert (reason, message) == (
            Reason.INVALID_SPEC,
            "spec.ranges must lie inside 10.0.0.0/24: 10.0.0.250-10.0.1.5 does not",
        )
        assert "must be IPv4" in why(await store.pools.apply(pool(parent, "2001:db8::/120")))[1]


async def test_an_edit_that_would_take_held_addresses_is_refused(database_url: str) -> None:
    """A shrink below what is held names the addresses and changes nothing."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        of = await store.pool(parent, "10.0.0.1-10.0.0.20")
        holder = claim(of, wanted="10.0.0.15", name="holder")
        await store.allocate(of, [holder])
        reason, message = why(await store.change(of, ranges=spans(["10.0.0.1-10.0.0.10"])))
        assert reason is Reason.SHRINK_REFUSED
        assert "10.0.0.15 (IPClaim holder)" in message
        assert why(await store.change(of, exclude=spans(["10.0.0.15"])))[0] is Reason.SHRINK_REFUSED
        assert isinstance(await store.change(of, exclude=spans(["10.0.0.14"])), Accepted)
        await store.assert_tiled(parent, replace(of, exclude=spans(["10.0.0.14"])))


async def test_a_gateway_cannot_move_onto_a_held_address(database_url: str) -> None:
    """A network edit that takes a held address for the gateway is refused; on a free one it takes it from the pool."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/29")
        of = await store.pool(parent)
        await store.take(of, 1)
        moved = replace(parent, gateway=ip_address("10.0.0.1"))
        assert why(await store.networks.apply(moved))[0] is Reason.GATEWAY_CONFLICT
        moved = replace(parent, gateway=ip_address("10.0.0.6"), reserved=spans(["10.0.0.2-10.0.0.3"]))
        assert isinstance(await store.networks.apply(moved), Accepted)
        assert await store.free(of) == ["10.0.0.4-10.0.0.5"]
        await store.assert_tiled(moved, of)
        assert isinstance(await store.networks.apply(parent), Accepted)
        await store.assert_tiled(parent, of)


async def test_an_edit_keeps_leases_at_every_place(database_url: str) -> None:
    """Growing and shrinking around leases at the ends of ranges leaves the ledger tiled."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        of = await store.pool(parent, "10.0.0.10-10.0.0.20", "10.0.0.30", cool_down=3600)
        await store.allocate(of, [claim(of, wanted=f"10.0.0.{last}") for last in (10, 14, 19, 20, 30)])
        for ranges in (
            ["10.0.0.10-10.0.0.30"],
            ["10.0.0.10", "10.0.0.14", "10.0.0.19-10.0.0.20", "10.0.0.30"],
            ["10.0.0.10-10.0.0.14", "10.0.0.19-10.0.0.30"],
            ["10.0.0.0/24"],
        ):
            of = replace(of, ranges=spans(ranges))
            assert isinstance(await store.pools.apply(of), Accepted)
            await store.assert_tiled(parent, of)


async def test_cooling_addresses_do_not_hold_an_edit(database_url: str) -> None:
    """A pool shrinks over addresses that merely cool."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        of = await store.pool(parent, "10.0.0.1-10.0.0.20", cool_down=3600)
        held = await store.take(of, 3)
        await store.release(*held)
        of = replace(of, ranges=spans(["10.0.0.2-10.0.0.20"]))
        assert isinstance(await store.pools.apply(of), Accepted)
        assert (await store.count(of)).cooling == 2
        await store.assert_tiled(parent, of)


async def test_what_must_stay_stays(database_url: str) -> None:
    """CIDR, VRF and the network of a pool cannot change, even for an API server without our rules."""
    async with Store(database_url) as store:
        parent, other = await store.network("10.0.0.0/24"), await store.network("10.1.0.0/24")
        of = await store.pool(parent)
        for edit in (
            await store.networks.apply(replace(parent, cidr=network("10.0.0.0/25").cidr)),
            await store.networks.apply(replace(parent, vrf="blue")),
            await store.change(of, network=other.identity.ref),
        ):
            assert why(edit)[0] is Reason.INVALID_SPEC


async def test_a_pool_of_no_network_waits_and_says_so(database_url: str) -> None:
    """A pool without its network is refused, and comes into service with it."""
    async with Store(database_url) as store:
        parent = network("10.0.0.0/24")
        of = pool(parent)
        assert why(await store.pools.apply(of))[0] is Reason.NETWORK_NOT_FOUND
        await store.networks.apply(parent)
        assert isinstance(await store.pools.apply(of), Accepted)


async def test_deletion_waits_for_holders(database_url: str) -> None:
    """A network waits for its pools and a pool for its claims, each with a bounded sample; cooling holds nothing."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        of = await store.pool(parent, cool_down=3600)
        held = await store.take(of, 7)
        retired = await store.retire(of)
        assert isinstance(retired, Held)
        assert (retired.total, len(retired.holders)) == (7, 5)
        assert isinstance(await store.retire(parent), Held)
        await store.release(*held)
        assert await store.retire(of) == Removed(of.identity)
        assert await store.retire(parent) == Removed(parent.identity)
        assert await store.retire(parent) == Removed(parent.identity)
        assert await store.value("select count(*) from ipam.part") == 0


async def test_a_pool_that_is_being_deleted_grants_nothing(database_url: str) -> None:
    """Once deletion has begun new claims queue for a successor, which then serves them."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        of = await store.pool(parent)
        (held,) = await store.take(of, 1)
        await store.retire(of)
        waiter = claim(of)
        assert "is being deleted" in only(await store.allocate(of, [waiter])).message
        successor = replace(of, identity=replace(of.identity, uid=uuid4()))
        elsewhere = await store.network("10.9.0.0/24")
        stranger = replace(successor, network=elsewhere.identity.ref)
        assert why(await store.pools.apply(stranger))[0] is Reason.DELETING
        assert isinstance(await store.pools.apply(successor), Accepted)
        assert granted(await store.serve(successor)).keys() == {waiter.identity.uid}
        assert set(await store.held()) == {held.identity.uid, waiter.identity.uid}
        assert await store.untiled() == []


async def test_a_network_made_anew_keeps_what_is_held(database_url: str) -> None:
    """Of a namesake of the same addresses the heir has pools and leases; of other addresses it comes to nothing."""
    async with Store(database_url) as store:
        lost = await store.network("10.0.0.0/24")
        of = await store.pool(lost, "10.0.0.0/25")
        (held,) = await store.take(of, 1)
        other = replace(lost, identity=Identity(uuid4(), lost.identity.ref, 1), cidr=network("10.0.0.0/25").cidr)
        assert why(await store.networks.apply(other))[0] is Reason.DELETING
        heir = replace(lost, identity=Identity(uuid4(), lost.identity.ref, 1))
        assert isinstance(await store.networks.apply(heir), Accepted)
        narrow = replace(of, identity=replace(of.identity, uid=uuid4()), ranges=spans(["10.0.0.64/26"]))
        assert why(await store.pools.apply(narrow))[0] is Reason.SHRINK_REFUSED
        assert set(await store.held()) == {held.identity.uid}


async def test_a_successor_network_replaces_an_empty_one(database_url: str) -> None:
    """A network whose deletion never reached us gives way to its namesake."""
    async with Store(database_url) as store:
        lost = await store.network("10.0.0.0/24")
        heir = replace(lost, identity=Identity(uuid4(), lost.identity.ref, 1), cidr=network("10.0.0.0/25").cidr)
        assert isinstance(await store.networks.apply(heir), Accepted)
        assert [known.identity.uid for known in await store.parents.known()] == [heir.identity.uid]


async def test_a_refusal_is_remembered_until_the_object_is_good_or_gone(database_url: str) -> None:
    """Claims can be told why their pool is not in service; an object in service is never shadowed by a refusal."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        await store.pool(parent, "10.0.0.0/25")
        late = pool(parent, "10.0.0.0/26")
        await store.pools.apply(late)
        assert "is not in service (NetworkOverlap)" in only(await store.allocate(late, claims(late, 1))).message
        await store.retire(late)
        assert await store.value("select count(*) from ipam.refusal") == 0
        await store.networks.refuse(Refused(parent.identity, Reason.INVALID_SPEC, "no"))
        assert await store.value("select count(*) from ipam.refusal") == 0


async def test_counters_add_up(database_url: str) -> None:
    """A pool's and its network's numbers: size, free, cooling, allocated, waiting, usable and reserved."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24", gateway="10.0.0.1", reserved=["10.0.0.2-10.0.0.9"])
        of = await store.pool(parent, "10.0.0.0/26", exclude=["10.0.0.60"], cool_down=3600)
        held = await store.take(of, 5, count=2)
        await store.release(held[0])
        await store.allocate(of, [claim(of, count=53)])
        counted = await store.count(of)
        assert (counted.size, counted.free, counted.cooling, counted.allocated) == (53, 43, 2, 8)
        assert (counted.waiting, counted.state, counted.ranges) == (
            1,
            "Ready",
            ("10.0.0.10-10.0.0.59", "10.0.0.61-10.0.0.63"),
        )
        assert counted.largest_free_block == "10.0.0.32/28"
        whole = await store.network_count(parent)
        assert (whole.usable, whole.reserved_size, whole.pools, whole.pool_size) == (254, 9, 1, 53)
        assert (whole.allocated, whole.cooling, whole.free, whole.unassigned) == (8, 2, 43, 254 - 8 - 9 - 2)


async def test_ipv6_counters_are_exact(database_url: str) -> None:
    """Counts beyond 2^63 are exact to the last address."""
    async with Store(database_url) as store:
        parent = await store.network("2001:db8::/48")
        of = await store.pool(parent)
        await store.take(of, 3)
        counted = await store.count(of)
        assert (counted.size, counted.free, counted.allocated) == (2**80 - 1, 2**80 - 4, 3)
        assert (await store.network_count(parent)).free == 2**80 - 4


@pytest.mark.parametrize("cidr", ["255.255.255.248/29", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff8/125", "0.0.0.0/29"])
@pytest.mark.parametrize("strategy", list(Strategy))
async def test_the_ends_of_the_space_do_not_wrap(database_url: str, cidr: str, strategy: Strategy) -> None:
    """The first and last address of all are granted, released, swept, merged and rebuilt."""
    async with Store(database_url) as store:
        parent = await store.network(cidr)
        of = await store.pool(parent, kind="Loopback", strategy=strategy)
        last = str(parent.cidr[-1])
        assert texts(await store.allocate(of, [claim(of, wanted=last)])) == [last]
        held = await store.take(of, 1, count=7)
        (waiter,) = claims(of, 1)
        assert only(await store.allocate(of, [waiter])).reason is Reason.POOL_EXHAUSTED
        await store.assert_tiled(parent, of)
        await store.release(*held, waiter)
        await store.sweep(of)
        await store.assert_tiled(parent, of)
        await store.sql("select ipam.rebuild_free_ranges(id) from ipam.pool")
        await store.assert_tiled(parent, of)
        asked = [claim(of, wanted=str(address)) for address in parent.cidr if str(address) != last]
        assert len(granted(await store.allocate(of, asked[::2]))) == 4
        assert len(granted(await store.allocate(of, asked[1::2]))) == 3
        await store.assert_tiled(parent, of)


@pytest.mark.parametrize(("table", "statement"), MASKED.items())
async def test_an_address_with_a_mask_is_refused_everywhere(database_url: str, table: str, statement: str) -> None:
    """One host cannot be stored under a second key, such as 10.0.0.1/24, in any table."""
    async with Store(database_url) as store:
        await store.pool("10.0.0.0/29")
        with pytest.raises(asyncpg.CheckViolationError, match=f'relation "{table}"'):
            await store.sql(statement)


async def test_apply_is_idempotent(database_url: str) -> None:
    """Applying the same specs again, also at once, changes nothing."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        of = await store.pool(parent)
        await store.take(of, 3)
        before = await store.free(of)
        await asyncio.gather(
            *(store.pools.apply(of) for _ in range(4)), *(store.networks.apply(parent) for _ in range(4))
        )
        assert await store.free(of) == before
        await store.assert_tiled(parent, of)

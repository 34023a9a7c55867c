"""Many at once: two replicas' worth of connections against one store."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from ipam_operator.domain.answers import Served
from ipam_operator.domain.model import ClaimRequest, PoolRequest, Strategy
from ipam_operator.domain.outcome import Accepted, Reason, Refused
from ipam_operator.errors import StoreUnavailableError
from ipam_operator.store.database import Connection
from tests.support.store import Store, claim, claims, granted, network, pool, refused

KILL_ONE = (
    "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() "
    "and state = 'active' and query like '%ipam.allocate%' and pid <> pg_backend_pid() order by random() limit 1"
)


@asynccontextmanager
async def replicas(url: str, *, connections: int = 8) -> AsyncIterator[tuple[Store, Store]]:
    """Two operators that nobody elected."""
    async with Store(url, connections=connections) as one, Store(url, connections=connections) as two:
        yield one, two


async def singly(stores: tuple[Store, Store], of: PoolRequest, asked: list[ClaimRequest]) -> list[Served]:
    """Each claim in a statement of its own, alternating between the replicas, all at once."""
    return list(await asyncio.gather(*(stores[k % 2].allocate(of, [one]) for k, one in enumerate(asked))))


async def test_a_pool_grants_exactly_its_size(database_url: str) -> None:
    """64 claims at once for 29 addresses, round after round: 29 get distinct ones, 35 wait."""
    async with replicas(database_url) as stores:
        parent = await stores[0].network("10.0.0.0/27", gateway="10.0.0.1")
        of = await stores[0].pool(parent)
        for _ in range(8):
            asked = claims(of, 64)
            served = await singly(stores, of, asked)
            addresses = [address for one in served for held in granted(one).values() for address in held]
            assert (len(addresses), len(set(addresses))) == (29, 29)
            assert sum(len(refused(one)) for one in served) == 35
            await stores[0].assert_tiled(parent, of)
            await stores[0].release(*asked)
            await stores[1].sweep(of)
        assert await stores[0].held() == {}


async def test_wishes_and_free_choice_share_a_pool(database_url: str) -> None:
    """Named addresses and free choice at once: nothing twice, and of two equal wishes one is granted."""
    async with replicas(database_url) as stores:
        parent = await stores[0].network("10.0.0.0/26")
        for strategy in Strategy:
            of = await stores[0].pool(parent, strategy=strategy)
            asked = claims(of, 30) + [claim(of, wanted=f"10.0.0.{n}") for n in range(20, 35) for _ in range(2)]
            random.Random(4).shuffle(asked)
            await singly(stores, of, asked)
            held = await stores[0].held()
            addresses = [address for some in held.values() for address in some]
            assert len(addresses) == len(set(addresses))
            wishes = [one for one in asked if one.wanted is not None]
            assert all(held[one.identity.uid] == [one.wanted] for one in wishes if one.identity.uid in held)
            named = {one.wanted for one in wishes}
            assert named <= set(addresses)
            await stores[0].assert_tiled(parent, of)
            await stores[0].release(*asked)
            await stores[0].retire(of)


async def test_two_replicas_that_ask_for_the_same_get_the_same(database_url: str) -> None:
    """The same batch from both replicas at once, in different order: one address each, told to both."""
    async with replicas(database_url) as (one, two):
        of = await one.pool("10.0.0.0/24")
        for _ in range(10):
            asked = claims(of, 12)
            first, second = await asyncio.gather(one.allocate(of, asked), two.allocate(of, asked[::-1]))
            assert granted(first) == granted(second)
            assert len(granted(first)) == 12
        assert len(await one.held()) == 120
        await one.assert_tiled()


async def test_of_overlapping_networks_one_is_accepted(database_url: str) -> None:
    """32 networks over one address at once: one comes into service, 31 are told about it."""
    async with replicas(database_url) as stores:
        wanted = [network(f"10.0.0.0/{8 + k % 16}") for k in range(32)]
        said = await asyncio.gather(*(stores[k % 2].networks.apply(one) for k, one in enumerate(wanted)))
        refusals = [one for one in said if isinstance(one, Refused)]
        (winner,) = [one for one in said if isinstance(one, Accepted)]
        assert {one.reason for one in refusals} == {Reason.NETWORK_OVERLAP}
        assert all(winner.subject.ref.name in one.message for one in refusals)
        pools = [pool(one) for one in wanted]
        served = await asyncio.gather(*(stores[k % 2].pools.apply(one) for k, one in enumerate(pools)))
        assert [one.subject for one in served if isinstance(one, Accepted)] == [
            one.identity for one in pools if one.network == winner.subject.ref
        ]


async def test_of_overlapping_pools_one_is_accepted(database_url: str) -> None:
    """16 pools over one address of a network at once: one comes into service."""
    async with replicas(database_url) as stores:
        parent = await stores[0].network("10.0.0.0/24")
        wanted = [pool(parent, f"10.0.0.{10 + k}-10.0.0.100") for k in range(16)]
        said = await asyncio.gather(*(stores[k % 2].pools.apply(one) for k, one in enumerate(wanted)))
        assert sum(isinstance(one, Accepted) for one in said) == 1
        assert {one.reason for one in said if isinstance(one, Refused)} == {Reason.NETWORK_OVERLAP}
        await stores[0].assert_tiled()


async def test_releases_over_two_pools_do_not_deadlock(database_url: str) -> None:
    """Batches of releases that touch two pools in opposite orders, while both allocate, all succeed."""
    async with replicas(database_url) as (one, two):
        parent = await one.network("10.0.0.0/16")
        left, right = await one.pool(parent, "10.0.0.0/20"), await one.pool(parent, "10.0.16.0/20")
        for _ in range(6):
            batches = []
            for _ in range(8):
                here, there = await one.take(left, 5), await two.take(right, 5)
                batches.append([claim for pair in zip(here, there, strict=True) for claim in pair])
            work: list[Awaitable[object]] = []
            for k, batch in enumerate(batches):
                work.append((one, two)[k % 2].release(*(batch if k % 2 else batch[::-1])))
                work.append((two, one)[k % 2].take(left if k % 2 else right, 3))
            await asyncio.gather(*work)
        assert len(await one.held()) == 6 * 8 * 3
        await one.assert_tiled(parent, left, right)
        await one.assert_history_is_ledger()


async def test_a_claim_that_turns_to_another_pool_while_both_are_busy_holds_once(database_url: str) -> None:
    """Requests of one claim to two pools at once, with releases that let both serve, never grant twice."""
    async with replicas(database_url) as (one, two):
        left, right = await one.pool("10.0.0.0/30"), await one.pool("10.1.0.0/30")
        for _ in range(25):
            held = [*await one.take(left, 2), *await one.take(right, 2)]
            mover = claim(left)
            await one.allocate(left, [mover])
            moved = claim(right, uid=mover.identity.uid)
            await asyncio.gather(
                one.release(*held), two.allocate(right, [moved]), one.serve(left), two.serve(right),
                one.allocate(left, [mover]),
            )  # fmt: skip
            await one.serve(left)
            await one.serve(right)
            holders = await one.held()
            assert len(holders[mover.identity.uid]) == 1
            await one.release(mover)
            await one.sweep(left, right)
            assert await one.held() == {}
        await one.assert_tiled()


async def test_edits_and_deletion_race_with_allocation(database_url: str) -> None:
    """Growing, shrinking, pausing and retiring a pool while claims come: tiled, and nothing lost or doubled."""
    async with replicas(database_url) as (one, two):
        parent = await one.network("10.0.0.0/24")
        of = await one.pool(parent, "10.0.0.10-10.0.0.60")
        small, large = pool(parent, "10.0.0.10-10.0.0.30").ranges, pool(parent, "10.0.0.10-10.0.0.90").ranges
        asked = claims(of, 70)
        edits: list[Callable[[], Awaitable[object]]] = [
            lambda: one.change(of, ranges=large),
            lambda: one.change(of, ranges=small),
            lambda: one.change(of, paused=True),
            lambda: one.change(of, ranges=large, paused=False),
            lambda: one.retire(parent),
        ]

        async def edit() -> None:
            for _ in range(4):
                for change in edits:
                    await change()

        served, _ = await asyncio.gather(singly((one, two), of, asked), edit())
        del served
        assert await one.change(of, ranges=large, paused=False) == Accepted(of.identity)
        await two.serve(of)
        held = await one.held()
        assert len(held) == 70
        assert len({address for some in held.values() for address in some}) == 70
        await one.assert_tiled()


async def test_killed_sessions_lose_and_double_nothing(database_url: str) -> None:
    """Sessions die while batches are in flight: errors say "unavailable", and retries end with one address each."""
    async with Store(database_url, connections=6) as store, Store(database_url) as killer:
        parent = await store.network("10.0.0.0/22")
        of = await store.pool(parent)
        asked = claims(of, 300)
        batches = [asked[k : k + 5] for k in range(0, 300, 5)]
        errors: list[StoreUnavailableError] = []

        async def insist(batch: list[ClaimRequest]) -> Served:
            for _ in range(50):
                try:
                    served = await store.allocate(of, batch)
                except StoreUnavailableError as error:
                    errors.append(error)
                else:
                    await killer.sql_alone(KILL_ONE)
                    return served
            raise AssertionError("never served")

        served = await asyncio.gather(*(insist(batch) for batch in batches))
        for _ in range(20):  # until one was surely hit in flight
            if errors:
                break
            await asyncio.gather(*(insist(batch) for batch in batches))
        told = {uid: list(addresses) for one in served for uid, addresses in granted(one).items()}
        assert errors
        assert told == await store.held()
        assert len({address for addresses in told.values() for address in addresses}) == 300
        await store.assert_tiled(parent, of)
        await store.assert_history_is_ledger()


async def test_a_frozen_process_keeps_no_locks(database_url: str) -> None:
    """Who stops in the middle of a transaction holds others up for five seconds, and is told when it goes on."""
    async with replicas(database_url) as (one, two):
        of = await one.pool(await one.network("10.0.0.0/24"), "10.0.0.10-10.0.0.60")
        locked, thawed = asyncio.Event(), asyncio.Event()

        async def freeze(connection: Connection) -> None:
            assert await connection.rows("pool_by_name", of.identity.ref.namespace, of.identity.ref.name)
            locked.set()
            await thawed.wait()

        frozen = asyncio.create_task(one.database.transaction("frozen", freeze))
        async with asyncio.timeout(5.0):
            await locked.wait()
        async with asyncio.timeout(20.0):
            await two.take(of, 1)
        thawed.set()
        with pytest.raises(StoreUnavailableError):
            await frozen

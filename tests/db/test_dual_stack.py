"""Claims for addresses of both families: both or none, of one pool for each."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest_asyncio

from ipam_operator.domain.model import PoolRequest, Selector, Term
from ipam_operator.domain.outcome import Granted, Reason
from tests.support.store import Store, claim, granted, only, refused, selector, texts

BOTH = selector(dual=True)


class Pools:
    """An IPv4 pool of `four` addresses and an IPv6 one of `six`."""

    def __init__(self, four: PoolRequest, six: PoolRequest) -> None:
        self.four, self.six = four, six


async def made(store: Store, four: int = 4, six: int = 4, **facts: object) -> Pools:
    net4, net6 = await store.network("10.0.0.0/24"), await store.network("2001:db8::/64")
    return Pools(
        await store.pool(net4, f"10.0.0.10-10.0.0.{9 + four}", **facts),
        await store.pool(net6, f"2001:db8::10-2001:db8::{15 + six:x}", **facts),
    )


@pytest_asyncio.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with Store(database_url) as opened:
        yield opened


async def test_one_of_each(store: Store) -> None:
    pools = await made(store)
    one, many = claim(BOTH), claim(BOTH, count=2)
    (outcome,) = (await store.ask(one)).outcomes
    assert isinstance(outcome, Granted)
    assert [str(address) for address in outcome.addresses] == ["10.0.0.10", "2001:db8::10"]
    four, six = outcome.blocks
    assert (four.family, four.prefix_length, outcome.pool) == (4, 24, pools.four.identity.ref)
    assert (six.family, six.prefix_length, six.pool) == (6, 64, pools.six.identity.ref)
    assert texts(await store.ask(many)) == ["10.0.0.11", "10.0.0.12", "2001:db8::11", "2001:db8::12"]
    assert texts(await store.ask(one)) == ["10.0.0.10", "2001:db8::10"], "asked again"
    assert len({row["generation"] for row in await store.sql("select generation from ipam.lease")}) == 2
    shown = {
        one.identity.uid: "10.0.0.10,2001:db8::10",
        many.identity.uid: "10.0.0.11,10.0.0.12,2001:db8::11,2001:db8::12",
    }
    assert await store.audit.compare(shown, settled_seconds=0) == []
    await store.release(one)
    await store.sweep(pools.four, pools.six)
    assert (await store.count(pools.four)).free == (await store.count(pools.six)).free == 2
    assert {uid: len(held) for uid, held in (await store.held()).items()} == {many.identity.uid: 4}
    await store.assert_tiled()
    await store.assert_history_is_ledger()


async def test_all_or_nothing(store: Store) -> None:
    pools = await made(store, four=4, six=1)
    said = only(await store.ask(claim(BOTH, count=2)))
    assert said.reason is Reason.POOL_EXHAUSTED
    assert f"2 addresses asked; IPv6 pools have too few: {pools.six.identity.ref.name} (1 of 1 free)" in said.message
    assert await store.held() == {}
    assert (await store.count(pools.four)).free == 4
    assert len(granted(await store.ask(claim(BOTH)))) == 1, "a smaller one passes"


async def test_served_when_either_family_has_come_free(store: Store) -> None:
    pools = await made(store, four=1, six=2)
    holder = claim(pools.four)
    await store.ask(holder)
    waits = claim(BOTH)
    assert only(await store.ask(waits)).reason is Reason.POOL_EXHAUSTED
    assert texts(await store.ask(claim(pools.six))) == ["2001:db8::10"], "who waits for IPv4 is in nobody's way"
    await store.release(holder)
    assert texts(await store.serve(pools.four)) == ["10.0.0.10", "2001:db8::11"]
    later = claim(BOTH)
    await store.ask(later)
    await store.release(waits)
    assert texts(await store.serve(pools.six)) == ["10.0.0.10", "2001:db8::11"], "whichever pool is looked at"
    await store.assert_tiled()


async def test_in_the_order_of_arrival_among_all(store: Store) -> None:
    pools = await made(store, four=1, six=9)
    holder = claim(pools.four)
    await store.ask(holder)
    first, both, last = claim(pools.four), claim(BOTH), claim(pools.four)
    for one in (first, both, last):
        await store.ask(one)
    order = []
    for gone in (holder, first, both):
        await store.release(gone)
        order += list(granted(await store.serve(pools.four)))
    assert order == [first.identity.uid, both.identity.uid, last.identity.uid]


async def test_many_at_once(store: Store) -> None:
    pools = await made(store, four=20, six=20)
    asked = (
        [claim(BOTH) for _ in range(16)] + [claim(pools.four) for _ in range(4)] + [claim(pools.six) for _ in range(4)]
    )

    async def come(i: int) -> None:
        await store.ask(asked[i])

    await asyncio.gather(*(come(i) for i in range(len(asked))))
    for of in (pools.four, pools.six):
        await store.serve(of)
    held = await store.held()
    assert {uid: len(some) for uid, some in held.items()} == {
        one.identity.uid: 1 + (one.selector is not None) for one in asked
    }
    everything = [address for some in held.values() for address in some]
    assert len(everything) == len(set(everything)) == 40
    await asyncio.gather(*(store.release(one) for one in asked))
    assert await store.held() == {}
    await store.assert_tiled()


async def test_the_next_pool_of_a_family(store: Store) -> None:
    await made(store, four=1, six=9, priority=5)
    net = await store.network("10.1.0.0/24")
    spill = await store.pool(net, "10.1.0.10-10.1.0.19", priority=1)
    first, second = claim(BOTH, name="a"), claim(BOTH, name="b")
    assert texts(await store.ask(first)) == ["10.0.0.10", "2001:db8::10"]
    assert texts(await store.ask(second)) == ["10.1.0.10", "2001:db8::11"]
    await store.release(first)
    await store.release(second)
    assert texts(await store.ask(claim(BOTH, name="b"))) == ["10.1.0.10", "2001:db8::11"], "what it had"
    six = await store.pool(await store.network("2001:db8:1::/64"), priority=9)
    third = claim(BOTH, name="c")
    assert texts(await store.ask(third)) == ["10.0.0.10", "2001:db8:1::1"], "by priority"
    await store.release(third)
    await store.change(six, priority=1)
    assert texts(await store.ask(claim(BOTH, name="c"))) == ["10.0.0.10", "2001:db8:1::1"], "what it had"
    twin = await store.pool(await store.network("10.2.0.0/24"), priority=5)
    assert only(await store.ask(claim(BOTH))).reason is Reason.POOL_AMBIGUOUS
    await store.retire(twin)
    assert len(granted(await store.serve(spill, tell=True))) == 1


async def test_without_a_pool_of_a_family(store: Store) -> None:
    net = await store.network("10.0.0.0/24")
    await store.pool(net)
    waits = claim(BOTH)
    said = only(await store.ask(waits))
    assert (said.reason, said.message[:31]) == (Reason.POOL_NOT_FOUND, "there are no IPv6 pools that ar")
    six = await store.pool(await store.network("2001:db8::/64"))
    assert texts(await store.serve(six, tell=True)) == ["10.0.0.1", "2001:db8::1"]


async def test_quota_of_either_pool(store: Store) -> None:
    pools = await made(store)
    await store.change(pools.six, quota=1)
    first, second = claim(BOTH), claim(BOTH)
    await store.ask(first)
    assert only(await store.ask(second)).reason is Reason.QUOTA_EXCEEDED
    await store.release(first)
    assert list(granted(await store.serve(pools.six))) == [second.identity.uid]


async def test_one_mac_in_two_networks(store: Store) -> None:
    pools = await made(store)
    mac = "02:00:5e:10:00:01"
    holder, both = claim(pools.six, mac=mac), claim(BOTH, mac=mac)
    await store.ask(holder)
    assert only(await store.ask(both)).reason is Reason.MAC_CONFLICT
    assert list(await store.held()) == [holder.identity.uid]
    await store.release(holder)
    assert list(granted(await store.serve(pools.six))) == [both.identity.uid]
    assert only(await store.ask(claim(pools.four, mac=mac))).reason is Reason.MAC_CONFLICT
    other = "02:00:5e:10:00:02"
    assert both.detail is not None
    changed = replace(both, identity=replace(both.identity, generation=2), detail=replace(both.detail, mac=other))
    await store.ask(changed)
    assert [str(row["mac"]) for row in await store.sql("select mac::text from ipam.lease where mac is not null")] == [
        other
    ] * 2


async def test_a_term_ends_for_both(store: Store) -> None:
    pools = await made(store)
    one = claim(BOTH, term=Term(timedelta(minutes=10)))
    await store.ask(one)
    await store.lapse(one)
    assert refused(await store.expire())[one.identity.uid].reason is Reason.EXPIRED_ALLOCATION
    assert await store.held() == {}
    assert (await store.count(pools.six)).allocated == 0


async def test_kept_and_come_again(store: Store) -> None:
    pools = await made(store, four=1, six=1)
    one = claim(BOTH, name="gate", retain=True)
    await store.ask(one)
    await store.release(one)
    assert only(await store.ask(claim(BOTH, name="other"))).reason is Reason.POOL_EXHAUSTED
    assert (await store.count(pools.four)).retained == (await store.count(pools.six)).retained == 1
    assert texts(await store.ask(claim(BOTH, name="gate"))) == ["10.0.0.10", "2001:db8::10"]
    await store.assert_tiled()


async def test_taken_into_an_empty_store_by_halves(store: Store) -> None:
    """What the claim shows, from the pools that it shows; one family that is taken is no reason to lose the other."""
    pools = await made(store)
    one = claim(BOTH)
    for of, text in ((pools.six, "2001:db8::12"), (pools.four, "10.0.0.12")):
        assert texts(await store.adopt(of, one, text)) == [text]
    assert texts(await store.ask(one)) == ["10.0.0.12", "2001:db8::12"]
    assert await store.audit.compare({one.identity.uid: "10.0.0.12,2001:db8::12"}, settled_seconds=0) == []
    assert len({row["generation"] for row in await store.sql("select generation from ipam.lease")}) == 1
    await store.ask(claim(pools.six, wanted="2001:db8::13"))
    half = claim(BOTH)
    await store.adopt(pools.four, half, "10.0.0.13")
    assert only(await store.adopt(pools.six, half, "2001:db8::13")).reason is Reason.ADDRESS_CONFLICT
    assert only(await store.ask(half)).reason is Reason.ADDRESS_CONFLICT, "never half of what it asks for"


async def test_never_half_of_it(store: Store) -> None:
    """Whoever has one pool's row, and sees a better pool come free meanwhile, leaves the claim to the next look."""
    mac = "02:00:5e:10:00:01"
    better = await store.pool(await store.network("10.0.0.0/24"), priority=5)
    other = await store.pool(await store.network("10.1.0.0/24"), priority=1)
    six = await store.pool(await store.network("2001:db8::/64"), "2001:db8::10", priority=5)
    holder, both = claim(six), claim(BOTH, mac=mac)
    await store.ask(holder)
    assert only(await store.ask(both)).reason is Reason.POOL_EXHAUSTED
    await store.release(holder)
    connection = await asyncpg.connect(store.url)
    held = connection.transaction()
    await held.start()
    await connection.execute("select from ipam.pool where uid = $1 for no key update", better.identity.uid)
    network = await connection.fetchval("select network_id from ipam.pool where uid = $1", other.identity.uid)
    await connection.execute("select ipam.lock_macs(array[$1::int], array[$2::text::macaddr])", network, mac)
    asking = asyncio.create_task(store.ask(claim(other)))
    blocked = "select exists (select from pg_locks where locktype = 'advisory' and not granted)"
    while not await connection.fetchval(blocked):  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.01)
    await held.commit()
    await connection.close()
    await asking
    assert len((await store.held()).get(both.identity.uid, [])) in {0, 2}
    await store.serve(six)
    assert len((await store.held())[both.identity.uid]) == 2


async def test_those_who_lack_a_family_are_in_nobodys_way(store: Store) -> None:
    """However many they are: what is free of the other family is handed out behind them."""
    pools = await made(store, four=4, six=1)
    await store.ask(claim(pools.six))
    for _ in range(11):
        await store.allocate(BOTH, [claim(BOTH) for _ in range(100)])
    assert granted(await store.ask(claim(pools.four)))


async def test_it_does_not_starve(store: Store) -> None:
    """Where both families are full and come free in turns, it gets both after others have passed it (ADR 9)."""
    pools = await made(store, four=1, six=1)
    held = [claim(pools.four), claim(pools.six)]
    for one in held:
        await store.ask(one)
    both = claim(BOTH)
    await store.ask(both)
    for turn in range(8):
        of = (pools.four, pools.six)[turn % 2]
        later = claim(of)
        await store.ask(later)
        await store.release(held.pop(0))
        got = granted(await store.serve(of))
        held.append(later)
        if both.identity.uid in got:
            break
    assert len((await store.held())[both.identity.uid]) == 2
    await store.assert_tiled()


async def test_the_shorter_of_two_leases(store: Store) -> None:
    """Neither pool lends longer than it lets."""
    await store.pool(await store.network("10.0.0.0/24"))
    await store.pool(await store.network("2001:db8::/64"), max_lease=timedelta(minutes=10))
    one = claim(BOTH, term=Term(timedelta(hours=5)))
    for _ in range(2):
        (outcome,) = (await store.ask(one)).outcomes
        assert isinstance(outcome, Granted)
        assert outcome.expires_at is not None
        assert outcome.expires_at - outcome.allocated_at == timedelta(minutes=10)


async def test_kept_within_the_quota_of_each(store: Store) -> None:
    """What one of the pools would keep too much of is kept in neither."""
    pools = await made(store)
    await store.change(pools.six, quota=1)
    for name in ("a", "b"):
        one = claim(BOTH, name=name, retain=True)
        assert granted(await store.ask(one))
        await store.release(one)
    assert ((await store.count(pools.four)).retained, (await store.count(pools.six)).retained) == (1, 1)


async def test_who_has_its_mac_address(store: Store) -> None:
    """Named, in whichever of the networks it is."""
    pools = await made(store)
    mac = "02:00:5e:10:00:01"
    for of in (pools.four, pools.six):
        holder, both = claim(of, mac=mac), claim(BOTH, mac=mac)
        await store.ask(holder)
        assert f"IPClaim {holder.identity.ref.name}" in only(await store.ask(both)).message
        await store.release(both, holder)


def test_it_is_another_queue() -> None:
    assert selector(dual=True).place != selector().place != selector(family=6).place
    assert isinstance(BOTH, Selector)

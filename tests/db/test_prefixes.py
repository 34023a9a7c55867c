"""Pools of prefixes: a buddy list, and the same rules as for addresses."""

import asyncio
import random
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from ipam_operator.domain.answers import Served
from ipam_operator.domain.model import ClaimRequest, Fit, NetworkRequest, PoolRequest, Prefixes
from ipam_operator.domain.outcome import Accepted, Reason, Refused
from tests.support.store import Store, claim, granted, only, pool, selector, spans, texts


def prefixes(
    of: NetworkRequest,
    *ranges: str,
    lengths: tuple[int, ...] = (24, 26, 28),
    default: int | None = None,
    fit: Fit = Fit.BEST,
    **facts: Any,
) -> PoolRequest:
    """An IPPool of prefixes."""
    return pool(of, *ranges, prefixes=Prefixes(lengths, default or max(lengths), fit), **facts)


@pytest_asyncio.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    async with Store(database_url) as opened:
        yield opened


async def made(store: Store, request: PoolRequest) -> PoolRequest:
    assert isinstance(await store.pools.apply(request), Accepted)
    return request


async def test_a_claim_gets_a_prefix_and_gives_it_back(store: Store) -> None:
    net = await store.network("10.0.0.0/16")
    p = await made(store, prefixes(net, "10.0.0.0/22"))
    one, two, other = claim(p, length=24), claim(p, length=26), claim(p)
    assert texts(await store.ask(one)) == ["10.0.0.0/24"]
    assert texts(await store.ask(two)) == ["10.0.1.0/26"]
    assert texts(await store.ask(other)) == ["10.0.1.64/28"], "of the pool's default, best fit"
    assert texts(await store.ask(one)) == ["10.0.0.0/24"], "asked again"
    await store.assert_tiled(net, p)
    await store.release(one, two, other)
    await store.sweep(p)
    assert await store.free(p) == ["10.0.0.0-10.0.3.255"], "halves have become whole again"
    await store.assert_tiled(net, p)
    await store.assert_history_is_ledger()


@pytest.mark.parametrize(("fit", "second"), [(Fit.BEST, "10.0.1.128/25"), (Fit.FIRST, "10.0.0.0/25")])
async def test_first_and_best_fit(store: Store, fit: Fit, second: str) -> None:
    net = await store.network("10.0.0.0/16")
    p = await made(store, prefixes(net, "10.0.0.0/22", lengths=(24, 25), fit=fit))
    first, half = claim(p, length=24), claim(p, length=25)
    await store.ask(first)
    assert texts(await store.ask(half)) == ["10.0.1.0/25"]
    await store.release(first)
    await store.sweep(p)
    assert texts(await store.ask(claim(p, length=25))) == [second]


async def test_many_of_ipv6_in_one_claim(store: Store) -> None:
    net = await store.network("2001:db8::/32")
    p = await made(store, prefixes(net, "2001:db8::/40", lengths=(48, 56, 64)))
    odd, many = claim(p, length=64, count=5), claim(p, length=56, count=300)
    assert texts(await store.ask(odd))[0] == "2001:db8::/64"
    got = granted(await store.ask(many))[many.identity.uid]
    assert len(got) == 300
    assert all(one.prefixlen == 56 and one.subnet_of(ip_network("2001:db8::/40")) for one in got)
    assert str(got[0]) == "2001:db8:0:100::/56"
    await store.assert_tiled(net, p)
    await store.release(odd, many)
    await store.sweep(p)
    assert await store.free(p) == ["2001:db8::-2001:db8:ff:ffff:ffff:ffff:ffff:ffff"]


async def test_all_or_nothing_and_served_when_enough_is_whole(store: Store) -> None:
    net = await store.network("10.0.0.0/16")
    p = await made(store, prefixes(net, "10.0.0.0/24", lengths=(24, 26)))
    quarters = [claim(p, length=26) for _ in range(4)]
    await store.allocate(p, quarters)
    whole = claim(p, length=24)
    said = only(await store.ask(whole))
    assert said.reason is Reason.POOL_EXHAUSTED
    assert (
        said.message
        == f"1 /24 prefix asked; pool {p.identity.ref.name} has 1, 0 free (nothing is free); the claim waits for more"
    )
    for one in quarters[:3]:
        await store.release(one)
        assert granted(await store.serve(p)) == {}
    await store.release(quarters[3])
    assert texts(await store.serve(p)) == ["10.0.0.0/24"]
    await store.assert_tiled(net, p)


async def test_a_large_one_is_passed_and_then_stands(store: Store) -> None:
    """The rule of docs/dev/adr/0005, in sizes of the smallest prefix."""
    net = await store.network("10.0.0.0/16")
    p = await made(store, prefixes(net, "10.0.0.0/24", lengths=(25, 27)))
    held = [claim(p, length=27) for _ in range(8)]
    await store.allocate(p, held)
    large = claim(p, length=25)
    small = [claim(p, length=27) for _ in range(6)]
    await store.ask(large)
    for one in small:
        await store.ask(one)
    for one in (held[0], held[2], held[5], held[7]):  # no two of one half
        await store.release(one)
    assert list(granted(await store.serve(p))) == [one.identity.uid for one in small[:4]], "as many as a /25 has"
    await store.release(held[1])
    assert granted(await store.serve(p)) == {}, "now the large one stands"
    await store.release(held[3])
    assert granted(await store.serve(p)) == {}
    left = [
        one
        for one in small[:4]
        if granted(await store.ask(one))[one.identity.uid][0].subnet_of(ip_network("10.0.0.0/25"))
    ]
    await store.release(*left)
    assert texts(await store.serve(p)) == ["10.0.0.0/25"]
    assert await store.waiting(p) == [one.identity.uid for one in small[4:]]


async def test_small_ones_behind_a_hundred_large_ones(store: Store) -> None:
    net = await store.network("10.0.0.0/16")
    p = await made(store, prefixes(net, "10.0.0.0/24", lengths=(24, 28)))
    first = claim(p, length=28)
    await store.ask(first)
    for _ in range(120):
        await store.ask(claim(p, length=24))
    assert texts(await store.ask(claim(p, length=28))) == ["10.0.0.16/28"]


@pytest.mark.parametrize(("ranges", "length", "count"), [("10.0.0.0/24", 26, 5), ("10.0.0.0/22", 24, 2)])
async def test_behind_very_many_that_do_not_fit(store: Store, ranges: str, length: int, count: int) -> None:
    """Who never fits, or does not now, hides nobody who does."""
    net = await store.network("10.0.0.0/16")
    p = await made(store, prefixes(net, ranges, lengths=(length,)))
    await store.allocate(p, [claim(p) for _ in range(3)])
    for _ in range(11):
        await store.allocate(p, [claim(p, count=count) for _ in range(100)])
    assert granted(await store.ask(claim(p)))


async def test_a_named_prefix(store: Store) -> None:
    net = await store.network("10.0.0.0/16")
    p = await made(store, prefixes(net, "10.0.0.0/22"))
    first = claim(p, length=24, wanted="10.0.2.0")
    assert texts(await store.ask(first)) == ["10.0.2.0/24"]
    said = only(await store.ask(claim(p, length=26, wanted="10.0.2.64")))
    assert said.reason is Reason.ADDRESS_CONFLICT
    assert said.message == (
        f"10.0.2.0/24, which overlaps 10.0.2.64/26, is held by IPClaim {first.identity.ref.name};"
        " free near it: 10.0.1.192/26, 10.0.3.0/26"
    )
    assert only(await store.ask(claim(p, length=24, wanted="10.0.9.0"))).reason is Reason.OUTSIDE_POOL
    crooked = only(await store.ask(claim(p, wanted="10.0.3.7")))
    assert crooked.reason is Reason.INVALID_SPEC
    assert crooked.message == "10.0.3.7 must be the first address of a /28: 10.0.3.0"
    for stranger in ("2001:db8::7", "2001:db8::"):
        said = only(await store.ask(claim(p, wanted=stranger)))
        assert said.reason is Reason.OUTSIDE_POOL
        assert said.message.startswith(f"{stranger}/28 is not handed out by pool"), said.message
    await store.release(first)
    assert texts(await store.serve(p)) == ["10.0.2.64/26"], "the named one that waited"


async def test_an_ipv4_address_named_in_a_pool_of_ipv6_prefixes_is_outside(store: Store) -> None:
    net = await store.network("2001:db8::/32")
    p = await made(store, prefixes(net, "2001:db8::/48", lengths=(56, 64), default=64))
    said = only(await store.ask(claim(p, wanted="10.0.0.7")))
    assert said.reason is Reason.OUTSIDE_POOL
    assert said.message.startswith("10.0.0.7/32 is not handed out by pool"), said.message


async def test_kinds_do_not_mix(store: Store) -> None:
    net = await store.network("10.0.0.0/16")
    p = await made(store, prefixes(net, "10.0.0.0/24"))
    addresses = await store.pool(net, "10.0.1.0/24")
    said = only(await store.ask(claim(addresses, length=26)))
    assert said.reason is Reason.INVALID_SPEC
    assert "hands out addresses, not prefixes" in said.message
    said = only(await store.ask(claim(p, length=30)))
    assert said.reason is Reason.INVALID_SPEC
    assert said.message.endswith("hands out no /30; spec.prefixLength must be one of 24, 26, 28")
    overlapping = prefixes(net, "10.0.1.0/25")
    assert isinstance(await store.pools.apply(overlapping), Refused), "pools of either kind are parts of the network"
    turned = await store.change(p, prefixes=None)
    assert isinstance(turned, Refused)
    assert turned.message.startswith("spec.prefixes must stay set")
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await store.sql(
            "insert into ipam.lease (pool_id, addr, claim_uid, ordinal, generation, namespace, name, actor)"
            " select id, '10.0.0.5', gen_random_uuid(), 0, 1, 'a', 'a', 'a' from ipam.pool where of_prefixes"
        )
    await store.ask(claim(p, length=26))
    for part in ("10.0.0.0/28", "10.0.0.0/24", "10.0.0.7/32"):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await store.sql(
                "insert into ipam.lease"
                " (pool_id, addr, claim_uid, ordinal, generation, namespace, name, actor, of_prefix)"
                f" select id, '{part}', gen_random_uuid(), 0, 1, 'a', 'a', 'a', true from ipam.pool where of_prefixes"
            )


async def test_a_length_that_is_offered_later(store: Store) -> None:
    net = await store.network("10.0.0.0/16")
    p = await made(store, prefixes(net, "10.0.0.0/24"))
    waits = claim(p, length=25)
    assert only(await store.ask(waits)).reason is Reason.INVALID_SPEC
    await store.change(p, prefixes=Prefixes((24, 25), 25))
    assert texts(await store.serve(p, tell=True)) == ["10.0.0.0/25"]


async def test_by_selector(store: Store) -> None:
    net = await store.network("2001:db8::/32")
    full = await made(store, prefixes(net, "2001:db8::/55", lengths=(56,), priority=2))
    wide = await made(store, prefixes(net, "2001:db8:1::/48", lengths=(48, 56), priority=1))
    await store.pool(net, "2001:db8:2::/120", priority=3)
    meant = selector(network=net.identity.ref.name, length=56)
    said = await store.allocate(meant, [claim(meant, length=56) for _ in range(3)])
    assert sorted(texts(said)) == ["2001:db8:0:100::/56", "2001:db8:1::/56", "2001:db8::/56"]
    assert texts(await store.ask(claim(selector(network=net.identity.ref.name)))) == ["2001:db8:2::"], "an address"
    far = selector(network=net.identity.ref.name, length=60)
    said_far = only(await store.ask(claim(far, length=60)))
    assert said_far.reason is Reason.POOL_NOT_FOUND
    assert "pools of /60 prefixes of network" in said_far.message
    await store.assert_tiled(net, full, wide)


async def test_it_comes_again(store: Store) -> None:
    net = await store.network("10.0.0.0/16")
    p = await made(store, prefixes(net, "10.0.0.0/22", cool_down=300))
    first, second = claim(p, length=26, name="site-1"), claim(p, length=26, name="site-2")
    await store.allocate(p, [first, second])
    await store.release(second)
    assert texts(await store.ask(claim(p, length=26, name="site-3"))) == ["10.0.0.128/26"]
    assert texts(await store.ask(claim(p, length=26, name="site-2"))) == ["10.0.0.64/26"], "cools for others only"
    kept = claim(p, length=24, name="site-4", retain=True)
    got = texts(await store.ask(kept))
    await store.release(kept)
    await store.ask(claim(p, length=24, name="site-5"))
    assert texts(await store.ask(claim(p, length=26, name="site-4"))) != got, "another length is another thing"
    await store.assert_tiled(net, p)


async def test_what_is_held_stays_in_service(store: Store) -> None:
    """A shrink below it is refused with the prefix; so is the end of a pool; a restore takes in what a claim shows."""
    net = await store.network("10.0.0.0/16")
    p = await made(store, prefixes(net, "10.0.0.0/22"))
    one = claim(p, length=24, wanted="10.0.3.0", name="hall")
    await store.ask(one)
    shrunk = await store.change(p, ranges=spans(["10.0.0.0/23"]))
    assert isinstance(shrunk, Refused)
    assert "10.0.3.0/24 (IPClaim hall)" in shrunk.message
    shown = claim(p, length=26)
    assert texts(await store.adopt(p, shown, "10.0.2.64/26")) == ["10.0.2.64/26"]
    assert texts(await store.ask(shown)) == ["10.0.2.64/26"]
    seen = {one.identity.uid: "10.0.3.0/24", shown.identity.uid: "10.0.2.64/26"}
    assert await store.audit.compare(seen, settled_seconds=0) == []
    lost = claim(p, length=26)
    said = only(await store.adopt(p, lost, "10.0.3.64/26"))
    assert said.reason is Reason.ADDRESS_CONFLICT
    assert "10.0.3.64/26 is not free" in said.message
    assert only(await store.adopt(p, claim(p), "10.0.0.7")).reason is Reason.ADDRESS_CONFLICT, (
        "no address of such a pool"
    )
    await store.assert_tiled(net, p)


async def test_kept_until_it_is_let_go(store: Store) -> None:
    """Retained prefixes survive their pool, and are ended by hand."""
    net = await store.network("10.0.0.0/16")
    p = await made(store, prefixes(net, "10.0.0.0/24"))
    one = claim(p, length=26, name="hall", retain=True)
    await store.ask(one)
    await store.release(one)
    await store.retire(p)
    p = await made(store, prefixes(net, "10.0.0.0/24", name=p.identity.ref.name))
    await store.assert_tiled(net, p)
    (kept,) = await store.claims.retained()
    assert str(kept.address) == "10.0.0.0/26"
    assert texts(await store.ask(claim(p, length=26, name="other"))) == ["10.0.0.64/26"]
    assert await store.claims.end_retention(p.identity.ref, kept.address, actor="carol") is not None
    await store.sweep(p)
    assert texts(await store.ask(claim(p, length=26, name="third"))) == ["10.0.0.0/26"]


async def test_counted_in_prefixes(store: Store) -> None:
    net = await store.network("10.0.0.0/16")
    p = await made(store, prefixes(net, "10.0.0.0/24", cool_down=300))
    one = claim(p, length=26)
    await store.allocate(p, [one, claim(p, length=28)])
    await store.release(one)
    counted = await store.count(p)
    assert (counted.size, counted.allocated, counted.cooling, counted.free) == (16, 1, 4, 11)
    assert counted.largest_free_block == "10.0.0.128/25"
    assert (await store.network_count(net)).cooling == 64


async def test_side_by_side(store: Store) -> None:
    net = await store.network("10.0.0.0/16")
    p = await made(store, prefixes(net, "10.0.0.0/23", lengths=(24, 26, 28)))
    asked = [claim(p, length=(26, 28, 28, 26)[i % 4]) for i in range(40)]

    async def come(i: int) -> Served:
        return await store.ask(asked[i])

    await asyncio.gather(*(come(i) for i in range(40)))
    held = [ip_network(str(one)) for some in (await store.held()).values() for one in some]
    assert all(not a.overlaps(b) for i, a in enumerate(held) for b in held[:i])
    await store.assert_tiled(net, p)
    await asyncio.gather(*(store.release(one) for one in asked))
    await store.sweep(p)
    assert await store.free(p) == ["10.0.0.0-10.0.1.255"]


async def test_ends_and_holes(store: Store) -> None:
    net = await store.network("10.0.0.0/24", gateway="10.0.0.1")
    p = await made(store, prefixes(net, lengths=(25, 26, 30), exclude=["10.0.0.200"]))
    taken = [texts(await store.ask(claim(p, length=length))) for length in (26, 26, 30)]
    assert taken == [["10.0.0.64/26"], ["10.0.0.128/26"], ["10.0.0.4/30"]]
    said = only(await store.ask(claim(p, length=25)))
    name = p.identity.ref.name
    assert said.message.startswith(f"1 /25 prefix asked, but pool {name} has only 0 in all; ask for fewer")
    await store.assert_tiled(net, p)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("cidr", ["10.0.0.0/16", "2001:db8::/32"])
async def test_any_sequence_leaves_the_ledger_whole(store: Store, cidr: str, seed: int) -> None:
    """Claims come, wait, are served and go: never two of one prefix, all of a claim's or none, and nothing is lost."""
    rng, net = random.Random(seed), await store.network(cidr)
    first, bits = net.cidr.network_address, net.cidr.max_prefixlen
    length = net.cidr.prefixlen + 8
    span = 2 ** (bits - length)
    ranges = f"{first + span}-{first + 3 * span - 1}"
    lengths = (length, length + 1, length + 3, length + 5)
    fit = rng.choice(list(Fit))
    hole = f"{first + span + 5 * span // 8}"
    p = await made(store, prefixes(net, ranges, lengths=lengths, fit=fit, exclude=[hole]))
    alive: list[ClaimRequest] = []
    for _ in range(60):
        if rng.random() < 0.6 or not alive:
            asked = [
                claim(p, length=rng.choice(lengths), count=rng.choice((1, 1, 1, 2, 5)), name=f"n{rng.randrange(9)}")
                for _ in range(rng.choice((1, 1, 3)))
            ]
            alive += asked
            served = await store.allocate(p, asked)
        else:
            gone = [alive.pop(rng.randrange(len(alive))) for _ in range(min(len(alive), rng.choice((1, 2))))]
            await store.release(*gone)
            served = await store.serve(p)
        assert not [one for one in served.outcomes if isinstance(one, Refused) and one.reason is Reason.INVALID_SPEC]
        held = await store.held()
        for one in alive:
            assert len(held.get(one.identity.uid, ())) in {0, one.count}
    await store.assert_tiled(net, p)
    await store.assert_history_is_ledger()
    waiting = await store.waiting(p)
    assert {*held, *waiting} == {one.identity.uid for one in alive}, "nobody is forgotten"
    await store.release(*alive)
    await store.sweep(p)
    whole = await store.free(p)
    assert await store.held() == {}
    await store.change(p, exclude=())
    await store.change(p, exclude=p.exclude)
    assert await store.free(p) == whole, "as made anew: every pair of halves is one"

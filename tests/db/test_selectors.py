"""Claims that say what pools are like: the best pool first, then the next; never a guess among equals."""

import asyncio
from dataclasses import replace

import asyncpg
import pytest

from ipam_operator.domain.model import ClaimRequest, Consent, PoolRequest, Release, Selector
from ipam_operator.domain.outcome import Granted, Reason
from tests.support.store import Store, claim, claims, granted, network, only, pool, refused, selector, texts

FRONT = {"tier": "front"}
WEB = selector(labels=FRONT)


async def two_pools(store: Store, **facts: object) -> tuple[PoolRequest, PoolRequest]:
    """A pool of 6 addresses (10.0.0.x), and behind it one of 14 (10.1.0.x)."""
    best = await store.pool("10.0.0.0/29", name="best", labels=FRONT, priority=10, **facts)
    return best, await store.pool("10.1.0.0/28", name="next", labels=FRONT, priority=5, **facts)


async def test_the_highest_priority_serves_and_spills(database_url: str) -> None:
    """One batch goes to the best pool until that is full, then to the next; each answer names its pool."""
    async with Store(database_url) as store:
        best, behind = await two_pools(store)
        await store.pool("10.2.0.0/29", name="other", labels={"tier": "back"}, priority=99)
        served = await store.ask(*claims(WEB, 8))
        assert texts(served) == [f"10.0.0.{i}" for i in range(1, 7)] + ["10.1.0.1", "10.1.0.2"]
        pools = [one.pool for one in served.outcomes if isinstance(one, Granted)]
        assert pools == [best.identity.ref] * 6 + [behind.identity.ref] * 2
        again = await store.ask(claim(WEB, uid=next(iter(granted(served)))))
        assert texts(again) == ["10.0.0.1"]


async def test_a_claim_for_many_is_not_split(database_url: str) -> None:
    """All addresses of a claim come from one pool."""
    async with Store(database_url) as store:
        await two_pools(store)
        served = await store.ask(claim(WEB, count=4), claim(WEB, count=4), claim(WEB, count=2))
        found = sorted([str(a)[:5] for a in addresses] for addresses in granted(served).values())
        assert found == [["10.0."] * 2, ["10.0."] * 4, ["10.1."] * 4]


async def test_when_all_are_full_the_claim_waits_for_any(database_url: str) -> None:
    """It waits in the queues of all its pools, is told how they stand, and is served by whichever has room first."""
    async with Store(database_url) as store:
        best, behind = await two_pools(store)
        held = await store.take(WEB, 20)
        first, second = claims(WEB, 2)
        said = only(await store.ask(first))
        assert (said.reason, said.queue_position) == (Reason.POOL_EXHAUSTED, 1)
        assert "best (0 of 6 free), next (0 of 14 free)" in said.message
        direct = claim(best)
        await store.ask(direct)
        assert only(await store.ask(second)).queue_position == 2
        assert (await store.count(best)).waiting == 3
        dues = await store.release(held[0])
        assert [due.pool for due in dues] == [best.identity.ref]
        assert list(granted(await store.serve(best))) == [first.identity.uid], "who came first, by whatever way"
        await store.release(held[1])
        assert list(granted(await store.serve(best))) == [direct.identity.uid]
        await store.release(held[-1])
        served = await store.serve(behind)
        assert list(granted(served)) == [second.identity.uid]
        assert await store.value("select count(*) from ipam.waiting") == 0


async def test_newcomers_do_not_overtake_those_who_wait_by_selector(database_url: str) -> None:
    """Who names the pool stands in one line with those whose selector means it."""
    async with Store(database_url) as store:
        best, _ = await two_pools(store)
        held = await store.take(WEB, 20)
        waiting = claim(WEB, count=2)
        await store.ask(waiting)
        await store.release(*held[:2])
        newcomer = claim(best)
        served = await store.ask(newcomer)
        assert list(granted(served)) == [waiting.identity.uid]
        assert list(refused(served)) == [newcomer.identity.uid]


async def test_a_tie_is_never_guessed(database_url: str) -> None:
    """Pools of one priority are not chosen among, nor those behind them; who resolves the tie serves who waits."""
    async with Store(database_url) as store:
        first = await store.pool("10.0.0.0/29", name="a", labels=FRONT)
        second = await store.pool("10.1.0.0/29", name="b", labels=FRONT)
        one = claim(WEB)
        refusal = only(await store.ask(one))
        assert refusal.reason is Reason.POOL_AMBIGUOUS
        assert "a, b" in refusal.message
        assert granted(await store.serve(first, tell=True)) == {}
        await store.change(second, priority=1)
        assert texts(await store.serve(second, tell=True)) == ["10.1.0.1"]


async def test_a_tie_matters_when_it_is_reached(database_url: str) -> None:
    """A single best pool serves; when it is full and the next two are equals, the claim is told both facts."""
    async with Store(database_url) as store:
        await store.pool("10.0.0.0/29", name="best", labels=FRONT, priority=9)
        twins = [await store.pool(f"10.{i}.0.0/29", name=f"twin-{i}", labels=FRONT) for i in (1, 2)]
        held = await store.take(WEB, 6)
        one, other = claims(WEB, 2)
        refusal = only(await store.ask(one))
        assert refusal.reason is Reason.POOL_AMBIGUOUS
        assert "best (0 of 6 free); then twin-1, twin-2" in refusal.message
        await store.release(held[0])
        assert texts(await store.ask(other)) == ["10.0.0.1"], "for the one that came first"
        await store.retire(twins[0])
        served = await store.serve(twins[0], tell=True)
        assert texts(served) == ["10.2.0.1"]


async def test_pools_may_come_later(database_url: str) -> None:
    """A selector that means nothing yet waits, also beside pools of another type, label, network or family."""
    async with Store(database_url) as store:
        wanted = selector(labels=FRONT, type="DHCP", family=4)
        await store.pool("10.0.0.0/29", labels=FRONT, kind="Static")
        await store.pool("10.1.0.0/29", labels={"tier": "back"}, kind="DHCP")
        await store.pool("2001:db8::/120", labels=FRONT, kind="DHCP")
        one = claim(wanted)
        refusal = only(await store.ask(one))
        assert refusal.reason is Reason.POOL_NOT_FOUND
        assert "DHCP pools with labels tier=front" in refusal.message
        late = await store.pool("10.3.0.0/29", labels=FRONT | {"more": "labels"}, kind="DHCP")
        assert list(granted(await store.serve(late, tell=True))) == [one.identity.uid]


async def test_a_label_makes_a_pool_meant(database_url: str) -> None:
    """An edit of labels lets those in who wait, and keeps out who comes later."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        one = claim(WEB)
        assert only(await store.ask(one)).reason is Reason.POOL_NOT_FOUND
        await store.change(of, labels=FRONT)
        assert list(granted(await store.serve(of, tell=True))) == [one.identity.uid]
        await store.change(of, labels={})
        assert only(await store.ask(claim(WEB))).reason is Reason.POOL_NOT_FOUND


async def test_a_network_means_its_pools(database_url: str) -> None:
    """A claim by networkRef follows the same rule, whatever the family."""
    async with Store(database_url) as store:
        parent = await store.network("2001:db8::/64", name="core")
        await store.network("10.0.0.0/24", name="edge")
        await store.pool(parent, "2001:db8::10-2001:db8::11", priority=1)
        await store.pool(parent, "2001:db8::20-2001:db8::2f")
        served = await store.ask(*claims(selector(network="core"), 3))
        assert texts(served) == ["2001:db8::10", "2001:db8::11", "2001:db8::20"]
        refusal = only(await store.ask(claim(selector(network="edge"))))
        assert refusal.reason is Reason.POOL_NOT_FOUND
        assert "pools of network edge" in refusal.message


async def test_other_namespaces_pools_need_consent(database_url: str) -> None:
    """A selector means the pools of one namespace that lend to the claim's; others are as if they were not there."""
    async with Store(database_url) as store:
        await store.pool("10.0.0.0/29", name="closed", labels=FRONT, priority=9)
        lent = await store.pool("10.1.0.0/29", name="lent", labels=FRONT, allowed=Consent("All"))
        guest = selector(tenant="guest", labels=FRONT)
        assert guest.place != WEB.place
        served = await store.ask(claim(guest))
        assert texts(served) == ["10.1.0.1"]
        await store.change(lent, allowed=Consent())
        refusal = only(await store.ask(claim(guest)))
        assert refusal.reason is Reason.POOL_NOT_FOUND
        assert "closed" not in refusal.message
        assert "lent" not in refusal.message
        own = selector(namespace="guest", labels=FRONT)
        assert only(await store.ask(claim(own))).reason is Reason.POOL_NOT_FOUND


async def test_a_quota_spills_as_well(database_url: str) -> None:
    """A pool in which the namespace has had its share is passed like a full one; in all of them the claim waits."""
    async with Store(database_url) as store:
        best, behind = await two_pools(store, quota=2)
        held = await store.take(WEB, 4)
        assert {str(a)[:5] for found in (await store.held()).values() for a in found} == {"10.0.", "10.1."}
        one = claim(WEB)
        refusal = only(await store.ask(one))
        assert refusal.reason is Reason.QUOTA_EXCEEDED
        await store.release(held[0])
        assert list(granted(await store.serve(best))) == [one.identity.uid]
        for of in (best, behind):
            await store.change(of, quota=1)
        assert "at most 1" in only(await store.ask(claim(WEB))).message, "lowered below what is held"


async def test_a_paused_pool_is_passed(database_url: str) -> None:
    """While the best pool is paused the next serves; when all are, the claim waits for the first that is not."""
    async with Store(database_url) as store:
        best, behind = await two_pools(store)
        await store.change(best, paused=True)
        assert texts(await store.ask(claim(WEB))) == ["10.1.0.1"]
        await store.change(behind, paused=True)
        one = claim(WEB)
        assert only(await store.ask(one)).reason is Reason.POOL_PAUSED
        await store.change(best, paused=False)
        assert list(granted(await store.serve(best, tell=True))) == [one.identity.uid]


async def test_who_comes_again_gets_its_pool_again(database_url: str) -> None:
    """A re-created claim goes to the pool and address it had while that is free; else where the priority is highest."""
    async with Store(database_url) as store:
        await two_pools(store)
        full = await store.take(WEB, 6)
        one = claim(WEB, name="web")
        assert texts(await store.ask(one)) == ["10.1.0.1"]
        await store.release(one, full[0])
        again = claim(WEB, name="web")
        assert texts(await store.ask(again, claim(WEB))) == ["10.1.0.1", "10.0.0.1"]
        await store.release(again, full[1])
        await store.ask(claim(pool_named("next"), wanted="10.1.0.1"))
        assert texts(await store.ask(claim(WEB, name="web"))) == ["10.0.0.2"]


def pool_named(name: str) -> PoolRequest:
    """Enough of a pool for a claim to name it."""
    return pool(network("10.1.0.0/28"), name=name)


async def test_a_named_address_finds_its_pool(database_url: str) -> None:
    """spec.address goes with a selector: the pool that hands it out serves, none does, or it is held."""
    async with Store(database_url) as store:
        await two_pools(store)
        assert texts(await store.ask(claim(WEB, wanted="10.1.0.7"))) == ["10.1.0.7"]
        assert only(await store.ask(claim(WEB, wanted="10.1.0.7"))).reason is Reason.ADDRESS_CONFLICT
        outside = only(await store.ask(claim(WEB, wanted="10.9.0.7")))
        assert outside.reason is Reason.OUTSIDE_POOL
        assert "10.9.0.7" in outside.message


async def test_a_deleted_claim_leaves_the_queue(database_url: str) -> None:
    """Also one that waits by selector, and a late request for it takes nothing."""
    async with Store(database_url) as store:
        best, _ = await two_pools(store)
        held = await store.take(WEB, 20)
        gone, stays = claims(WEB, 2)
        await store.ask(gone)
        await store.ask(stays)
        await store.release(gone)
        await store.release(held[0])
        assert list(granted(await store.serve(best))) == [stays.identity.uid]
        assert granted(await store.ask(gone)) == {}


async def test_an_edit_moves_a_waiting_claim(database_url: str) -> None:
    """From a selector to a pool and back it waits in one place only."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", name="only", labels=FRONT, paused=True)
        one = claim(WEB)
        await store.ask(one)
        named = replace(one, pool=of.identity.ref, selector=None, identity=replace(one.identity, generation=2))
        assert only(await store.ask(named)).reason is Reason.POOL_PAUSED
        assert await store.waiting(of) == [one.identity.uid]
        await store.ask(replace(one, identity=replace(one.identity, generation=3)))
        assert await store.waiting(of) == []
        await store.change(of, paused=False)
        assert list(granted(await store.serve(of, tell=True))) == [one.identity.uid]


async def test_many_selectors_and_names_at_once(database_url: str) -> None:
    """Batches of several lanes and releases at once: no address twice, none lost, and the queues come to rest."""
    async with Store(database_url, connections=8) as store:
        best, behind = await two_pools(store)
        meanings: list[PoolRequest | Selector] = [WEB, selector(tenant=WEB.tenant, labels={}), best, behind]

        async def work(of: PoolRequest | Selector) -> None:
            for _ in range(10):
                asked = claims(of, 2)
                await store.ask(*asked)
                await store.claims.release([(Release(one.identity.uid, None, "tester"), one.pool) for one in asked])

        await asyncio.gather(*(work(of) for of in meanings * 2))
        assert await store.held() == {}
        assert await store.value("select count(*) from ipam.waiting") == 0
        assert await store.untiled() == []


async def test_selectors_that_nobody_uses_are_forgotten(database_url: str) -> None:
    """Their number does not grow without bound; those that somebody waits by stay."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", labels=FRONT)
        await store.take(WEB, 1)
        waiting = claim(selector(labels={"tier": "none"}))
        await store.ask(waiting)
        await store.sql("update ipam.selector set used_at = now() - interval '2 days'")
        await store.value("select ipam.forget_selectors(interval '1 day')")
        assert await store.value("select array_agg(name) from ipam.selector") == [waiting.pool.name]
        assert await store.value("select selectors from ipam.pool where uid = $1", of.identity.uid) == []
        assert len(texts(await store.ask(claim(WEB)))) == 1


async def test_strangers_cannot_flood_a_namespace_with_selectors(database_url: str) -> None:
    """Another namespace has a hundred; its own has as many as it likes, and nobody is served by what was refused."""
    async with Store(database_url) as store:
        await store.pool("10.0.0.0/24", labels=FRONT, allowed=Consent("All"))
        for number in range(100):
            await store.ask(claim(selector(tenant="guest", labels={"n": str(number)})))
        refusal = only(await store.ask(late := claim(selector(tenant="guest", labels=FRONT))))
        assert "in 100 different ways" in refusal.message
        assert await store.value("select count(*) from ipam.selector") == 100
        assert await store.value("select count(*) from ipam.waiting where claim_uid = $1", late.identity.uid) == 0
        assert len(granted(await store.ask(claim(WEB)))) == 1


async def test_a_crowd_leaves_no_place_behind(database_url: str) -> None:
    """A claim that turns to one way too many waits nowhere any more."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", labels=FRONT, allowed=Consent("All"))
        held = await store.take(of, 6)
        for number in range(100):
            await store.ask(claim(selector(tenant="guest", labels={"n": str(number)})))
        first = claim(of, namespace="guest")
        assert only(await store.ask(first)).reason is Reason.POOL_EXHAUSTED
        turned = claim(selector(tenant="guest", labels=FRONT), uid=first.identity.uid)
        assert "in 100 different ways" in only(await store.ask(turned)).message
        await store.release(held[0])
        assert (await store.serve(of)).outcomes == ()


async def test_only_those_are_told_whom_a_change_concerns(database_url: str) -> None:
    """One pool's edit is no news to claims by other selectors; a tie and its end are news to those that it ties."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", labels=FRONT)
        await store.take(of, 6)
        back = selector(labels={"tier": "back"})
        await store.ask(*claims(back, 3))
        await store.ask(waiting := claim(WEB))
        assert refused(await store.serve(of, tell=True)).keys() == {waiting.identity.uid}
        twin = await store.pool("10.1.0.0/29", labels=FRONT)
        assert only(await store.serve(twin, tell=True)).reason is Reason.POOL_AMBIGUOUS
        await store.retire(twin)
        assert only(await store.serve(twin, tell=True)).reason is Reason.POOL_EXHAUSTED
        await store.pool("10.2.0.0/29", labels={"tier": "none"})
        assert (await store.serve(twin, tell=True)).outcomes == ()


async def test_pools_that_begin_to_lend_at_once(database_url: str) -> None:
    """A namespace's label that makes two pools equals for it is told to its claims, although no pool serves more."""
    async with Store(database_url) as store:
        for third in (0, 1):
            of = await store.pool(
                f"10.{third}.0.0/29", labels=FRONT, allowed=Consent("Selector", {"matchLabels": FRONT})
            )
            await store.serve(of, tell=True)
        await store.ask(claim(selector(tenant="guest", labels=FRONT)))
        (told,) = await store.tenants(guest=FRONT)
        assert told.namespace == of.identity.ref.namespace
        served = await store.claims.serve(told, tell=True)
        assert only(served).reason is Reason.POOL_AMBIGUOUS
        await store.claims.told(served.untold)
        assert await store.tenants(guest=FRONT) == []


async def test_who_asks_while_a_pool_begins_to_match_is_served(database_url: str) -> None:
    """A claim by a known selector that is not yet written when the pool changes is seen when the pool is told."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        await store.ask(known := claim(WEB))
        await store.release(known)
        late = claim(WEB)
        connection = await asyncpg.connect(store.url)
        try:
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(
                "update ipam.selector set used_at = now() where name = $1 and namespace = $2", late.pool.name, "team"
            )
            changed = asyncio.ensure_future(store.change(of, labels=FRONT))
            await asyncio.sleep(0.2)
            assert not changed.done(), "it waits for whoever asks"
            await connection.execute(
                "insert into ipam.waiting"
                " (claim_uid, pool_namespace, pool_name, namespace, name, generation, count, actor, key)"
                " values ($1, 'team', $2, 'team', 'late', 1, 1, 'tester', 'late')",
                late.identity.uid,
                late.pool.name,
            )
            await transaction.commit()
        finally:
            await connection.close()
        await changed
        assert list(granted(await store.serve(of, tell=True))) == [late.identity.uid]


@pytest.mark.parametrize("size", [1, 8])
def test_every_meaning_has_a_queue_of_its_own(size: int) -> None:
    """However long the labels are, the queue's name fits an index, and tells meanings apart."""
    labels = {f"{i}{'x' * 300}/name": "v" * 63 for i in range(size)}
    one, other = selector(labels=labels), selector(labels={**labels, f"0{'x' * 300}/name": "w"})
    assert one.place.name != other.place.name
    assert len(one.place.name) < 500
    assert selector(labels=labels, type="NAT").place != selector(labels=labels, network="NAT").place


@pytest.mark.parametrize("dual", [False, True])
async def test_the_first_of_its_kind_deleted_at_once(database_url: str, *, dual: bool) -> None:
    """A claim that makes its selector known while it is deleted leaves nothing behind."""
    async with Store(database_url) as store:
        for cidr in ("10.0.0.0/24", "2001:db8::/64"):
            await store.pool(cidr)
        for turn in range(30):
            await store.sql("delete from ipam.selector")
            await store.sql("update ipam.pool set selectors = '{}'")
            one = claim(selector(dual=True) if dual else selector(family=4))

            async def go(one: ClaimRequest = one, turn: int = turn) -> None:
                await asyncio.sleep(0.0005 * (turn % 12))  # into each phase of the answer
                await store.release(one)

            await asyncio.gather(store.ask(one), go())
            assert await store.held() == {}

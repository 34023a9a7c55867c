"""MAC addresses: one live claim for each in a network, by the ledger's key, and what becomes of the second."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address

import asyncpg
import pytest

from ipam_operator.domain.model import ClaimDetail, ClaimRequest, Consent, PoolRequest, Term
from ipam_operator.domain.outcome import Granted, Reason, Refused
from tests.support.store import Store, claim, granted, only, refused, selector, texts

MAC, OTHER = "02:00:5e:10:00:01", "02:00:5e:10:00:02"


def edited(one: ClaimRequest, mac: str, generation: int = 2) -> ClaimRequest:
    """The claim with another MAC address."""
    detail = replace(one.detail or ClaimDetail(), mac=mac)
    return replace(one, identity=replace(one.identity, generation=generation), detail=detail)


async def test_the_second_is_told_and_waits(database_url: str) -> None:
    """It learns the holder's name in its own namespace, holds up nobody, and is served when the holder goes."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", cool_down=3600)
        first, second, third = claim(of, mac=MAC), claim(of, mac=MAC), claim(of)
        served = await store.ask(first)
        assert [one.mac for one in served.outcomes if isinstance(one, Granted)] == [MAC]
        served = await store.ask(second, third)
        assert list(granted(served)) == [third.identity.uid]
        refusal = only(served)
        assert refusal.reason is Reason.MAC_CONFLICT
        assert f"{MAC} belongs to IPClaim {first.identity.ref.name}" in refusal.message
        assert 0.0 in [due.seconds for due in await store.release(first)]
        assert list(granted(await store.serve(of))) == [second.identity.uid]


async def test_in_one_batch_the_first_has_it(database_url: str) -> None:
    """Of two in a batch one is served, also beside claims for several addresses and for named ones."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        batch = [claim(of, mac=MAC), claim(of, count=3), claim(of, mac=MAC), claim(of, mac=OTHER)]
        served = await store.ask(*batch)
        assert list(refused(served)) == [batch[2].identity.uid]
        assert len(texts(served)) == 5
        named = [claim(of, mac="02:00:5e:10:00:03", wanted=f"10.0.0.{i}") for i in (12, 13)]
        served = await store.ask(*named)
        assert texts(served) == ["10.0.0.12"]
        assert only(served).reason is Reason.MAC_CONFLICT
        assert await store.value("select count(*) from ipam.lease where mac is not null") == 3


async def test_other_networks_and_namespaces(database_url: str) -> None:
    """A MAC address counts in its network alone; of another namespace's holder nothing is told."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24", name="one")
        low = await store.pool(parent, "10.0.0.0/26")
        high = await store.pool(parent, "10.0.0.64/26")
        elsewhere = await store.pool("10.1.0.0/24")
        holder = claim(low, mac=MAC)
        await store.ask(holder)
        assert only(await store.ask(claim(high, mac=MAC))).reason is Reason.MAC_CONFLICT
        assert len(granted(await store.ask(claim(elsewhere, mac=MAC)))) == 1
        await store.sql("update ipam.waiting set namespace = 'guest'")
        guest = replace(low, allowed=type(low.allowed)("All"))
        await store.pools.apply(guest)
        told = only(await store.ask(claim(guest, mac=MAC, namespace="guest")))
        assert told.reason is Reason.MAC_CONFLICT
        assert holder.identity.ref.name not in told.message


async def test_pools_of_one_network_at_once(database_url: str) -> None:
    """Batches for the same MAC addresses in two pools at the same time: one claim each, no fault, none left behind."""
    async with Store(database_url, connections=8) as store:
        parent = await store.network("10.0.0.0/24")
        pools = [await store.pool(parent, f"10.0.0.{i * 64}/26") for i in range(4)]
        macs = [f"02:00:5e:10:01:{i:02x}" for i in range(20)]
        batches = [[claim(of, mac=mac) for mac in (macs if i % 2 else macs[::-1])] for i, of in enumerate(pools)]
        served = await asyncio.gather(*(store.ask(*batch) for batch in batches))
        assert sum(len(granted(one)) for one in served) == len(macs)
        assert sum(len(refused(one)) for one in served) == 3 * len(macs)
        assert await store.value("select count(distinct mac) from ipam.lease where released_at is null") == len(macs)


async def test_the_key_forbids_a_second_one(database_url: str) -> None:
    """Whatever code writes to the ledger."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        await store.ask(claim(of, mac=MAC))
        await store.ask(other := claim(of))
        with pytest.raises(asyncpg.UniqueViolationError, match="lease_mac"):
            await store.sql(
                "update ipam.lease set mac = $1::text::macaddr, network_id = (select network_id from ipam.pool)"
                " where claim_uid = $2",
                MAC,
                other.identity.uid,
            )


async def test_what_comes_again_by_mac_has_its_address_again(database_url: str) -> None:
    """Under another name too; a sticky key goes before it."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28", cool_down=3600)
        await store.take(of, 3)
        first = claim(of, mac=MAC, name="before")
        addresses = texts(await store.ask(first))
        await store.release(first)
        again = claim(of, mac=MAC, name="after")
        assert texts(await store.ask(again)) == addresses
        await store.release(again)
        keyed = claim(of, mac=MAC, name="after", key="web/0")
        assert texts(await store.ask(keyed)) != addresses
        assert texts(await store.ask(claim(of, name="after"))) != addresses


async def test_an_edit_changes_it_on_a_live_claim(database_url: str) -> None:
    """Added, changed and taken away while the address stays; history tells; what it had is free for others."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        (one,) = await store.take(of, 1)
        for generation, mac in ((2, MAC), (3, OTHER), (4, "")):
            served = await store.ask(edited(one, mac, generation))
            (said,) = served.outcomes
            assert isinstance(said, Granted)
            assert (said.mac or "", str(said.addresses[0])) == (mac, "10.0.0.1")
            assert await store.value("select coalesce(mac::text, '') from ipam.lease") == mac
        assert await store.value("select count(*) from ipam.history where reason = 'MacChanged'") == 3
        assert len(granted(await store.ask(claim(of, mac=MAC), claim(of, mac=OTHER)))) == 2
        await store.assert_history_is_ledger()


async def test_a_refused_edit_changes_nothing_and_heals(database_url: str) -> None:
    """A live claim that wants another's MAC address keeps its own; when the other lets go it has it, and is told."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        holder, one = claim(of, mac=MAC), claim(of, mac=OTHER)
        await store.ask(holder, one)
        wanting = edited(one, MAC)
        assert only(await store.ask(wanting)).reason is Reason.MAC_CONFLICT
        assert only(await store.ask(wanting)).reason is Reason.MAC_CONFLICT, "asked again: the same"
        assert await store.value("select mac::text from ipam.lease where claim_uid = $1", one.identity.uid) == OTHER
        await store.release(holder)
        (said,) = (await store.serve(of)).outcomes
        assert isinstance(said, Granted)
        assert (said.claim.uid, said.claim.generation, said.mac) == (one.identity.uid, 2, MAC)
        assert await store.value("select count(*) from ipam.waiting") == 0


async def test_an_edit_of_the_holder_lets_the_next_in(database_url: str) -> None:
    """Who waits for a MAC address gets it when its holder takes another, or its lease ends."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        holder, waiting = claim(of, mac=MAC, term=Term(timedelta(hours=1))), claim(of, mac=MAC)
        await store.ask(holder)
        await store.ask(waiting)
        await store.ask(edited(holder, OTHER))
        assert list(granted(await store.serve(of))) == [waiting.identity.uid]
        last = claim(of, mac=OTHER)
        assert only(await store.ask(last)).reason is Reason.MAC_CONFLICT
        await store.lapse(holder)
        await store.expire()
        assert list(granted(await store.serve(of))) == [last.identity.uid]


async def test_with_selectors_pauses_and_queues(database_url: str) -> None:
    """The second of a MAC address is found out when its turn comes, and its address goes to who comes after it."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", labels={"a": "b"}, paused=True)
        web = selector(labels={"a": "b"})
        first, second, third = claim(web, mac=MAC), claim(of, mac=MAC), claim(web)
        for one in (first, second, third):
            assert only(await store.ask(one)).reason is Reason.POOL_PAUSED
        await store.change(of, paused=False)
        served = await store.serve(of)
        assert set(granted(served)) == {first.identity.uid, third.identity.uid}
        assert only(served).reason is Reason.MAC_CONFLICT
        assert only(await store.ask(fourth := claim(web, mac=MAC))).reason is Reason.MAC_CONFLICT
        await store.release(second)
        await store.release(first)
        assert list(granted(await store.serve(of))) == [fourth.identity.uid]


async def test_a_full_pool_heals_edits_as_well(database_url: str) -> None:
    """A live claim's MAC address does not wait for room."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", cool_down=3600)
        await store.take(of, 4)
        holder, one = claim(of, mac=MAC), claim(of)
        await store.ask(holder, one)
        assert only(await store.ask(edited(one, MAC))).reason is Reason.MAC_CONFLICT
        await store.ask(waiting := claim(of))
        await store.release(holder)
        served = await store.serve(of)
        assert list(granted(served)) == [one.identity.uid]
        assert await store.waiting(of) == [waiting.identity.uid]


async def test_an_edit_that_waits_is_no_claim_that_waits(database_url: str) -> None:
    """Neither quota nor pause nor a second one that asks for the same concerns it: it is never told that it waits."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", quota=4)
        holder, one, two, free = claim(of, mac=MAC), claim(of), claim(of), claim(of)
        await store.ask(holder, one, two, free)
        for late in (one, two):
            assert only(await store.ask(edited(late, MAC))).reason is Reason.MAC_CONFLICT
        assert await store.value("select count(*) from ipam.waiting") == 0
        await store.change(of, paused=True)
        await store.release(holder)
        served = await store.serve(of, tell=True)
        assert [(o.claim.uid, o.mac) for o in served.outcomes if isinstance(o, Granted)] == [(one.identity.uid, MAC)]
        assert refused(served) == {}
        assert only(await store.ask(edited(two, MAC, 3))).reason is Reason.MAC_CONFLICT
        assert len(granted(await store.ask(edited(two, OTHER, 4)))) == 1
        await store.release(one)
        assert (await store.serve(of)).outcomes == (), "it has another one by now"


async def test_an_edit_that_lets_go_wakes_another_edit(database_url: str) -> None:
    """Also in another pool of the network: its Due row says so."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        low, high = await store.pool(parent, "10.0.0.0/30"), await store.pool(parent, "10.0.0.128/30")
        holder, one = claim(low, mac=MAC), claim(high, mac=OTHER)
        await store.ask(holder)
        await store.ask(one)
        assert only(await store.ask(edited(one, MAC))).reason is Reason.MAC_CONFLICT
        served = await store.ask(edited(holder, ""))
        assert [due.pool for due in served.due] == [high.identity.ref]
        assert list(granted(await store.serve(high))) == [one.identity.uid]


async def test_a_release_and_an_edit_side_by_side_forget_nobody(database_url: str) -> None:
    """The holder goes in one pool while a claim of another one asks for its MAC address: one sees the other."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        low, high = await store.pool(parent, "10.0.0.0/26"), await store.pool(parent, "10.0.0.128/26")
        for number in range(20):
            mac = f"02:00:5e:20:00:{number:02x}"
            holder, one, fresh = claim(low, mac=mac), claim(high), claim(high, mac=mac)
            await store.ask(holder)
            await store.ask(one)
            asked = [edited(one, mac)] if number % 2 else [fresh]
            said, due = await asyncio.gather(store.ask(*asked), store.release(holder))
            if refused(said):
                assert high.identity.ref in [one.pool for one in due]
                assert list(granted(await store.serve(high))) == [asked[0].identity.uid]
            await store.release(one, fresh)


async def test_a_crowd_of_one_mac_address(database_url: str) -> None:
    """All of it goes aside in one step, and whoever comes behind is served by the same call."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        held = await store.take(of, 6)
        await store.ask(edited(held[0], MAC))
        for _ in range(2):
            await store.ask(*(claim(of, mac=MAC) for _ in range(1000)))
        behind = claim(of)
        await store.ask(behind)
        await store.release(held[1])
        served = await store.serve(of)
        assert list(granted(served)) == [behind.identity.uid]
        assert len(refused(served)) == 2000


async def test_a_claim_aside_keeps_its_turn(database_url: str) -> None:
    """An edit of something else leaves it where it was among those that wait for the same."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        holder, first, second = (claim(of, mac=MAC) for _ in range(3))
        for one in (holder, first, second):
            await store.ask(one)
        changed = replace(edited(first, MAC), wanted=ip_address("10.0.0.5"))
        assert only(await store.ask(changed)).reason is Reason.MAC_CONFLICT
        assert only(await store.ask(changed)).reason is Reason.MAC_CONFLICT, "asked again"
        assert await store.value("select array_agg(distinct pool_name) from ipam.waiting") == [
            f"{of.identity.ref.name}#"
        ]
        await store.release(holder)
        assert granted(await store.serve(of)) == {first.identity.uid: (ip_address("10.0.0.5"),)}


async def test_consent_that_is_withdrawn_counts_aside_as_well(database_url: str) -> None:
    """Whoever waits for a MAC address gets none when the pool lends to it no more."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", allowed=Consent("All"))
        holder, guest = claim(of, mac=MAC), claim(of, mac=MAC, namespace="guest")
        await store.ask(holder)
        assert only(await store.ask(guest)).reason is Reason.MAC_CONFLICT
        await store.change(of, allowed=Consent("Same"))
        assert only(await store.serve(of, tell=True)).reason is Reason.TENANT_ISOLATION
        await store.release(holder)
        assert (await store.serve(of)).outcomes == ()


async def test_a_claim_aside_is_told_when_its_pool_goes(database_url: str) -> None:
    """And is served when there is one again."""
    async with Store(database_url) as store:
        parent = await store.network("10.0.0.0/24")
        low, high = await store.pool(parent, "10.0.0.0/26"), await store.pool(parent, "10.0.0.128/26")
        await store.ask(holder := claim(low, mac=MAC))
        await store.ask(one := claim(high, mac=MAC))
        await store.retire(high)
        assert only(await store.serve(high, tell=True)).reason is Reason.POOL_NOT_FOUND
        again = await store.pool(parent, "10.0.0.128/26", name=high.identity.ref.name)
        assert only(await store.serve(again, tell=True)).reason is Reason.MAC_CONFLICT
        await store.release(holder)
        assert list(granted(await store.serve(again))) == [one.identity.uid]


async def test_a_claim_keeps_what_it_shows_whoever_has_its_mac_address(database_url: str) -> None:
    """After a restore, others may have it by now: the claim is adopted without, and waits for it."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        one = claim(of, mac=MAC)
        addresses = granted(await store.ask(one))[one.identity.uid]
        await store.script(
            f"delete from ipam.lease where claim_uid = '{one.identity.uid}';"
            "select ipam.rebuild_free_ranges(id) from ipam.pool"
        )
        await store.ask(claim(of, mac=MAC, wanted="10.0.0.99"))
        adopted = await store.claims.adopt(of.identity.ref, [(one, addresses)])
        assert granted(adopted)[one.identity.uid] == addresses
        assert only(await store.ask(one)).reason is Reason.MAC_CONFLICT
        assert (await store.held())[one.identity.uid] == list(addresses)


async def test_by_selector_each_is_answered_once(database_url: str) -> None:
    """Also one that comes again and whose MAC address somebody has."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", labels={"a": "b"})
        web = selector(labels={"a": "b"})
        for one in (first := claim(web, mac=MAC), claim(of, mac=MAC)):
            await store.ask(one)
            if one is first:
                await store.release(one)
        served = await store.ask(claim(web, mac=MAC))
        assert [type(one) for one in served.outcomes] == [Refused]
        assert await store.value("select pool_name from ipam.waiting") == f"{web.place.name}#"


async def test_an_edit_that_is_taken_back_waits_no_more(database_url: str) -> None:
    """Also where nobody says a MAC address any more."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        holder, one = claim(of, mac=MAC), claim(of)
        await store.ask(holder, one)
        assert only(await store.ask(edited(one, MAC))).reason is Reason.MAC_CONFLICT
        await store.ask(edited(holder, ""))
        assert list(granted(await store.ask(edited(one, "", 3)))) == [one.identity.uid]


async def two_networks(store: Store, size: str = "/29") -> tuple[PoolRequest, PoolRequest]:
    """Two pools of one meaning, each in a network of its own; the first goes first."""
    labels = {"a": "b"}
    first = await store.pool(f"10.0.0.0{size}", labels=labels, priority=10, name="first")
    return first, await store.pool(f"10.1.0.0{size}", labels=labels, name="second")


async def test_another_network_serves_a_selector(database_url: str) -> None:
    """Whose MAC address is taken in one pool's network gets an address of the next; then both networks have it."""
    async with Store(database_url) as store:
        first, second = await two_networks(store)
        web = selector(labels={"a": "b"})
        await store.ask(holder := claim(first, mac=MAC))
        asked = [claim(web, mac=MAC), claim(web), claim(web, mac=MAC)]
        served = await store.ask(*asked)
        assert {one.claim.uid: one.pool for one in served.outcomes if isinstance(one, Granted)} == {
            asked[0].identity.uid: second.identity.ref,
            asked[1].identity.uid: first.identity.ref,
        }
        assert [type(one) for one in served.outcomes].count(Refused) == 1, "each is answered once"
        assert only(served).reason is Reason.MAC_CONFLICT
        assert await store.value("select pool_name from ipam.waiting") == f"{web.place.name}#"
        assert 0.0 in [due.seconds for due in await store.release(asked[0])]
        assert (await store.serve(first)).outcomes == ()
        assert list(granted(await store.serve(second))) == [asked[2].identity.uid]
        await store.release(holder)
        await store.assert_history_is_ledger()


async def test_another_network_that_is_full_is_waited_for(database_url: str) -> None:
    """It waits in the queue, holds up nobody, is told why, and is served by whichever can do so first."""
    async with Store(database_url) as store:
        first, second = await two_networks(store)
        web = selector(labels={"a": "b"})
        await store.ask(holder := claim(first, mac=MAC))
        held = await store.take(second, 6)
        one, two = claim(web, mac=MAC), claim(web, mac=OTHER)
        said = only(await store.ask(one))
        assert (said.reason, said.queue_position) == (Reason.POOL_EXHAUSTED, 1)
        assert f"or for {MAC}, which another claim has in the network of first" in said.message
        assert list(granted(await store.ask(two))) == [two.identity.uid]
        assert (await store.serve(first)).outcomes == (), "no answer again and again"
        assert second.identity.ref in [due.pool for due in await store.release(held[0])]
        assert list(granted(await store.serve(second))) == [one.identity.uid]
        three = claim(web, mac=OTHER)
        assert only(await store.ask(three)).reason is Reason.POOL_EXHAUSTED
        assert first.identity.ref in [due.pool for due in await store.release(two)]
        assert list(granted(await store.serve(first))) == [three.identity.uid]
        await store.release(holder)


async def test_another_network_that_comes_later_is_heeded(database_url: str) -> None:
    """Also where it was paused; and one that does not have the address that is asked for is none."""
    async with Store(database_url) as store:
        first, second = await two_networks(store)
        web = selector(labels={"a": "b"})
        await store.change(second, paused=True)
        await store.ask(claim(first, mac=MAC))
        assert only(await store.ask(one := claim(web, mac=MAC))).reason is Reason.MAC_CONFLICT
        named = claim(web, mac=MAC, wanted="10.0.0.5")
        await store.change(second, paused=False)
        assert list(granted(await store.serve(second, tell=True))) == [one.identity.uid]
        assert only(await store.ask(named)).reason is Reason.MAC_CONFLICT


async def test_who_comes_again_tries_other_networks_too(database_url: str) -> None:
    """Where somebody has its MAC address by now in the network that it was in, it is served in another."""
    async with Store(database_url) as store:
        first, second = await two_networks(store)
        web = selector(labels={"a": "b"})
        await store.ask(before := claim(web, mac=MAC))
        await store.release(before)
        await store.ask(claim(first, mac=MAC, wanted="10.0.0.5"))
        (said,) = (await store.ask(claim(web, mac=MAC))).outcomes
        assert isinstance(said, Granted)
        assert said.pool == second.identity.ref

"""Who deleted a claim: who alone asked for it lately, where the API server told of it; never a guess."""

import asyncio
import json
from datetime import timedelta
from random import randrange

import asyncpg
import pytest

from ipam_operator import telemetry
from ipam_operator.domain.model import ClaimRequest
from ipam_operator.store.deletions import Deletions
from tests.support.store import Store, claim

LATELY, LONG_AGO = "4 minutes", "6 minutes"


async def asked(store: Store, held: ClaimRequest, actor: str, *, ago: str = "0 s") -> None:
    """`actor` asked to delete the claim so long ago."""
    await Deletions(store.database).note(held.identity.uid, actor)
    await store.sql(
        "update ipam.deletion set at = at - $3::text::interval where claim_uid = $1 and actor = $2",
        held.identity.uid,
        actor,
        ago,
    )


async def ended_by(store: Store, held: ClaimRequest, *, deleted: bool = True, actor: str = "unknown") -> str:
    """End the claim, of which history then says by whom."""
    await store.release(held, deleted=deleted, actor=actor)
    return str(
        await store.value(
            "select actor from ipam.history where claim_uid = $1 and action <> 'A' order by at desc limit 1",
            held.identity.uid,
        )
    )


async def held_claim(store: Store, name: str = "held", *, retain: bool = False) -> ClaimRequest:
    """A claim with its address."""
    of = await store.pool("10.0.0.0/28")
    one = claim(of, name=name, retain=retain)
    await store.ask(one)
    return one


async def test_who_asked_has_deleted_it(database_url: str) -> None:
    """However often, and also where the address is kept; each claim has its own."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        mine, yours, nobodys = [claim(of, name=name, retain=name == "yours") for name in ("mine", "yours", "nobodys")]
        await store.ask(mine, yours, nobodys)
        await asked(store, mine, "alice")
        await asked(store, mine, "alice", ago=LATELY)
        await asked(store, yours, "bob")
        await store.release(mine, yours, nobodys, actor="unknown")
        rows = await store.sql("select name, actor, reason from ipam.history where action <> 'A' order by name, at")
        assert {(row["name"], row["actor"]) for row in rows} == {
            ("mine", "alice"),
            ("nobodys", "unknown"),
            ("yours", "bob"),
        }
        assert {row["reason"] for row in rows} == {"Deleted"}
        assert await store.sql("select * from ipam.deletion") == []
        await store.assert_history_is_ledger()


@pytest.mark.parametrize(
    ("requests", "deleter"),
    [
        pytest.param({"alice": "50 s", "bob": "0 s"}, "unknown", id="either of two may have been refused"),
        pytest.param(
            {"alice": "70 s", "bob": "0 s"}, "bob", id="whom another finds alive was refused to who was first"
        ),
        pytest.param({"alice": LONG_AGO}, "unknown", id="somebody may have asked of whom nobody could tell"),
    ],
)
async def test_only_who_must_have_deleted_it_is_named(
    database_url: str, requests: dict[str, str], deleter: str
) -> None:
    """By when they asked: a request takes a minute at most, and after five minutes it may have been another one."""
    async with Store(database_url) as store:
        held = await held_claim(store)
        for actor, ago in requests.items():
            await asked(store, held, actor, ago=ago)
        assert await ended_by(store, held) == deleter


async def test_only_deletions_are_deleted_by_somebody(database_url: str) -> None:
    """A claim that lives on and gives its addresses back was not deleted, whoever asks for that just then."""
    async with Store(database_url) as store:
        held = await held_claim(store)
        await asked(store, held, "alice")
        assert await ended_by(store, held, deleted=False) == "unknown"
        assert await store.value("select actor from ipam.deletion") == "alice"


async def test_who_is_known_to_have_ended_it_is_named(database_url: str) -> None:
    """As where a comparison has found that a claim is gone whose deletion somebody was refused."""
    async with Store(database_url) as store:
        held = await held_claim(store)
        await asked(store, held, "alice")
        assert await ended_by(store, held, actor="ipam-operator:resync") == "ipam-operator:resync"
        assert await store.sql("select * from ipam.deletion") == []


async def test_requests_for_what_has_no_lease_go(database_url: str) -> None:
    """Of claims that are unknown to the ledger, or were refused for good."""
    async with Store(database_url) as store:
        held = await held_claim(store)
        await asked(store, held, "alice", ago="59 minutes")
        await asked(
            store, claim(await store.pool("10.1.0.0/28", name="other"), name="never"), "alice", ago="61 minutes"
        )
        await store.ownership.tidy(remember=timedelta(days=30))
        assert await store.value("select claim_uid from ipam.deletion") == held.identity.uid


async def test_two_who_were_refused_and_ask_again_do_not_wait_for_one_another(database_url: str) -> None:
    """Each finds the other's request of long ago; a deadlock would cost one of their deletions a second."""

    def faults() -> float:
        return telemetry.REGISTRY.get_sample_value("ipam_store_faults_total", {"operation": "note_deletion"}) or 0.0

    async with Store(database_url) as store:
        held = await held_claim(store)
        before = faults()
        for _ in range(60):
            await store.sql("delete from ipam.deletion")
            for actor in ("alice", "bob"):
                await Deletions(store.database).note(held.identity.uid, actor)
            await store.sql("update ipam.deletion set at = at - interval '2 minutes'")
            notes = [Deletions(store.database).note(held.identity.uid, actor) for actor in ("alice", "bob")]
            await asyncio.gather(*notes)
        assert faults() == before


async def test_the_longest_name_is_kept(database_url: str) -> None:
    """512 characters that no compression makes shorter, each of four bytes."""
    longest = "".join(chr(0x20000 + randrange(0xA000)) for _ in range(512))
    async with Store(database_url) as store:
        held = await held_claim(store)
        await asked(store, held, longest)
        assert await ended_by(store, held) == longest


async def test_requests_of_others_cost_a_release_nothing(database_url: str) -> None:
    """Neither those that wait nor those that are gone, while an audit's snapshot keeps the dead rows."""
    explain = "explain (analyze, buffers, format json) "
    release = "select ipam.release('{}', '{}', array['%s']::uuid[], array[null]::bigint[], array['x'], true)"

    async def blocks(store: Store, held: ClaimRequest) -> int:
        (found,) = json.loads(await store.value(explain + release % held.identity.uid))
        return int(found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"])

    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        held = [claim(of) for _ in range(4)]
        await store.ask(*held)
        await blocks(store, held[0])
        before = await blocks(store, held[1])
        snapshot = await asyncpg.connect(database_url)
        await snapshot.execute("begin isolation level repeatable read")
        await snapshot.fetch("select count(*) from ipam.lease")
        try:
            await store.sql("insert into ipam.deletion select gen_random_uuid(), 'a' from generate_series(1, 20000)")
            waiting = await blocks(store, held[2])
            await store.sql("delete from ipam.deletion")
            gone = await blocks(store, held[3])
        finally:
            await snapshot.close()
        assert max(waiting, gone) < before + 50, (before, waiting, gone)

"""Rows A2, A3 and A4: what comes between the pick of an address and its row, or takes the lock away in between."""

import asyncio
import re
from importlib import resources
from ipaddress import ip_network

import asyncpg

from ipam_operator.domain.model import ClaimRequest, PoolRequest
from ipam_operator.errors import StoreUnavailableError
from tests.support.store import Store, claim, claims, texts

SESSION_STATE = re.compile(
    r"pg_(?:try_)?advisory_lock|^\s*(?:listen|discard|prepare)\b|\btemp(?:orary)?\s+table|\bset\s+session\b"
    r"|set_config(?!\([^()]*,\s*true\))",  # true: for this transaction only
    re.IGNORECASE | re.MULTILINE,
)


async def one_by_one(store: Store, of: PoolRequest, asked: list[ClaimRequest]) -> list[str]:
    """Every claim as a client of its own, all at once; what was granted."""
    served = await asyncio.gather(*(store.allocate(of, [one]) for one in asked))
    return [text for each in served for text in texts(each)]


async def test_a2_race_between_pick_and_insert(database_url: str) -> None:
    """A2: a pause between picking an address and writing it down lets nobody in between."""
    async with Store(database_url, connections=16) as store:
        await store.sql(
            "create function pause() returns trigger language plpgsql as "
            "$$ begin perform pg_sleep(0.02); return null; end $$"
        )
        await store.sql("create trigger pause before insert on ipam.lease for each statement execute function pause()")
        of = await store.pool("10.0.0.0/24", "10.0.0.1-10.0.0.8")
        got = await one_by_one(store, of, claims(of, 16))
        assert sorted(got) == [f"10.0.0.{k}" for k in range(1, 9)]


async def test_a3_lock_lost_with_its_session(database_url: str) -> None:
    """A3: sessions killed while they wait for the pool leave nothing, and the same claims then get one address each."""
    async with Store(database_url, connections=8) as store:
        of = await store.pool("10.0.0.0/24")
        asked = claims(of, 8)
        holder = await asyncpg.connect(database_url)
        async with holder.transaction():
            await holder.execute("select from ipam.pool for update")
            calls = [asyncio.create_task(store.allocate(of, [one])) for one in asked]
            stuck = "select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
            while len(pids := await store.sql(stuck)) < len(asked):
                pass
            for row in pids:
                await store.sql("select pg_terminate_backend($1)", row["pid"])
            ends = await asyncio.gather(*calls, return_exceptions=True)
        await holder.close()
        assert {type(end) for end in ends} == {StoreUnavailableError}
        assert await store.held() == {}
        assert len(set(await one_by_one(store, of, asked))) == len(asked)
        await store.assert_tiled()


def test_a3_no_state_in_sessions() -> None:
    """A3: no statement of ours leaves anything in a session, which a pooler would give to somebody else."""
    found = {
        file.name: SESSION_STATE.findall(file.read_text())
        for folder in ("sql", "migrations")
        for file in resources.files(f"ipam_operator.store.{folder}").iterdir()
        if file.name.endswith(".sql")
    }
    assert {name: words for name, words in found.items() if words} == {}


async def test_a4_wishes_race_with_free_choice(database_url: str) -> None:
    """A4: named addresses and free choice at once: nothing twice, and a wish is granted as named or not at all."""
    async with Store(database_url, connections=32) as store:
        of = await store.pool("10.0.0.0/24", "10.0.0.1-10.0.0.16")
        wishes = [claim(of, wanted=f"10.0.0.{k}") for k in [*range(1, 17), *range(1, 17)]]
        asked = [one for pair in zip(wishes, claims(of, 32), strict=True) for one in pair]
        await one_by_one(store, of, asked)
        held = await store.held()
        assert sorted(address for (address,) in held.values()) == list(ip_network("10.0.0.0/27"))[1:17]
        wanted = {one.identity.uid: one.wanted for one in wishes}
        assert all(wanted.get(uid, address) == address for uid, (address,) in held.items())
        await store.assert_tiled()

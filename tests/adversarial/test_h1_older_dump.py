"""H1: the store is restored from a dump that is older than the cluster (cal#4374, velero#2810, capmox#758).

That it is newer than the cluster is a drill: tests/connections/test_drills.py.
"""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from hack.places import ROOT
from hack.postgres import Postgres
from hack.stack import operator_environment
from ipam_operator.store.migrate import migrate
from tests.apiserver.support import Launch, Ledger, Tenant, eventually
from tests.connections.support import BRISK, assert_sound, compared, shown
from tests.support.cluster import condition
from tests.support.dumps import dump, restore

LIMITS = {"lock_timeout=10s", "statement_timeout=60s", "idle_in_transaction_session_timeout=15s", "jit=off"}


def names(word: str, number: int) -> list[str]:
    return [f"{word}-{one:02}" for one in range(number)]


def database(url: str) -> str:
    return urlsplit(url).path[1:]


def flat(held: dict[str, list[str]]) -> list[str]:
    return [address for owned in held.values() for address in owned]


async def settled(url: str, place: Tenant, expected: Iterable[str]) -> None:
    """Wait until these claims hold, they alone, and what they show."""
    expected = list(expected)

    async def so() -> bool:
        async with Ledger(url) as books:
            return await books.held(place.namespace) == await shown(place, expected)

    await eventually(so, "the ledger holds what claims show, and nothing else")


async def test_an_older_dump_of_every_kind_of_claim(
    place: Tenant, database_url: str, launch: Launch, postgres: Postgres, tmp_path: Path
) -> None:
    """What came after the dump is there again: networks, pools, ranges, addresses, prefixes, both families, leases."""
    process = launch(BRISK)
    await place.space(ranges=["10.0.0.1-10.0.0.20"], coolDown="0s")
    early = names("early", 6)
    await place.claims(early)
    await place.bound(*early)
    file = dump(postgres, database(database_url), tmp_path / "dump")
    await place.delete("IPClaim", *early[:3])
    await place.gone("IPClaim", *early[:3])
    await place.edit("IPPool", "pool", ranges=["10.0.0.1-10.0.0.60"])
    for kind, cidr in (("four", "10.4.0.0/24"), ("six", "2001:db8::/64"), ("blocks", "10.9.0.0/16")):
        await place.network(cidr, kind)
        await place.pool(kind, kind, prefixes={"lengths": [28], "default": 28} if kind == "blocks" else None)
        await place.label("IPPool", kind, of="late")
        await place.reason("IPPool", kind, "Ready")
    late = names("late", 30)
    await place.claims(late, lease="24h")
    await place.claim("wide", count=5)
    await place.claim("block", "blocks", prefixLength=28)
    await place.ask("dual", poolSelector={"matchLabels": {"of": "late"}}, families=["IPv4", "IPv6"])
    await place.claim("reserved", mode="Reserve", reserveFor="12h")
    kept = [*early[3:], *late, "wide", "block", "dual"]
    await place.bound(*kept)
    await place.reason("IPClaim", "reserved", "Reserved")
    kept.append("reserved")
    before = await shown(place, kept)
    assert [len(before[name]) for name in ("wide", "block", "dual", "reserved")] == [5, 1, 2, 1]
    ends = {name: one["status"].get("expiresAt") for name, one in (await place.all("IPClaim")).items()}
    process.terminate()
    await restore(postgres, database(database_url), file)
    await migrate(database_url)  # the schema's owner, as before each start in the chart: a dump has no settings
    new = names("a-new", 20)  # first in the order of a list
    await place.claims(new)
    launch(BRISK)
    await place.bound(*new)
    assert await shown(place, kept) == before
    assert not set(flat(before)) & set(flat(await shown(place, new)))
    async with Ledger(database_url) as books:

        async def held() -> bool:
            mine = await books.value("select count(*) from ipam.lease where released_at is null")
            return int(mine) == len(flat(before)) + len(new)

        await eventually(held, "what the deleted claims had is released")
        assert await books.value("select count(*) from ipam.untiled(array(select uid from ipam.network))") == 0
        assert set(
            await books.value("select setconfig from pg_db_role_setting join pg_database d on d.oid = setdatabase"
                              " where d.datname = current_database()")
        ) == LIMITS  # fmt: skip
    await place.bound(*kept[:-1])
    after = await place.all("IPClaim")
    assert {name: after[name]["status"].get("expiresAt") for name in kept} == {name: ends[name] for name in kept}
    assert {event["reason"] for event in (await place.all("Event")).values()} == set()


async def test_a_dump_under_a_running_operator(
    place: Tenant, database_url: str, launch: Launch, postgres: Postgres, tmp_path: Path
) -> None:
    """Restored while it runs: it notices by itself, and nobody gets what others show."""
    launch(BRISK)
    await place.space(coolDown="0s")
    await place.claim("early")
    await place.bound("early")
    file = dump(postgres, database(database_url), tmp_path / "dump")
    late = names("late", 20)
    await place.claims(late)
    await place.bound(*late)
    before = await shown(place, ["early", *late])
    await restore(postgres, database(database_url), file)
    new = names("new", 20)
    await place.claims(new)
    await place.bound(*new)
    assert await shown(place, before) == before
    await settled(database_url, place, [*before, *new])
    await assert_sound(database_url, place, 41)


async def test_what_was_passed_on_is_its_new_holders(
    place: Tenant, database_url: str, launch: Launch, postgres: Postgres, tmp_path: Path
) -> None:
    """By the dump a claim that is gone holds the only address, or it cools: who shows it has it at once."""
    process = launch(BRISK)
    await place.space(ranges=["10.0.0.1-10.0.0.2"], coolDown="300s")
    await place.claims(["gone", "cools"])
    await place.bound("gone", "cools")
    await place.delete("IPClaim", "cools")
    await place.gone("IPClaim", "cools")
    file = dump(postgres, database(database_url), tmp_path / "dump")
    await place.edit("IPPool", "pool", coolDown="0s")
    await place.delete("IPClaim", "gone")
    await place.gone("IPClaim", "gone")
    async with Ledger(database_url) as books:
        await books.execute("update ipam.lease set reusable_at = now() where released_at is not null")
    await place.claims(["one", "two"])
    await place.bound("one", "two")
    before = await shown(place, ["one", "two"])
    process.terminate()
    await restore(postgres, database(database_url), file)
    await place.claim("waits")
    launch(BRISK)
    await place.reason("IPClaim", "waits", "PoolExhausted")
    await settled(database_url, place, ["one", "two"])
    assert await shown(place, before) == before
    await assert_sound(database_url, place, 2)


async def test_a_network_that_took_the_place_of_a_dumped_one(
    place: Tenant, database_url: str, launch: Launch, postgres: Postgres, tmp_path: Path
) -> None:
    """A network comes into service late, for by the dump another one has its addresses: its claims come first."""
    process = launch(BRISK)
    await place.space(coolDown="0s")
    await place.claim("old")
    await place.bound("old")
    file = dump(postgres, database(database_url), tmp_path / "dump")
    for kind, name in (("IPClaim", "old"), ("IPPool", "pool"), ("IPNetwork", "net")):
        await place.delete(kind, name)
        await place.gone(kind, name)
    await place.network("10.0.0.0/24", "successor")
    await place.pool("other", "successor")
    late = names("late", 10)
    await place.claims(late, "other")
    await place.bound(*late)
    before = await shown(place, late)
    process.terminate()
    await restore(postgres, database(database_url), file)
    new = names("a-new", 10)
    await place.claims(new, "other")
    launch(BRISK)
    await place.bound(*new, *late)
    assert await shown(place, late) == before
    await settled(database_url, place, [*late, *new])
    await assert_sound(database_url, place, 20)


async def test_what_cannot_be_adopted_is_said(
    place: Tenant, database_url: str, launch: Launch, postgres: Postgres, tmp_path: Path
) -> None:
    """An address that somebody put into the restored store for another: its claim keeps showing it, and says so."""
    process = launch(BRISK)
    await place.space(ranges=["10.0.0.1"])
    file = dump(postgres, database(database_url), tmp_path / "dump")
    await place.claim("victim")
    await place.bound("victim")
    thief = await place.claim("thief")
    await place.reason("IPClaim", "thief", "PoolExhausted")
    process.terminate()
    await restore(postgres, database(database_url), file)
    async with Ledger(database_url) as books:
        await books.execute(
            "select ipam.adopt($1, 'pool', array[$2::uuid], array[1], array[$1], array['thief'], array['test'],"
            " array[1], array['10.0.0.1'::inet], '{}')",
            place.namespace,
            thief["metadata"]["uid"],
        )
    launch(BRISK)
    victim = await place.reason("IPClaim", "victim", "AddressConflict")
    ready = condition(victim, "Ready")
    assert ready is not None
    assert (victim["status"]["address"], ready["status"]) == ("10.0.0.1", "False")
    await place.events("victim", "AddressConflict")
    await compared(database_url)
    async with Ledger(database_url) as books:
        assert await books.held(place.namespace) == {"thief": ["10.0.0.1"]}


async def test_a_dump_full_of_claims_that_are_gone_waits_for_a_person(
    place: Tenant, database_url: str, launch: Launch, postgres: Postgres, tmp_path: Path, operator_kubeconfig: Path
) -> None:
    """Sixty leases without claims are not released before that is confirmed, and meanwhile new claims are served."""
    process = launch(BRISK)
    await place.space(coolDown="0s")
    gone = names("gone", 60)
    await place.claims(gone)
    await place.bound(*gone)
    file = dump(postgres, database(database_url), tmp_path / "dump")
    await place.delete_all("IPClaim")
    await place.gone("IPClaim")
    process.terminate()
    await restore(postgres, database(database_url), file)
    process = launch(BRISK)

    async def braked() -> bool:
        return process.metrics().total("ipam_resync_braked_releases") == 60

    await eventually(braked, "the brake holds 60 releases")
    await place.claim("new")
    await place.bound("new")
    async with Ledger(database_url) as books:
        assert len(await books.held(place.namespace)) == 61
    confirmed = subprocess.run(
        [sys.executable, "-m", "ipam_operator", "confirm", "release"],
        env=operator_environment(database_url, operator_kubeconfig, {}),
        capture_output=True,
        check=False,
        cwd=ROOT,
    )
    assert confirmed.returncode == 0
    await settled(database_url, place, ["new"])

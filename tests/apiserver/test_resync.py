"""Cluster against store: what no event told is found and mended, and never on a world that looks wrong (C4)."""

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from hack.places import ROOT
from hack.stack import operator_environment
from tests.apiserver.support import Launch, Ledger, Tenant, Writes, agreement, eventually
from tests.support.operator_process import OperatorProcess

NUMBER = 200
CEASELESS = {"IPAM_RESYNC_SECONDS": "0.02"}
RARELY = {"IPAM_RESYNC_SECONDS": "3600", "IPAM_POOL_TIMER_SECONDS": "1"}
BRISK = {"IPAM_RESYNC_SECONDS": "1", "IPAM_POOL_TIMER_SECONDS": "1", "IPAM_AUDIT_TIMER_SECONDS": "1"}


async def rounds(process: OperatorProcess, number: int, operation: str = "tidy") -> None:
    """Wait for so many more complete resyncs."""
    before = process.metrics().total("ipam_store_statements_total", operation=operation)

    async def enough() -> bool:
        return process.metrics().total("ipam_store_statements_total", operation=operation) >= before + number

    await eventually(enough, f"{number} resyncs")


async def test_a_lost_lease_is_adopted(place: Tenant, books: Ledger, launch: Launch) -> None:
    """A claim whose lease the store has lost gets the very address that it shows, and is not written to."""
    launch(BRISK)
    await place.space()
    await place.claims(["one", "two", "three"])
    await place.bound("one", "two", "three")
    held = await books.held(place.namespace)
    pool = await books.pool_id(place.namespace)
    await books.execute("delete from ipam.lease where pool_id = $1 and name = 'two'", pool)
    await books.execute("select ipam.rebuild_free_ranges($1)", pool)

    async def back() -> bool:
        return await books.held(place.namespace) == held

    await eventually(back, "the lease is in the ledger again")
    await agreement(place, books)


async def test_a_lost_lease_whose_address_is_taken(place: Tenant, books: Ledger, launch: Launch) -> None:
    """A claim whose lost address another holds by now is told so and keeps showing it: it is not renumbered."""
    first = launch(BRISK)
    await place.space(ranges=["10.0.0.1-10.0.0.3"])
    await place.claim("victim")
    await place.bound("victim")
    first.terminate()
    pool = await books.pool_id(place.namespace)
    await books.execute("delete from ipam.lease where pool_id = $1", pool)
    await books.execute("select ipam.rebuild_free_ranges($1)", pool)
    # The thief comes while nobody looks, and is in the ledger before the victim is looked at.
    thief = await place.claim("thief")
    await books.execute(
        "select ipam.allocate($1, 'pool', array[$2::uuid], array[1::bigint], array[$1], array['thief'], array[1],"
        " null, array['test'], null, null, null)",
        place.namespace,
        thief["metadata"]["uid"],
    )
    launch(BRISK)
    victim = await place.reason("IPClaim", "victim", "AddressConflict")
    assert victim["status"]["address"] == "10.0.0.1"
    assert "not changed silently" in str(victim["status"]["conditions"])
    assert await place.address("thief") == "10.0.0.1"
    await place.delete("IPClaim", "thief")
    await place.gone("IPClaim", "thief")
    assert await place.address("victim") == "10.0.0.1"
    await agreement(place, books)


@pytest.mark.usefixtures("stamped")
async def test_comparisons_ask_nobody_twice(place: Tenant, launch: Launch) -> None:
    """Lists that are read while claims are answered show them as they were before: that costs no write."""
    await _burst(place, launch(CEASELESS), creates=NUMBER)


@pytest.mark.usefixtures("unstamped")
async def test_comparisons_hold_nobody_twice(place: Tenant, launch: Launch) -> None:
    """Nor where claims are born without our finalizer."""
    await _burst(place, launch(CEASELESS), creates=2 * NUMBER)


async def _burst(place: Tenant, process: OperatorProcess, *, creates: int) -> None:
    def resyncs() -> float:
        return process.metrics().total("ipam_store_statements_total", operation="tidy")

    await place.space("10.0.0.0/22")
    names = [f"c{number:03}" for number in range(NUMBER)]
    writes, before = await Writes.begin(place.api), resyncs()
    await place.claims(names)
    await place.bound(*names)
    assert await writes.of_claims() == {"ipclaims": creates, "ipclaims/status": NUMBER}
    writes = await Writes.begin(place.api)
    await place.delete_all("IPClaim")
    await place.gone("IPClaim")
    assert await writes.of_claims() == {"ipclaims": NUMBER}
    assert resyncs() > before + 2


async def test_an_abandoned_lease_is_released(place: Tenant, books: Ledger, launch: Launch) -> None:
    """A lease without a claim is released after two looks, with the operator named as who did it."""
    launch(BRISK)
    await place.space()
    (address,) = await books.squat(place.namespace)

    async def released() -> bool:
        return not await books.held(place.namespace)

    await eventually(released, "nobody holds it")
    assert (
        await books.value(
            "select actor from ipam.history where action = 'R' and namespace = $1 and host(addr) = $2",
            place.namespace,
            address,
        )
        == "ipam-operator:resync"
    )


async def test_the_second_look_comes_soon(place: Tenant, books: Ledger, launch: Launch) -> None:
    """Whoever waits for an address that nobody claims does not wait until everything is compared again."""
    first = launch(RARELY)
    await place.space(ranges=["10.0.0.5"])
    await books.squat(place.namespace)
    first.terminate()
    launch(RARELY)
    await place.claim("next")
    await place.bound("next")


async def test_finalizer_stripped_while_nobody_looked(place: Tenant, books: Ledger, launch: Launch) -> None:
    """Claims that were torn out of the cluster with the operator down leave no lease and no place in the queue."""
    first = launch(BRISK)
    await place.space(ranges=["10.0.0.1-10.0.0.2"])
    await place.claims(["one", "two"])
    await place.bound("one", "two")
    await place.claim("waits")
    await place.reason("IPClaim", "waits", "PoolExhausted")
    first.terminate()
    for name in ("one", "waits"):
        await place.delete("IPClaim", name)
        await place.api.patch("IPClaim", place.namespace, name, {"metadata": {"finalizers": None}})
        await place.gone("IPClaim", name)
    await books.execute("update ipam.lease set allocated_at = now() - interval '1 hour'")
    launch(BRISK)

    async def mended() -> bool:
        return set(await books.held(place.namespace)) == {"two"} and await books.queue(place.namespace) == []

    await eventually(mended, "ledger and queue know only who is there")


async def test_mass_release_waits_for_consent(
    place: Tenant, books: Ledger, launch: Launch, database_url: str, operator_kubeconfig: Path
) -> None:
    """More than 50 abandoned leases that are more than a tenth of all stay until a person confirms their release."""
    process = launch(BRISK)
    await place.space()
    await place.claim("honest")
    await place.bound("honest")
    await books.squat(place.namespace, 60)

    async def braked() -> bool:
        return process.metrics().total("ipam_resync_braked_releases") == 60

    await eventually(braked, "the brake holds 60 releases")
    await rounds(process, 2)
    assert len(await books.held(place.namespace)) == 61
    assert "kubectl-ipam confirm release" in process.log()
    done = subprocess.run(
        [sys.executable, "-m", "ipam_operator", "confirm", "release"],
        env=operator_environment(database_url, operator_kubeconfig, {}),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout) == (0, "confirmed release for 10 minutes\n"), done.stderr

    async def released() -> bool:
        return set(await books.held(place.namespace)) == {"honest"}

    await eventually(released, "only the honest claim holds")

    async def let_go() -> bool:
        return process.metrics().total("ipam_resync_braked_releases") == 0

    await eventually(let_go, "the brake is off")


async def test_another_clusters_store_is_refused(books: Ledger, launch: Launch) -> None:
    """The store of another cluster is not touched, exit code 1 and a message say so, and adopting it is explicit."""
    other = uuid4()
    await books.execute("insert into ipam.cluster (uid) values ($1)", other)
    process = launch(ready=False)
    assert process.wait() == 1
    assert f"this store belongs to the cluster whose kube-system has UID {other}" in process.log()
    assert "IPAM_ADOPT_STORE=true" in process.log()
    assert await books.value("select uid from ipam.cluster") == other
    launch({"IPAM_ADOPT_STORE": "true"})
    assert await books.value("select uid from ipam.cluster") != other


async def test_restart_with_nothing_to_do_writes_nothing(place: Tenant, launch: Launch) -> None:
    """A restarted operator that finds all as it was sends no write in three resyncs."""
    first = launch(BRISK)
    await place.space()
    names = [f"c{number}" for number in range(50)]
    await place.claims(names)
    await place.bound(*names)
    await place.claim("waits", pool="missing")
    await place.reason("IPClaim", "waits", "PoolNotFound")
    await place.network("10.0.0.0/16", "refused")
    await place.reason("IPNetwork", "refused", "NetworkOverlap")
    await place.capacity(allocated="50")
    await place.capacity("IPNetwork", "net", allocated="50")
    await rounds(first, 2, "untiled")
    first.terminate()
    writes = await Writes.begin(place.api)
    second = launch(BRISK)
    await rounds(second, 3)
    await rounds(second, 3, "untiled")
    assert await writes.now() == {}

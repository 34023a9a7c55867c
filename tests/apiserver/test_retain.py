"""Addresses that are kept although their claim is gone: seen by users, and by the person at the command line."""

import subprocess
import sys
from pathlib import Path

from hack.places import ROOT
from hack.stack import operator_environment
from tests.apiserver.support import Launch, Ledger, Tenant

BRISK = {"IPAM_POOL_TIMER_SECONDS": "1", "IPAM_RESYNC_SECONDS": "3600"}


async def test_a_deleted_claim_keeps_its_address(
    place: Tenant, books: Ledger, launch: Launch, database_url: str, operator_kubeconfig: Path
) -> None:
    """Nobody else gets it, whoever has the name does; listed and let go by hand it is as any other."""

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ipam_operator", *command],
            env=operator_environment(database_url, operator_kubeconfig, {}),
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )

    launch(BRISK)
    await place.space(ranges=["10.0.0.5-10.0.0.6"])
    await place.claim("gateway", reclaimPolicy="Retain")
    address = await place.address("gateway")
    await place.delete("IPClaim", "gateway")
    await place.gone("IPClaim", "gateway")
    await place.claims(["one", "two"], pool="pool")
    await place.reason("IPClaim", "one", "Allocated", "PoolExhausted")
    await place.reason("IPClaim", "two", "Allocated", "PoolExhausted")
    assert len(await books.held(place.namespace)) == 1
    await place.capacity(retained="1", cooling="1", free="0", allocated="1")
    listed = run("retained", "--namespace", place.namespace)
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[:5] for line in listed.stdout.splitlines()[1:]] == [
        [place.namespace, "gateway", "gateway", f"{place.namespace}/pool", address]
    ]
    freed = run("release-retained", f"{place.namespace}/pool", address)
    assert (freed.returncode, freed.stderr) == (0, "")
    await place.bound("one", "two")
    again = run("release-retained", f"{place.namespace}/pool", address)
    assert (again.returncode, "is not kept" in again.stderr) == (1, True)
    wrong = run("release-retained", "pool", "10.0.0.05")
    assert (wrong.returncode, "must be NAMESPACE/POOL" in wrong.stderr) == (2, True)


async def test_all_of_it_made_anew(place: Tenant, launch: Launch) -> None:
    """Claims, pool and network deleted at once are soon gone, and what is kept is kept in the new pool, too."""
    launch(BRISK)
    await place.space(ranges=["10.0.0.5-10.0.0.6"])
    await place.claim("gateway", reclaimPolicy="Retain")
    address = await place.address("gateway")
    for kind in ("IPNetwork", "IPPool", "IPClaim"):
        await place.delete_all(kind)
    for kind, name in (("IPPool", "pool"), ("IPNetwork", "net")):  # a network goes when the store has none of its pools
        await place.gone(kind, name)
    await place.space(ranges=["10.0.0.5-10.0.0.6"])
    await place.claim("one")
    assert await place.address("one") != address
    await place.claim("gateway", reclaimPolicy="Retain")
    assert await place.address("gateway") == address

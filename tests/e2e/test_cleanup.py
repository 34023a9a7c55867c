"""The last mile: an operator that went too early, and deletions that nobody ends."""

import pytest

from hack.places import ROOT
from tests.apiserver.support import Tenant
from tests.e2e.support import Release

CLEANUP = ROOT / "manifests" / "cleanup"
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def installed(release: Release) -> Release:
    """The chart as its defaults say."""
    release.install()
    return release


async def test_job_ends_deletions_that_hang(installed: Release, place: Tenant) -> None:
    """Where only restricted pods may run, the job runs, lets go of the claim that is being deleted, and of no other."""
    await place.space()
    await place.claims(("kept", "stuck"))
    before = (await place.bound("kept", "stuck"))["kept"]["status"]
    installed.uninstall()
    await place.delete("IPClaim", "stuck")
    assert "stuck" in await place.all("IPClaim")
    try:
        installed.node.run_kubectl("apply", "-k", CLEANUP)
        installed.kubectl("wait", "--for=condition=Complete", "job/ipam-cleanup", "--timeout=60s")
    finally:
        installed.node.run_kubectl("delete", "-k", CLEANUP, "--timeout=60s")
    await place.gone("IPClaim", "stuck")
    kept = await place.get("IPClaim", "kept")
    assert kept["status"] == before
    assert kept["metadata"]["finalizers"]
    installed.install()
    await place.claim("next")
    await place.bound("next")

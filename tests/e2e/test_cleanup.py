"""The last mile: an operator that went too early, and deletions that nobody ends."""

import pytest

from hack.places import ROOT
from tests.apiserver.support import Tenant
from tests.e2e.support import Release
from tests.support.walkthrough import follow, section

UNINSTALL = ROOT / "docs" / "operations" / "uninstall.md"
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
    follow(section(UNINSTALL, "The operator went first, and deletions hang"), ROOT, installed.environment(), seconds=60)
    await place.gone("IPClaim", "stuck")
    kept = await place.get("IPClaim", "kept")
    assert kept["status"] == before
    assert kept["metadata"]["finalizers"]
    installed.install()
    await place.claim("next")
    await place.bound("next")

"""From the version before the newest migration to this one and back, while claims keep coming."""

import re
from asyncio import to_thread as aside

import pytest

from tests.apiserver.support import Ledger, Tenant, agreement
from tests.e2e import images
from tests.e2e.support import RELEASE, Flow, HelmError, Release, ready, say, timed
from tests.support.cluster import Json

pytestmark = pytest.mark.timeout(240)
ROOM = "10.0.0.0/20"
VERSION = "select max(name) from ipam.migration where name not like 'R\\_%'"
ROLLBACK_SECONDS = 20
"""So long Helm waits for pods that never get ready."""


async def test_upgrade_and_rollback_lose_nothing(
    release: Release, previous_image: str, place: Tenant, books: Ledger
) -> None:
    """An upgrade migrates the schema amid claims, and none is lost.

    The rollback across that migration is refused by the older version, which says why, and its pods never get ready:
    so Kubernetes leaves the newer ones in service, and the next upgrade mends the release.
    """
    release.install(image={"tag": previous_image})
    await place.space(ROOM)
    newest = images.newest_migration().name
    assert await books.value(VERSION) < newest

    async with Flow(place) as flow:
        with timed(f"helm upgrade --wait, with the migration {newest}"):
            await aside(release.install)
        assert await books.value(VERSION) == newest
        await flow.served(20)
        tally = await flow.finish()
    say(f"upgraded: {tally}")
    await agreement(place, books)
    kept = await books.held(place.namespace)

    serving = {pod["metadata"]["name"] for pod in release.pods()}
    async with Flow(place, "back") as flow:
        rollback = ("rollback", RELEASE, "1", "--wait", f"--timeout={ROLLBACK_SECONDS}s")
        with pytest.raises(HelmError):
            await aside(release.helm, *rollback)
        reasons = [last_words(pod) for pod in release.pods() if pod["metadata"]["name"] not in serving]
        assert reasons
        refusal = re.compile(rf"the database is newer than this program: it has .*{re.escape(newest)}")
        assert all(refusal.search(words) for words in reasons), reasons
        assert serving <= {pod["metadata"]["name"] for pod in release.pods() if ready(pod)}
        await flow.served(20)
        with timed("helm upgrade --wait, after the refused rollback"):
            await aside(release.install)
        tally = await flow.finish()
    say(f"rolled back, refused, upgraded again: {tally}")
    assert kept.items() <= (await books.held(place.namespace)).items()
    await agreement(place, books)


def last_words(pod: Json) -> str:
    """With which a pod's container ended, as `kubectl describe pod` shows them."""
    (status,) = pod["status"]["containerStatuses"]
    ends = (status[when].get("terminated", {}).get("message", "") for when in ("state", "lastState"))
    return " ".join(ends)

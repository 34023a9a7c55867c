"""G3: clock skew expires live leases, or keeps dead ones (cal reports `releasedAt` in the future; stratux#325)."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hack.faketime import shifted
from tests.apiserver.support import Launch, Ledger, Tenant, eventually
from tests.support.cluster import condition

HOUR = timedelta(hours=1)
BRISK = {"IPAM_POOL_TIMER_SECONDS": "1", "IPAM_RESYNC_SECONDS": "2"}


def trusting(kubeconfig: Path, path: Path) -> Path:
    """The same without the server's certificate, which begins today: a day ago it was not valid yet."""
    written = json.loads(kubeconfig.read_text())
    (cluster,) = written["clusters"]
    cluster["cluster"] = {"server": cluster["cluster"]["server"], "insecure-skip-tls-verify": True}
    path.touch(mode=0o600)
    path.write_text(json.dumps(written))
    return path


@pytest.mark.parametrize("days", [-1, 1])
async def test_g3_an_operator_whose_clock_is_a_day_off(
    place: Tenant, books: Ledger, launch: Launch, operator_kubeconfig: Path, tmp_path: Path, days: int
) -> None:
    """It changes nothing: leases hold and end when they should, released addresses cool as long, and renewals renew."""
    off = shifted(timedelta(days=days))
    launch({**BRISK, **off}, kubeconfig=trusting(operator_kubeconfig, tmp_path / "kubeconfig"))
    await place.space("10.0.0.0/29", ranges=["10.0.0.1-10.0.0.5"], coolDown="1h")
    for name in ("lives", "renewed", "ends"):
        await place.claim(name, lease="1h")
    await place.claim("leaves")
    before = await place.bound("lives", "renewed", "ends", "leaves")
    await books.squat(place.namespace)

    ready = condition(before["lives"], "Ready")
    assert ready is not None
    shown = datetime.fromisoformat(ready["lastTransitionTime"]) - datetime.now(UTC)
    assert abs(shown - timedelta(days=days)) < HOUR, "the operator's clock is right: this test shows nothing"

    for seen in before.values():
        allocated = datetime.fromisoformat(seen["status"]["allocatedAt"])
        assert abs(allocated - datetime.now(UTC)) < HOUR
        if "expiresAt" in seen["status"]:
            assert datetime.fromisoformat(seen["status"]["expiresAt"]) - allocated == HOUR

    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    sooner = {"status": {"expiresAt": now}}  # the resync gives a lease the time that its claim shows
    await place.api.patch("IPClaim", place.namespace, "ends", sooner, subresource="status")
    await books.execute("update ipam.term t set expires_at = now() + interval '1 s' from ipam.lease l"
                        " where l.claim_uid = t.claim_uid and l.name = 'ends'")  # fmt: skip
    await place.edit("IPClaim", "renewed", lease="2h", renewedAt=now)
    over = await place.reason("IPClaim", "ends", "ExpiredAllocation")
    assert "address" not in over["status"]
    await place.delete("IPClaim", "leaves")
    await place.gone("IPClaim", "leaves")
    await place.claim("waits")
    await place.reason("IPClaim", "waits", "PoolExhausted")

    async def abandoned_lease_is_gone() -> bool:
        return "squatter-1" not in await books.held(place.namespace)

    await eventually(abandoned_lease_is_gone, "two looks at everything")
    after = await place.bound("lives", "renewed")
    assert after["lives"]["status"] == before["lives"]["status"]
    renewed, was = after["renewed"]["status"], before["renewed"]["status"]
    assert renewed["address"] == was["address"]
    longer = datetime.fromisoformat(renewed["expiresAt"]) - datetime.fromisoformat(was["expiresAt"])
    assert HOUR <= longer < HOUR + timedelta(minutes=2)
    await place.capacity(allocated="2", cooling="3")
    assert await books.value("select count(*) from ipam.history where at > now() + interval '1 h'"
                             " or at < now() - interval '1 h'") == 0  # fmt: skip

    await books.execute("update ipam.lease set reusable_at = now() where released_at is not null")
    await place.bound("waits")
    await books.distinct(place.namespace)

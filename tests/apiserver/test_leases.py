"""Claims that hold for a while only."""

from datetime import datetime, timedelta

from tests.apiserver.support import Ledger, Tenant, eventually
from tests.support.cluster import condition


async def lapse(ledger: Ledger, tenant: Tenant) -> None:
    """Let every lease of the namespace be over, as if its time had passed: it shows in the claims, too."""
    past = {"status": {"expiresAt": "2000-01-01T00:00:00Z"}}
    for name, seen in (await tenant.all("IPClaim")).items():
        if "expiresAt" in seen.get("status", {}):
            await tenant.api.patch("IPClaim", tenant.namespace, name, past, subresource="status")
    await ledger.execute(
        "update ipam.term t set expires_at = now() from ipam.lease l"
        " where l.claim_uid = t.claim_uid and l.namespace = $1 and t.expires_at is not null",
        tenant.namespace,
    )


async def test_a_lease_ends_and_is_renewed(tenant: Tenant, ledger: Ledger) -> None:
    """An expired claim says so, with an Event, and holds nothing; renewedAt gives it its address again."""
    await tenant.space(defaultLease="24h", coolDown="1h")
    await tenant.claim(lease="48h")
    bound = (await tenant.bound("claim"))["claim"]["status"]
    allocated, expires = (datetime.fromisoformat(bound[name]) for name in ("allocatedAt", "expiresAt"))
    assert expires - allocated == timedelta(hours=48)

    await lapse(ledger, tenant)
    over = await tenant.reason("IPClaim", "claim", "ExpiredAllocation")
    assert "address" not in over["status"]
    stalled = condition(over, "Stalled")
    assert stalled is not None
    assert "set spec.renewedAt to the present time" in stalled["message"]
    await tenant.events("claim", "ExpiredAllocation")
    await tenant.capacity(allocated="0", cooling="1")

    await tenant.edit("IPClaim", "claim", renewedAt="2026-01-31T12:00:00Z")
    again = await tenant.reason("IPClaim", "claim", "Allocated")
    assert again["status"]["address"] == bound["address"]
    assert again["status"]["leaseGeneration"] > bound["leaseGeneration"]


async def test_a_living_claim_is_renewed_in_place(tenant: Tenant) -> None:
    """Moving renewedAt on moves the end, and nothing else."""
    await tenant.space()
    await tenant.claim(lease="300s", renewedAt="2026-01-31T12:00:00Z")
    before = (await tenant.bound("claim"))["claim"]["status"]
    await tenant.edit("IPClaim", "claim", lease="24h", renewedAt="2026-01-31T12:00:01Z")

    async def renewed() -> bool:
        return bool((await tenant.get("IPClaim", "claim"))["status"]["expiresAt"] != before["expiresAt"])

    await eventually(renewed, "the end has moved")
    after = (await tenant.get("IPClaim", "claim"))["status"]
    moved = datetime.fromisoformat(after["expiresAt"]) - datetime.fromisoformat(before["expiresAt"])
    assert timedelta(hours=23) < moved < timedelta(hours=25)
    for name in ("address", "leaseGeneration", "allocatedAt"):
        assert after[name] == before[name]


async def test_an_expired_claim_shows_no_address_even_if_nobody_told(tenant: Tenant, ledger: Ledger) -> None:
    """A lease that ended while the status could not be written: the next answer takes the address away."""
    await tenant.space()
    await tenant.claim(lease="24h")
    await tenant.bound("claim")
    await lapse(ledger, tenant)
    await ledger.execute("select ipam.expire(100, 'another replica, which died then', ipam.store_run())")
    await tenant.edit("IPClaim", "claim", hostname="db.example")
    over = await tenant.reason("IPClaim", "claim", "ExpiredAllocation")
    assert not over["status"].keys() & {"address", "addresses", "pool", "expiresAt"}


async def test_who_waits_gets_what_expires(tenant: Tenant, ledger: Ledger) -> None:
    """An expired lease feeds the queue of its pool by itself."""
    await tenant.space(ranges=["10.0.0.5"], coolDown="0s")
    await tenant.claim("leased", lease="24h")
    await tenant.bound("leased")
    await tenant.claim("waiter")
    await tenant.reason("IPClaim", "waiter", "PoolExhausted")
    await lapse(ledger, tenant)
    await tenant.bound("waiter")
    await tenant.reason("IPClaim", "leased", "ExpiredAllocation")
    await ledger.distinct(tenant.namespace)

"""Leases whose end came while nobody ran."""

from tests.apiserver.support import Launch, Ledger, Tenant, eventually

SETTINGS = {
    "IPAM_RENEW_KINDS": "v1/Secret",
    "IPAM_RENEW_SECONDS": "1",
    "IPAM_RESYNC_SECONDS": "1",
    "IPAM_POOL_TIMER_SECONDS": "1",
}


async def test_nobody_loses_an_address_because_the_operator_was_away(
    place: Tenant, books: Ledger, launch: Launch
) -> None:
    """Back again, it renews first (an object that cannot be seen is no reason not to), then ends what is over."""
    service = launch(SETTINGS)
    await place.space(coolDown="0s")
    ref = {"apiVersion": "v1", "kind": "Secret", "name": "web"}
    await place.claim("renews", lease="1h", autoRenew=True, resourceRef=ref)
    await place.claim("ends", lease="1h")
    seen = await place.bound("renews", "ends")
    service.kill9()
    past = {"status": {"expiresAt": "2026-01-01T00:00:00Z"}}
    for name in seen:
        await place.api.patch("IPClaim", place.namespace, name, past, subresource="status")
    await books.execute(
        "update ipam.term set since = since - interval '2 hours', expires_at = expires_at - interval '2 hours'"
    )
    launch(SETTINGS)
    await place.reason("IPClaim", "ends", "ExpiredAllocation")
    assert set(await books.held(place.namespace)) == {"renews"}

    async def renewed() -> bool:
        return bool(
            await books.value("select bool_and(expires_at > now()) from ipam.term where expires_at is not null")
        )

    await eventually(renewed, "the lease has begun anew")

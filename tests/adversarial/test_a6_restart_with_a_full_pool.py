"""A6: a restart hands out an address whose owner is not yet loaded (mlb#1774, kovn#4304, aws-cni#711)."""

from tests.apiserver.support import Launch, Ledger, Tenant, agreement


async def test_waiting_claims_get_nothing_of_those_who_hold(place: Tenant, books: Ledger, launch: Launch) -> None:
    """Whoever is listed first after a crash, holders of a full pool keep what they have and the others wait on."""
    settings = {"IPAM_LEADER_SECONDS": "1", "IPAM_POOL_TIMER_SECONDS": "1"}
    process = launch(settings)
    await place.space(ranges=["10.0.0.1-10.0.0.50"])
    holders = [f"z{number:02}" for number in range(50)]  # last in the order of a list
    await place.claims(holders)
    await place.bound(*holders)
    held = await books.held(place.namespace)
    process.kill9()
    waiters = [f"a{number:02}" for number in range(20)]
    await place.claims(waiters)
    launch(settings)
    for name in waiters:
        await place.reason("IPClaim", name, "PoolExhausted")
    assert await books.held(place.namespace) == held
    await agreement(place, books)
    await place.delete("IPClaim", *holders[:20])
    await place.bound(*waiters)
    await place.gone("IPClaim", *holders[:20])  # an address is passed on before its last holder is quite gone
    await agreement(place, books)

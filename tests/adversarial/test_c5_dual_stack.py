"""Row C5: one owner, several addresses; one of them is freed or lost, and the others stay."""

from tests.apiserver.support import PATIENCE, Ledger, Tenant, addresses, watch_until
from tests.support.cluster import Json

BOTH = ["10.0.0.1", "2001:db8::1"]


async def made(tenant: Tenant) -> None:
    await tenant.space()
    await tenant.network("2001:db8::/64", "six")
    await tenant.pool("six", "six")
    await tenant.ask("web", poolSelector={}, families=["IPv4", "IPv6"])


async def test_c5_a_family_missing_in_status(tenant: Tenant, ledger: Ledger) -> None:
    """It comes back, and nothing was freed: the ledger is asked, not the status."""
    await made(tenant)
    web = (await tenant.bound("web"))["web"]
    assert addresses(web) == BOTH
    assert (web["status"]["address"], web["status"]["addressIPv6"]) == tuple(BOTH)
    assert [(block["family"], block["pool"]) for block in web["status"]["blocks"]] == [(4, "pool"), (6, "six")]
    half: Json = {"addresses": BOTH[:1], "addressIPv6": None, "blocks": web["status"]["blocks"][:1]}
    await tenant.api.patch("IPClaim", tenant.namespace, "web", {"status": half}, subresource="status")
    await tenant.edit("IPClaim", "web", description="looked at again")
    await watch_until(
        tenant.api, "IPClaim", tenant.namespace,
        lambda seen: addresses(seen["web"]) == BOTH and "addressIPv6" in seen["web"]["status"], PATIENCE,
    )  # fmt: skip
    assert await ledger.held(tenant.namespace) == {"web": BOTH}


async def test_c5_all_of_it_goes_with_the_claim(tenant: Tenant, ledger: Ledger) -> None:
    """Deleted, it holds nothing in either pool; another claim of one family has lost nothing by that."""
    await made(tenant)
    await tenant.bound("web")
    await tenant.claim("other")
    other = await tenant.address("other")
    await tenant.delete("IPClaim", "web")
    await tenant.gone("IPClaim", "web")
    assert await ledger.held(tenant.namespace) == {"other": [other]}

"""Claims that come again."""

from tests.apiserver.support import Ledger, Tenant
from tests.support.cluster import condition

NAMES = [f"web-{number}" for number in range(8)]


async def test_what_git_applies_again_has_its_addresses_again(tenant: Tenant, ledger: Ledger) -> None:
    """Claims that are deleted and applied again in any order have the addresses that they had, cooling or not."""
    await tenant.space(coolDown="1h")
    await tenant.claims(NAMES)
    before = {name: one["status"]["address"] for name, one in (await tenant.bound(*NAMES)).items()}
    await tenant.delete_all("IPClaim")
    await tenant.gone("IPClaim", *NAMES)
    await tenant.claims(["a-stranger", *reversed(NAMES)])
    after = {name: one["status"]["address"] for name, one in (await tenant.bound(*NAMES)).items()}
    assert after == before
    assert await tenant.address("a-stranger") not in before.values()
    await ledger.distinct(tenant.namespace)


async def test_a_namespace_made_anew_has_its_addresses_again(tenant: Tenant) -> None:
    """Network, pool and claims, all deleted and applied again with the claims first: the same addresses."""
    await tenant.space(strategy="Random", coolDown="0s")
    await tenant.claims(NAMES)
    before = {name: one["status"]["address"] for name, one in (await tenant.bound(*NAMES)).items()}
    for kind in ("IPClaim", "IPPool", "IPNetwork"):
        await tenant.delete_all(kind)
    for kind, name in (("IPPool", "pool"), ("IPNetwork", "net")):  # a network goes when the store has none of its pools
        await tenant.gone(kind, name)
    await tenant.claims(reversed(NAMES))
    await tenant.space(strategy="Random", coolDown="0s")
    assert {name: one["status"]["address"] for name, one in (await tenant.bound(*NAMES)).items()} == before


async def test_a_shared_sticky_key_is_a_warning(tenant: Tenant) -> None:
    """The second live claim of a key has an address of its own, is Ready, and says who has the key."""
    await tenant.space()
    await tenant.claim("first", stickyKey="web/0")
    await tenant.bound("first")
    await tenant.claim("second", stickyKey="web/0")
    second = (await tenant.bound("second"))["second"]
    assert second["status"]["address"] != await tenant.address("first")
    warning = condition(second, "StickyKeyUnique")
    assert warning is not None
    assert (warning["status"], warning["reason"]) == ("False", "SharedKey")
    assert "IPClaim first lives under the same stickyKey" in warning["message"]

"""Deleting what is in use waits, says for whom, and goes through by itself (B5)."""

from tests.apiserver.support import Tenant
from tests.support.cluster import condition


async def test_network_is_held_by_its_pools(tenant: Tenant) -> None:
    """A network with pools waits for them, and is gone when the last of them is."""
    await tenant.space(ranges=["10.0.0.0/25"])
    await tenant.pool("other", ranges=["10.0.0.128/25"])
    await tenant.reason("IPPool", "other", "Ready")
    await tenant.delete("IPNetwork", "net")
    held = await tenant.reason("IPNetwork", "net", "InUse")
    reconciling = condition(held, "Reconciling")
    assert reconciling is not None
    assert "2 in use: other, pool" in reconciling["message"]
    (event,) = await tenant.events("net", "InUse")
    assert "other, pool" in event["message"]
    await tenant.delete("IPPool", "pool")
    await tenant.gone("IPPool", "pool")
    assert "net" in await tenant.all("IPNetwork")
    await tenant.delete("IPPool", "other")
    await tenant.gone("IPNetwork", "net")


async def test_pool_is_held_by_its_claims(tenant: Tenant) -> None:
    """A pool with held addresses waits for them, serves nobody meanwhile, and is gone when the last claim is."""
    await tenant.space(coolDown="1h")
    await tenant.claims(["one", "two"])
    await tenant.bound("one", "two")
    await tenant.delete("IPPool", "pool")
    held = await tenant.reason("IPPool", "pool", "InUse")
    ready = condition(held, "Ready")
    assert ready is not None
    assert "2 in use: one, two" in ready["message"]
    assert await tenant.events("pool", "InUse")
    await tenant.claim("late")
    late = await tenant.reason("IPClaim", "late", "PoolNotFound")
    assert "is being deleted" in str(late["status"]["conditions"])
    await tenant.delete("IPClaim", "one", "two")
    await tenant.gone("IPPool", "pool")  # cooling addresses hold nothing
    await tenant.pool()
    await tenant.bound("late")


async def test_everything_at_once(tenant: Tenant) -> None:
    """Deleted in the wrong order in one breath, all of it goes."""
    await tenant.space()
    await tenant.claims(f"c{number}" for number in range(20))
    await tenant.bound(*(f"c{number}" for number in range(20)))
    for kind in ("IPNetwork", "IPPool", "IPClaim"):
        await tenant.delete_all(kind)
    for kind in ("IPNetwork", "IPPool", "IPClaim"):
        await tenant.gone(kind)


async def test_the_same_names_at_once_again(tenant: Tenant) -> None:
    """What was deleted and made anew under the same names is served like new."""
    for _ in range(3):
        await tenant.space()
        await tenant.claim()
        assert await tenant.address() == "10.0.0.1"
        for kind in ("IPClaim", "IPPool", "IPNetwork"):
            await tenant.delete_all(kind)
            await tenant.gone(kind)

"""K7: a claim is bound to an object that is being deleted (m3#1354, #680)."""

from tests.apiserver.support import Ledger, Tenant


async def test_k7_nobody_is_bound_to_a_dying_pool(tenant: Tenant, ledger: Ledger) -> None:
    """Claims made while a pool with free addresses is being deleted wait, and get the next pool of that name."""
    await tenant.space(ranges=["10.0.0.1-10.0.0.9"])
    await tenant.claim("holder")
    await tenant.bound("holder")
    await tenant.delete("IPPool", "pool")
    names = [f"c{number}" for number in range(10)]
    await tenant.claims(names)  # at once: some may come before the operator knows
    await tenant.reason("IPPool", "pool", "InUse")
    await tenant.claim("late")
    await tenant.reason("IPClaim", "late", "PoolNotFound")
    assert "late" not in await ledger.held(tenant.namespace)
    early = [name for name in await ledger.held(tenant.namespace) if name != "holder"]
    await tenant.delete("IPClaim", "holder", *early)
    await tenant.gone("IPPool", "pool")
    await tenant.pool()
    await tenant.bound("late", *(name for name in names if name not in early))


async def test_k7_a_claim_deleted_while_it_waits_is_not_served(tenant: Tenant, ledger: Ledger) -> None:
    """What is freed goes past a waiting claim that has been deleted meanwhile."""
    await tenant.space(ranges=["10.0.0.1"])
    await tenant.claim("holder")
    await tenant.bound("holder")
    for name in ("first", "second"):
        await tenant.claim(name)
        await tenant.reason("IPClaim", name, "PoolExhausted", "Queued")
    await tenant.delete("IPClaim", "first", "holder")
    await tenant.bound("second")
    await tenant.gone("IPClaim", "first", "holder")
    assert await ledger.held(tenant.namespace) == {"second": ["10.0.0.1"]}

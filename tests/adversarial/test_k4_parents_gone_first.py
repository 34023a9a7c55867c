"""K4: a deletion that needs a parent which is gone (inC#296, #317, #324, #329)."""

from collections.abc import Sequence
from itertools import permutations

import pytest

from tests.apiserver.support import PATIENCE, Ledger, Tenant, eventually

KINDS = ("IPNetwork", "IPPool", "IPClaim")
OPERATOR = {"IPAM_RESYNC_SECONDS": "3600"}


async def furnish(tenant: Tenant) -> None:
    """A network, a pool, bound claims, and one that waits."""
    await tenant.space(ranges=["10.0.0.1-10.0.0.5"], coolDown="1h")
    await tenant.claims(f"c{number}" for number in range(5))
    await tenant.bound(*(f"c{number}" for number in range(5)))
    await tenant.claim("waits")
    await tenant.reason("IPClaim", "waits", "PoolExhausted")


async def nothing_left(tenant: Tenant, ledger: Ledger) -> None:
    """Neither objects nor rows."""
    for kind in KINDS:
        await tenant.gone(kind)

    async def empty() -> bool:
        counts = [
            await ledger.value(f"select count(*) from ipam.{table} where namespace = $1", tenant.namespace)
            for table in ("network", "pool", "lease", "waiting")
        ]
        return counts == [0, 0, 0, 0]

    await eventually(empty, "the store has forgotten all of it")


@pytest.mark.parametrize("order", list(permutations(KINDS)), ids="-".join)
async def test_every_order(tenant: Tenant, ledger: Ledger, order: Sequence[str]) -> None:
    """In whatever order the kinds are deleted, all objects go, and the store forgets them."""
    await furnish(tenant)
    for kind in order:
        await tenant.delete_all(kind)
    await nothing_left(tenant, ledger)


async def test_the_namespace(tenant: Tenant, ledger: Ledger) -> None:
    """A deleted namespace takes everything along, though its controller deletes in an order of its own."""
    await furnish(tenant)
    await tenant.api.delete("Namespace", "", tenant.namespace)
    await tenant.api.wait_gone("Namespace", "", tenant.namespace, seconds=2 * PATIENCE)
    await nothing_left(tenant, ledger)
    await tenant.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant.namespace}})


async def test_claims_of_pools_that_never_were(tenant: Tenant, ledger: Ledger) -> None:
    """Claims whose pool, and pools whose network, never came are deleted like all others."""
    await tenant.pool(network="never")
    await tenant.claim()
    await tenant.reason("IPClaim", "claim", "NetworkNotFound")
    await tenant.claim("other", pool="never")
    await tenant.reason("IPClaim", "other", "PoolNotFound")
    for kind in KINDS:
        await tenant.delete_all(kind)
    await nothing_left(tenant, ledger)
    assert await ledger.value("select count(*) from ipam.refusal where namespace = $1", tenant.namespace) == 0

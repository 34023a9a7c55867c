"""Whatever comes first, it ends well (B4)."""

from collections.abc import Sequence
from itertools import permutations

import pytest

from tests.apiserver.support import Tenant
from tests.support.cluster import condition

KINDS = ("network", "pool", "claim")
UNSERVED = {
    ("claim",): "PoolNotFound",
    ("network", "claim"): "PoolNotFound",
    ("pool", "claim"): "NetworkNotFound",
}


@pytest.mark.parametrize("order", list(permutations(KINDS)), ids="-".join)
async def test_every_order_ends_allocated(tenant: Tenant, order: Sequence[str]) -> None:
    """Network, pool and claim may be made in any order; what is missing is named meanwhile."""
    create = {"network": tenant.network, "pool": tenant.pool, "claim": tenant.claim}
    made: list[str] = []
    for kind in order:
        await create[kind]()
        made.append(kind)
        present = tuple(one for one in KINDS if one in made)
        if "pool" in made and "network" not in made:
            pool = await tenant.reason("IPPool", "pool", "NetworkNotFound")
            assert condition(pool, "Reconciling") is not None
        if present in UNSERVED:
            claim = await tenant.reason("IPClaim", "claim", UNSERVED[present])
            assert condition(claim, "Reconciling") is not None
            assert ("IPNetwork net" if "pool" in made else "IPPool pool") in str(claim["status"]["conditions"])
    await tenant.bound("claim")
    assert (await tenant.get("IPClaim", "claim"))["status"]["address"] == "10.0.0.1"


async def test_all_at_once(tenant: Tenant) -> None:
    """Applied in one breath, claims first, all of them are bound."""
    names = [f"c{number}" for number in range(30)]
    await tenant.claims(names)
    await tenant.pool()
    await tenant.network()
    await tenant.bound(*names)


async def test_a_mistyped_pool_is_mended_in_place(tenant: Tenant) -> None:
    """A claim that waits for a pool that is not there can be pointed at one that is."""
    await tenant.space()
    await tenant.claim(pool="poool")
    await tenant.reason("IPClaim", "claim", "PoolNotFound")
    await tenant.edit("IPClaim", "claim", poolRef={"name": "pool"})
    await tenant.bound("claim")


async def test_of_two_that_overlap_the_first_is_served(tenant: Tenant) -> None:
    """However fast they follow one another, and whichever name comes first."""
    pairs = [(f"10.{number}.0.0/16", f"a{number:02}", f"b{number:02}") for number in range(10)]
    for cidr, second, first in pairs:
        await tenant.network(cidr, first)
        await tenant.network(cidr, second)
    for _, second, first in pairs:
        await tenant.reason("IPNetwork", first, "Ready")
        await tenant.reason("IPNetwork", second, "NetworkOverlap")

"""Claims for prefixes as users see them."""

import pytest

from tests.apiserver.support import Tenant, addresses
from tests.support.cluster import ApiError, Json, condition


def said(seen: Json) -> str:
    ready = condition(seen, "Ready")
    assert ready is not None
    return str(ready["message"])


async def test_a_claim_shows_its_prefix(tenant: Tenant) -> None:
    """A CIDR in status, its length in the block, no gateway; told once more with the operator's next look."""
    await tenant.space("10.0.0.0/16", ranges=["10.0.4.0/22"], prefixes={"lengths": [24, 26]})
    await tenant.claim("rack")
    await tenant.claim("hall", prefixLength=24, count=2)
    rack = (await tenant.bound("rack"))["rack"]
    assert rack["status"]["address"] == "10.0.4.0/26"
    (block,) = rack["status"]["blocks"]
    assert {name: value for name, value in block.items() if value} == {"family": 4, "pool": "pool", "prefixLength": 26}
    hall = (await tenant.bound("hall"))["hall"]
    assert addresses(hall) == ["10.0.5.0/24", "10.0.6.0/24"]
    assert said(hall) == "2 prefixes from pool pool"
    await tenant.delete("IPClaim", "rack")
    await tenant.gone("IPClaim", "rack")
    await tenant.claim("rack")
    assert await tenant.address("rack") == "10.0.4.0/26", "it comes again"


async def test_of_ipv6_by_selector(tenant: Tenant) -> None:
    """A /56 of whatever IPv6 pool has such prefixes; without the family it means IPv4 and says so."""
    await tenant.space("2001:db8::/32", ranges=["2001:db8::/40"], prefixes={"lengths": [56]})
    await tenant.ask("site", poolSelector={}, families=["IPv6"], prefixLength=56)
    site = (await tenant.bound("site"))["site"]
    assert site["status"]["address"] == site["status"]["addressIPv6"] == "2001:db8::/56"
    await tenant.ask("lost", poolSelector={}, prefixLength=56)
    lost = await tenant.reason("IPClaim", "lost", "InvalidSpec")
    assert said(lost) == "spec.prefixLength: 56 must be at most 32 in IPv4; say spec.families [IPv6] for IPv6"
    await tenant.edit("IPClaim", "lost", families=["IPv6"])
    assert await tenant.address("lost") == "2001:db8:0:100::/56"


async def test_what_does_not_go_together(tenant: Tenant) -> None:
    """Each refusal shows the form that works, and what is mended is served."""
    await tenant.space("10.0.0.0/16", ranges=["10.0.4.0/22"], prefixes={"lengths": [24]})
    await tenant.claim("crooked", prefixLength=24, address="10.0.5.1")
    crooked = await tenant.reason("IPClaim", "crooked", "InvalidSpec")
    assert said(crooked) == "spec.address: 10.0.5.1 must be the first address of a /24: 10.0.5.0"
    await tenant.edit("IPClaim", "crooked", address="10.0.5.0")
    assert await tenant.address("crooked") == "10.0.5.0/24"
    await tenant.claim("small", prefixLength=28)
    assert "must be one of 24" in said(await tenant.reason("IPClaim", "small", "InvalidSpec"))
    await tenant.edit("IPPool", "pool", prefixes={"lengths": [24, 28]})
    assert await tenant.address("small") == "10.0.4.0/28"
    with pytest.raises(ApiError, match="must stay set, or unset"):
        await tenant.edit("IPPool", "pool", prefixes=None)
    with pytest.raises(ApiError, match="must stay as they are"):
        await tenant.edit("IPClaim", "small", prefixLength=24)


async def test_full_and_served(tenant: Tenant) -> None:
    """Who finds no prefix whole waits, with the numbers, and is served when halves have become one."""
    await tenant.space("10.0.0.0/16", ranges=["10.0.4.0/24"], prefixes={"lengths": [24, 25]}, coolDown="0s")
    await tenant.claims(["a", "b"], prefixLength=25)
    await tenant.bound("a", "b")
    await tenant.claim("whole", prefixLength=24)
    whole = await tenant.reason("IPClaim", "whole", "PoolExhausted")
    assert said(whole).startswith("1 /24 prefix asked; pool pool has 1, 0 free (nothing is free)")
    await tenant.capacity(allocated="2", free="0")
    await tenant.delete("IPClaim", "a", "b")
    assert await tenant.address("whole") == "10.0.4.0/24"

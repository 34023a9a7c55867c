"""MAC addresses, as users see them."""

import pytest

from tests.apiserver.support import Ledger, Tenant, agreement
from tests.support.cluster import ApiError

MAC = "02:00:5e:10:00:01"


async def test_one_claim_for_each_mac_address(tenant: Tenant, ledger: Ledger) -> None:
    """Any spelling is the same address; the second is told by a condition and an Event, and served after the first."""
    await tenant.space(coolDown="1h")
    await tenant.claim("first", macAddress="0200.5E10.0001")
    assert (await tenant.bound("first"))["first"]["status"]["macAddress"] == MAC
    await tenant.claim("second", macAddress="02-00-5e-10-00-01")
    refused = await tenant.reason("IPClaim", "second", "MacConflict")
    assert f"{MAC} belongs to IPClaim first" in refused["status"]["conditions"][0]["message"]
    await tenant.events("second", "MacConflict")
    found = await tenant.api.list("IPClaim", tenant.namespace, fieldSelector=f"status.macAddress={MAC}")
    assert [one["metadata"]["name"] for one in found] == ["first"]
    await tenant.delete("IPClaim", "first")
    assert (await tenant.bound("second"))["second"]["status"]["macAddress"] == MAC
    await agreement(tenant, ledger)


async def test_a_live_claims_mac_address_may_change(tenant: Tenant) -> None:
    """The address stays; one that another has is refused, keeps what the claim has, and comes when the other goes."""
    await tenant.space()
    await tenant.claim("holder", macAddress=MAC)
    await tenant.claim("one")
    address = await tenant.address("one")
    await tenant.bound("holder")
    await tenant.edit("IPClaim", "one", macAddress=MAC)
    refused = (await tenant.reason("IPClaim", "one", "MacConflict"))["status"]
    assert (refused["address"], refused.get("macAddress")) == (address, None)
    await tenant.delete("IPClaim", "holder")
    healed = (await tenant.reason("IPClaim", "one", "Allocated"))["status"]
    assert (healed["address"], healed["macAddress"]) == (address, MAC)
    await tenant.edit("IPClaim", "one", macAddress=None)
    assert "macAddress" not in (await tenant.reason("IPClaim", "one", "Allocated"))["status"]


async def test_a_group_is_refused_at_apply(tenant: Tenant) -> None:
    """In words that say what would be right."""
    with pytest.raises(ApiError, match="must be the MAC address of one interface: not a group's"):
        await tenant.claim(macAddress="01:00:5e:10:00:01")

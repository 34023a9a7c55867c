"""Growing is allowed; a refused edit changes nothing, and what was accepted keeps serving (B7)."""

from typing import Any

import pytest

from tests.apiserver.support import Ledger, Tenant, addresses, watch_until
from tests.support.cluster import Json, condition


def refused_but_serving(seen: Json, reason: str) -> str:
    """The message; Ready stays True."""
    ready, stalled = condition(seen, "Ready"), condition(seen, "Stalled")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("True", reason)
    assert stalled is not None
    return str(stalled["message"])


async def test_shrinking_below_what_is_held_is_refused(tenant: Tenant, ledger: Ledger) -> None:
    """The refusal lists holders, at most so many; the old ranges serve, also new claims; released, the edit goes."""
    await tenant.space(ranges=["10.0.0.10-10.0.0.60"])
    names = [f"c{number:02}" for number in range(30)]
    await tenant.claims(names)
    await tenant.bound(*names)
    held = await ledger.held(tenant.namespace)
    await tenant.edit("IPPool", "pool", ranges=["10.0.0.10-10.0.0.14"])
    pool = await tenant.reason("IPPool", "pool", "ShrinkRefused")
    message = refused_but_serving(pool, "ShrinkRefused")
    assert "25 held addresses would be outside" in message
    assert "IPClaim c" in message
    assert " more" in message
    assert len(message) < 1024
    assert await tenant.events("pool", "ShrinkRefused")
    await tenant.claim("new")
    assert await tenant.address("new") == "10.0.0.40"
    assert pool["status"]["observedGeneration"] == pool["metadata"]["generation"] == 2
    await tenant.capacity(usable="51")
    assert (await tenant.get("IPPool", "pool"))["status"]["effectiveRanges"] == ["10.0.0.10-10.0.0.60"]
    outside = [name for name, (address,) in held.items() if int(address.rpartition(".")[2]) > 14]
    await tenant.delete("IPClaim", "new", *outside)
    await tenant.gone("IPClaim", "new", *outside)
    await tenant.edit("IPPool", "pool", ranges=["10.0.0.10-10.0.0.15"])
    await tenant.reason("IPPool", "pool", "Ready")
    await tenant.capacity(usable="6", allocated="5")


NETWORK_EDITS: list[tuple[dict[str, Any], str, str]] = [
    ({"gateway": "10.0.0.1"}, "GatewayConflict", "the gateway 10.0.0.1 is held: 10.0.0.1 (IPClaim claim)"),
    ({"reserved": ["10.0.0.0/30"]}, "ShrinkRefused", "10.0.0.1 (IPClaim claim)"),
]


@pytest.mark.parametrize(("spec", "reason", "words"), NETWORK_EDITS)
async def test_network_edits_over_held_addresses(tenant: Tenant, spec: dict[str, Any], reason: str, words: str) -> None:
    """A gateway or reservation over a held address is refused; the pool serves on; released, an edit goes."""
    await tenant.space()
    await tenant.claim()
    assert await tenant.address() == "10.0.0.1"
    await tenant.edit("IPNetwork", "net", **spec)
    network = await tenant.reason("IPNetwork", "net", reason)
    assert words in refused_but_serving(network, reason)
    await tenant.claim("other")
    assert await tenant.address("other") == "10.0.0.2"
    await tenant.delete("IPClaim", "claim", "other")
    await tenant.gone("IPClaim")
    await tenant.edit("IPNetwork", "net", description="once more")
    await tenant.reason("IPNetwork", "net", "Ready")
    await tenant.claim()
    assert await tenant.address() in {"10.0.0.2", "10.0.0.4"}


async def test_excluding_a_held_address(tenant: Tenant) -> None:
    """An exclusion over a held address is refused; over a cooling one it is not."""
    await tenant.space(coolDown="1h")
    await tenant.claim()
    await tenant.bound("claim")
    await tenant.edit("IPPool", "pool", exclude=["10.0.0.1"])
    refused_but_serving(await tenant.reason("IPPool", "pool", "ShrinkRefused"), "ShrinkRefused")
    await tenant.delete("IPClaim", "claim")
    await tenant.gone("IPClaim")
    await tenant.edit("IPPool", "pool", exclude=["10.0.0.1", "10.0.0.2"])
    await tenant.reason("IPPool", "pool", "Ready")
    await tenant.claim()
    assert await tenant.address() == "10.0.0.3"


async def test_growing_keeps_what_is_held(tenant: Tenant, ledger: Ledger) -> None:
    """After growth everybody has what they had, and the new space is handed out."""
    await tenant.space(ranges=["10.0.0.10"])
    await tenant.claim("first")
    assert await tenant.address("first") == "10.0.0.10"
    await tenant.edit("IPPool", "pool", ranges=["10.0.0.9-10.0.0.11"])
    await tenant.claims(["second", "third"])
    await tenant.bound("second", "third")
    assert (await ledger.held(tenant.namespace))["first"] == ["10.0.0.10"]
    assert await tenant.address("first") == "10.0.0.10"


async def test_invalid_edit_keeps_serving(tenant: Tenant) -> None:
    """An edit that makes no sense is refused, and the pool serves as before."""
    await tenant.space(ranges=["10.0.0.10-10.0.0.20"])
    await tenant.edit("IPPool", "pool", ranges=["10.0.0.20-10.0.0.10"])
    refused_but_serving(await tenant.reason("IPPool", "pool", "InvalidSpec"), "InvalidSpec")
    await tenant.claim()
    assert await tenant.address() == "10.0.0.10"
    assert (await tenant.get("IPPool", "pool"))["status"].get("state") != "Invalid"


async def test_a_spec_that_was_changed_under_its_lease(tenant: Tenant, ledger: Ledger) -> None:
    """Where nobody refuses that, the claim gets what it asks for now, and never holds two."""
    await tenant.space()
    await tenant.claim("claim")
    assert await tenant.address() == "10.0.0.1"
    # The rule looks at the address that the status shows.
    await tenant.api.patch("IPClaim", tenant.namespace, "claim", {"status": {"address": None}}, subresource="status")
    await tenant.edit("IPClaim", "claim", count=3)
    await watch_until(tenant.api, "IPClaim", tenant.namespace, lambda seen: len(addresses(seen["claim"])) == 3)
    assert await ledger.held(tenant.namespace) == {"claim": ["10.0.0.1", "10.0.0.2", "10.0.0.3"]}
    await tenant.api.patch("IPClaim", tenant.namespace, "claim", {"status": {"address": None}}, subresource="status")
    await tenant.edit("IPClaim", "claim", count=2)
    await watch_until(tenant.api, "IPClaim", tenant.namespace, lambda seen: len(addresses(seen["claim"])) == 2)
    seen = (await tenant.bound("claim"))["claim"]
    assert addresses(seen) == ["10.0.0.1", "10.0.0.2"]
    assert await ledger.held(tenant.namespace) == {"claim": addresses(seen)}


async def test_what_has_ended_is_not_shown(tenant: Tenant, ledger: Ledger) -> None:
    """A claim that was turned to a full pool shows no address of the old one, and gets none of it again."""
    await tenant.space()
    await tenant.network("10.0.1.0/24", "other")
    await tenant.pool("full", "other", ranges=["10.0.1.5"])
    await tenant.reason("IPPool", "full", "Ready")
    await tenant.claim("holder", "full")
    await tenant.claim("claim")
    await tenant.bound("holder", "claim")
    await tenant.api.patch("IPClaim", tenant.namespace, "claim", {"status": {"address": None}}, subresource="status")
    await tenant.edit("IPClaim", "claim", poolRef={"name": "full"})
    turned = await tenant.reason("IPClaim", "claim", "PoolExhausted")
    assert addresses(turned) == []
    await tenant.edit("IPClaim", "claim", description="looked at once more")
    await tenant.delete("IPClaim", "holder")
    assert set(await ledger.held(tenant.namespace)) <= {"claim", "holder"}
    assert ["10.0.0.1"] not in (await ledger.held(tenant.namespace)).values()

"""Where addresses come from: pools of other namespaces, by consent; pools by what they are; quotas."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.apiserver.support import Ledger, Tenant, eventually
from tests.support.cluster import Api, ApiError, Json, condition


@pytest_asyncio.fixture
async def guest(api: Api) -> AsyncIterator[Tenant]:
    """Another namespace."""
    other = await Tenant.create(api)
    yield other
    await other.close()


def ref(owner: Tenant, name: str = "pool") -> dict[str, Any]:
    """The spec of a claim for a pool of `owner`."""
    return {"poolRef": {"name": name, "namespace": owner.namespace}}


async def consent(tenant: Tenant, status: str) -> Json:
    """Watch until the pool's condition NamespacesAllowed is so."""

    def told(seen: Json | None) -> bool:
        found = None if seen is None else condition(seen, "NamespacesAllowed")
        return found is not None and found["status"] == status

    pool = await tenant.api.wait_for("IPPool", tenant.namespace, "pool", told)
    assert pool is not None
    return condition(pool, "NamespacesAllowed") or {}


async def test_consent_serves_who_waits_and_its_end_serves_nobody_new(tenant: Tenant, guest: Tenant) -> None:
    """A stranger's claim is served once the pool allows its namespace; what it holds stays when that is withdrawn."""
    await tenant.space()
    await guest.ask("early", **ref(tenant))
    early = await guest.reason("IPClaim", "early", "TenantIsolation")
    assert f"claims of namespace {guest.namespace}" in early["status"]["conditions"][0]["message"]
    await tenant.edit("IPPool", "pool", allowedNamespaces={"from": "All"})
    status = (await guest.bound("early"))["early"]["status"]
    assert status["pool"] == f"{tenant.namespace}/pool"
    assert [block["pool"] for block in status["blocks"]] == [status["pool"]]
    await tenant.edit("IPPool", "pool", allowedNamespaces=None)
    told = await consent(tenant, "False")
    assert told["reason"] == "TenantIsolation"
    assert f"{guest.namespace} (1)" in told["message"]
    await guest.ask("late", **ref(tenant))
    await guest.reason("IPClaim", "late", "TenantIsolation")
    assert (await guest.bound("early"))["early"]["status"]["address"] == status["address"]
    await guest.delete("IPClaim", "early", "late")
    await guest.gone("IPClaim", "early", "late")
    await consent(tenant, "True")


async def test_consent_goes_by_labels_of_namespaces(tenant: Tenant, guest: Tenant, ledger: Ledger) -> None:
    """A namespace that gets the label is served at once, without an edit of claim or pool; one that loses it is not."""
    selector = {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}]}
    await tenant.space(allowedNamespaces={"from": "Selector", "selector": selector})
    await guest.ask("first", **ref(tenant))
    await guest.reason("IPClaim", "first", "TenantIsolation")
    await guest.label("Namespace", guest.namespace, tier="front")
    await guest.bound("first")
    await guest.label("Namespace", guest.namespace, tier="back")

    async def withdrawn() -> bool:
        tier = await ledger.value("select labels ->> 'tier' from ipam.tenant where namespace = $1", guest.namespace)
        return bool(tier == "back")

    await eventually(withdrawn, "the store knows of the label")
    await guest.ask("second", **ref(tenant))
    await guest.reason("IPClaim", "second", "TenantIsolation")
    await guest.label("Namespace", guest.namespace, tier="front")
    await guest.bound("second")


async def test_a_quota_is_told_and_frees(tenant: Tenant) -> None:
    """Beyond the quota a claim waits, says the numbers once as an Event, and is served when one of its own goes."""
    await tenant.space(quotaPerNamespace=2)
    await tenant.claims(["a", "b"])
    await tenant.bound("a", "b")
    await tenant.claim("c")
    waiting = await tenant.reason("IPClaim", "c", "QuotaExceeded")
    assert "at most 2" in waiting["status"]["conditions"][0]["message"]
    await tenant.events("c", "QuotaExceeded")
    await tenant.delete("IPClaim", "a")
    await tenant.bound("c")


async def test_a_selector_takes_the_best_pool_and_spills(tenant: Tenant, ledger: Ledger) -> None:
    """By labels and type: the highest priority first, the next when that is full; a label makes a pool one of them."""
    await tenant.network()
    web = {"poolSelector": {"matchLabels": {"tier": "front"}, "type": "Static"}}
    await tenant.ask("first", **web)
    waiting = await tenant.reason("IPClaim", "first", "PoolNotFound")
    assert "Static pools with labels tier=front" in waiting["status"]["conditions"][0]["message"]
    await tenant.pool("best", ranges=["10.0.0.10"], type="Static", priority=10)
    await tenant.pool("next", ranges=["10.0.0.20-10.0.0.21"], type="Static")
    await tenant.pool("other", ranges=["10.0.0.30"], priority=99)
    for name in ("best", "next", "other"):
        await tenant.reason("IPPool", name, "Ready")
        await tenant.label("IPPool", name, tier="front")
    assert await tenant.address("first") in {"10.0.0.10", "10.0.0.20"}, "whichever had its label first"
    await tenant.ask("second", **web)
    await tenant.ask("third", **web)
    await tenant.bound("second", "third")
    await tenant.ask("fourth", **web)
    full = await tenant.reason("IPClaim", "fourth", "PoolExhausted")
    assert "best (0 of 1 free), next (0 of 2 free)" in full["status"]["conditions"][0]["message"]
    await tenant.delete("IPClaim", "second")
    freed = await tenant.address("fourth")
    held = {addresses[0] for addresses in (await ledger.held(tenant.namespace)).values()}
    assert held == {"10.0.0.10", "10.0.0.20", "10.0.0.21"}
    assert freed in held


async def test_a_tie_is_told_and_resolved_by_an_edit(tenant: Tenant) -> None:
    """Equals are never chosen among; another priority serves who waits."""
    await tenant.network()
    await tenant.pool("a", ranges=["10.0.0.10"])
    await tenant.pool("b", ranges=["10.0.0.20"])
    for name in ("a", "b"):
        await tenant.reason("IPPool", name, "Ready")
    await tenant.ask("claim", networkRef={"name": "net"})
    tied = await tenant.reason("IPClaim", "claim", "PoolAmbiguous")
    assert condition(tied, "Stalled") is not None
    assert "a, b are all pools of network net" in tied["status"]["conditions"][0]["message"]
    await tenant.events("claim", "PoolAmbiguous")
    await tenant.edit("IPPool", "b", priority=1)
    assert await tenant.address() == "10.0.0.20"


async def test_the_way_is_immutable_once_bound(tenant: Tenant) -> None:
    """A waiting claim may turn elsewhere; one that holds may not, and not by leaving a field out either."""
    await tenant.space()
    await tenant.ask("claim", poolSelector={"matchLabels": {"tier": "none"}})
    await tenant.reason("IPClaim", "claim", "PoolNotFound")
    await tenant.edit("IPClaim", "claim", poolSelector={"matchLabels": {"tier": None}, "type": "Dynamic"})
    await tenant.bound("claim")
    for edit in (
        {"poolSelector": {"type": "Static"}},
        {"poolSelector": None, "poolRef": {"name": "pool"}},
        {"poolSelector": None, "networkRef": {"name": "net"}},
        {"poolSelector": {"namespace": "elsewhere"}},
    ):
        with pytest.raises(ApiError, match="must stay as they are once the claim has its addresses"):
            await tenant.edit("IPClaim", "claim", **edit)

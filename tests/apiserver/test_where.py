"""Where addresses come from: pools of other namespaces, by consent; pools by what they are; quotas."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.apiserver.support import Launch, Ledger, Tenant, eventually
from tests.support.cluster import Api, ApiError, Json, condition, thing


@pytest_asyncio.fixture
async def guest(api: Api) -> AsyncIterator[Tenant]:
    """Another namespace."""
    other = await Tenant.create(api)
    yield other
    await other.close()


def ref(owner: Tenant, name: str = "pool") -> dict[str, Any]:
    """The spec of a claim for a pool of `owner`."""
    return {"poolRef": {"name": name, "namespace": owner.namespace}}


async def ask(tenant: Tenant, name: str, **spec: Any) -> None:
    """Create an IPClaim of exactly this spec."""
    await tenant.api.create(thing("IPClaim", tenant.namespace, name, spec))


async def label(tenant: Tenant, kind: str, name: str, **labels: str | None) -> None:
    """Change labels."""
    namespace = "" if kind == "Namespace" else tenant.namespace
    await tenant.api.patch(kind, namespace, name, {"metadata": {"labels": labels}})


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
    await ask(guest, "early", **ref(tenant))
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
    await ask(guest, "late", **ref(tenant))
    await guest.reason("IPClaim", "late", "TenantIsolation")
    assert (await guest.bound("early"))["early"]["status"]["address"] == status["address"]
    await guest.delete("IPClaim", "early", "late")
    await guest.gone("IPClaim", "early", "late")
    await consent(tenant, "True")


async def test_consent_goes_by_labels_of_namespaces(tenant: Tenant, guest: Tenant, ledger: Ledger) -> None:
    """A namespace that gets the label is served at once, without an edit of claim or pool; one that loses it is not."""
    selector = {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["front"]}]}
    await tenant.space(allowedNamespaces={"from": "Selector", "selector": selector})
    await ask(guest, "first", **ref(tenant))
    await guest.reason("IPClaim", "first", "TenantIsolation")
    await label(guest, "Namespace", guest.namespace, tier="front")
    await guest.bound("first")
    await label(guest, "Namespace", guest.namespace, tier="back")

    async def withdrawn() -> bool:
        tier = await ledger.value("select labels ->> 'tier' from ipam.tenant where namespace = $1", guest.namespace)
        return bool(tier == "back")

    await eventually(withdrawn, "the store knows of the label")
    await ask(guest, "second", **ref(tenant))
    await guest.reason("IPClaim", "second", "TenantIsolation")
    await label(guest, "Namespace", guest.namespace, tier="front")
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
    await ask(tenant, "first", **web)
    waiting = await tenant.reason("IPClaim", "first", "PoolNotFound")
    assert "Static pools with labels tier=front" in waiting["status"]["conditions"][0]["message"]
    await tenant.pool("best", ranges=["10.0.0.10"], type="Static", priority=10)
    await tenant.pool("next", ranges=["10.0.0.20-10.0.0.21"], type="Static")
    await tenant.pool("other", ranges=["10.0.0.30"], priority=99)
    for name in ("best", "next", "other"):
        await tenant.reason("IPPool", name, "Ready")
        await label(tenant, "IPPool", name, tier="front")
    assert await tenant.address("first") in {"10.0.0.10", "10.0.0.20"}, "whichever had its label first"
    await ask(tenant, "second", **web)
    await ask(tenant, "third", **web)
    await tenant.bound("second", "third")
    await ask(tenant, "fourth", **web)
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
    await ask(tenant, "claim", networkRef={"name": "net"})
    tied = await tenant.reason("IPClaim", "claim", "PoolAmbiguous")
    assert condition(tied, "Stalled") is not None
    assert "a, b are all pools of network net" in tied["status"]["conditions"][0]["message"]
    await tenant.events("claim", "PoolAmbiguous")
    await tenant.edit("IPPool", "b", priority=1)
    assert await tenant.address() == "10.0.0.20"


async def test_the_way_is_immutable_once_bound(tenant: Tenant) -> None:
    """A waiting claim may turn elsewhere; one that holds may not, and not by leaving a field out either."""
    await tenant.space()
    await ask(tenant, "claim", poolSelector={"matchLabels": {"tier": "none"}})
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


async def test_a_restart_finds_labels(place: Tenant, launch: Launch) -> None:
    """What changed while nobody ran, a pool's label and a namespace's, is found by the next operator."""
    operator = launch()
    guest = await Tenant.create(place.api)
    await place.space(allowedNamespaces={"from": "Selector", "selector": {"matchLabels": {"tier": "front"}}})
    await ask(place, "by-label", poolSelector={"matchLabels": {"tier": "front"}})
    await ask(guest, "by-consent", **ref(place))
    await place.reason("IPClaim", "by-label", "PoolNotFound")
    await guest.reason("IPClaim", "by-consent", "TenantIsolation")
    assert operator.terminate() == 0
    await label(place, "IPPool", "pool", tier="front")
    await label(guest, "Namespace", guest.namespace, tier="front")
    launch()
    await place.bound("by-label")
    await guest.bound("by-consent")
    await guest.close()


async def test_what_is_shown_is_adopted_by_its_pool(place: Tenant, books: Ledger, launch: Launch) -> None:
    """A store that lost them takes claims by selector back into the pools that they show."""
    launch({"IPAM_RESYNC_SECONDS": "0.5"})
    await place.network()
    await place.pool("best", ranges=["10.0.0.10-10.0.0.19"], priority=1)
    await place.pool("next", ranges=["10.0.0.20-10.0.0.29"])
    await place.reason("IPPool", "best", "Ready")
    await place.reason("IPPool", "next", "Ready")
    await place.edit("IPPool", "best", paused=True)
    await place.reason("IPPool", "best", "Ready")
    await ask(place, "claim", networkRef={"name": "net"})
    assert await place.address() == "10.0.0.20"
    await place.edit("IPPool", "best", paused=False)
    await books.execute(
        "select from ipam.pool for update; delete from ipam.lease; select ipam.rebuild_free_ranges(id) from ipam.pool"
    )

    async def restored() -> bool:
        return bool(await books.held(place.namespace))

    await eventually(restored, "the claim is in the store again")
    assert await books.held(place.namespace) == {"claim": ["10.0.0.20"]}
    assert await place.address() == "10.0.0.20"

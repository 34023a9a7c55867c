"""Rate limits as users see them. A token comes every second here, so that nobody waits for an hour."""

from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from typing import Any

import yaml

from hack.places import ROOT
from ipam_operator.domain import rates
from tests.apiserver.support import Ledger, Objects, Tenant, bound, eventually, watch_until
from tests.support.cluster import MERGE_PATCH, ApiError, condition
from tests.support.operator_process import OperatorProcess

OPERATOR = {
    "IPAM_rates.ANNOTATION": "true",
    "IPAM_RATE_LIMIT_DEFAULTS": "allocate=3600/2,bulk=60/1,network=3600/2,release=60/1",
    "IPAM_RESYNC_SECONDS": "3600",
}


async def limit(tenant: Tenant, text: str | None) -> None:
    """What the administrator says of the namespace."""
    patch = {"metadata": {"annotations": {rates.ANNOTATION: text}}}
    await tenant.api.patch("Namespace", "", tenant.namespace, patch)


async def told(tenant: Tenant, ledger: Ledger, text: str | None) -> None:
    """The same, until the store knows."""
    await limit(tenant, text)
    statement = "select exists (select from ipam.rate_override where namespace = $1)"

    async def known() -> bool:
        return bool(await ledger.value(statement, tenant.namespace)) is (text is not None)

    await eventually(known, "the store knows the namespace's limits")


async def line(ledger: Ledger, tenant: Tenant) -> int:
    return int(await ledger.value("select count(*) from ipam.rate_line where namespace = $1", tenant.namespace))


def ready(seen: Any) -> tuple[str, str, str]:
    """Status, reason and message of Ready."""
    found = condition(seen, "Ready")
    assert found is not None
    return found["status"], found["reason"], found["message"]


async def test_over_the_limit_and_served_by_itself(tenant: Tenant, ledger: Ledger, service: OperatorProcess) -> None:
    """The claim is not Ready, reconciles, names the time, makes one Event and is counted; then it is served."""
    await told(tenant, ledger, "allocate=600/2")
    await tenant.space()
    await tenant.claims(["a", "b"])
    await tenant.bound("a", "b")
    await tenant.claim("c")
    seen = await tenant.reason("IPClaim", "c", "RateLimited")
    status, reason, message = ready(seen)
    assert (status, reason) == ("False", "RateLimited")
    reconciling = condition(seen, "Reconciling")
    assert reconciling is not None
    assert reconciling["status"] == "True"
    assert "may create 600 claims an hour, 2 at once" in message
    when = datetime.fromisoformat(message.rpartition(" ")[2])
    assert abs((when - datetime.now(UTC)).total_seconds()) < 10
    await tenant.bound("c")
    assert len(await tenant.events("c", "RateLimited")) == 1
    labels = {"namespace": tenant.namespace, "operation": "allocate"}
    assert service.metrics().total("ipam_rate_limited_total", **labels) == 1
    assert await line(ledger, tenant) == 0


async def test_in_order_of_arrival(tenant: Tenant, ledger: Ledger) -> None:
    """Those that wait are served one after the other, as they came, over two pools."""
    await told(tenant, ledger, "allocate=3600/1")
    await tenant.space()
    await tenant.pool("other", ranges=None, network="net", paused=True)
    names = [f"c{k}" for k in range(6)]
    for name in names:
        await tenant.claim(name)
        await tenant.reason("IPClaim", name, "RateLimited", "Allocated")
    await tenant.bound(*names)
    statement = "select name from ipam.lease where namespace = $1 order by allocated_at"
    rows = [await ledger.value(f"{statement} offset {k} limit 1", tenant.namespace) for k in range(6)]
    assert rows == names


async def test_the_deleted_leave(tenant: Tenant, ledger: Ledger) -> None:
    """A claim that waits goes at once, and so do the ends of many; those behind it move up."""
    await tenant.space()
    await told(tenant, ledger, "allocate=1/1")
    await tenant.claim("first")
    await tenant.bound("first")
    await tenant.claims(["second", "third"])
    await tenant.reason("IPClaim", "second", "RateLimited")
    await tenant.reason("IPClaim", "third", "RateLimited")
    await tenant.delete("IPClaim", "first", "second")
    await tenant.gone("IPClaim", "first", "second")
    assert await line(ledger, tenant) == 1


async def test_an_administrator_raises_the_limit(tenant: Tenant, ledger: Ledger) -> None:
    """Who waits is served at once; what cannot be read is told to those who wait."""
    await tenant.space()
    await told(tenant, ledger, "allocate=1/1")
    await tenant.claims(["a", "b", "c"])

    def settled(seen: Objects) -> bool:
        return sum(bound(one) for one in seen.values()) == 1 and all("status" in one for one in seen.values())

    await watch_until(tenant.api, "IPClaim", tenant.namespace, settled)
    await limit(tenant, "allocate=unlimited")
    await tenant.bound("a", "b", "c")
    await told(tenant, ledger, "bulk=lots")
    await tenant.claims(["m", "n"], count=2)

    def one_waits(seen: Objects) -> bool:
        return any(one.get("status", {}).get("reason") == "RateLimited" for one in seen.values())

    seen = await watch_until(tenant.api, "IPClaim", tenant.namespace, one_waits)
    (waits,) = [one for one in seen.values() if one.get("status", {}).get("reason") == "RateLimited"]
    assert "'bulk=lots' must be operation=per hour/burst" in ready(waits)[2]


async def test_an_edit_that_asks_for_nothing_blocks_nobody(tenant: Tenant, ledger: Ledger) -> None:
    """A claim that names a reservation instead leaves the line when its turn comes."""
    await told(tenant, ledger, "allocate=600/1")
    await tenant.space()
    await tenant.claim("held")
    await tenant.bound("held")
    await tenant.claim("changes")
    await tenant.reason("IPClaim", "changes", "RateLimited")
    await tenant.claim("behind")
    await tenant.edit("IPClaim", "changes", reservationRef={"name": "nobody"})
    await tenant.reason("IPClaim", "changes", "ReservationNotFound")
    await tenant.bound("behind")


async def test_networks_wait_alike(tenant: Tenant, ledger: Ledger) -> None:
    """The third network of a burst waits, with an Event, and its pool with it; then both come into service."""
    await told(tenant, ledger, "network=600/2")
    for k in range(3):
        await tenant.network(f"10.{k}.0.0/16", f"net-{k}")
        seen = await tenant.reason("IPNetwork", f"net-{k}", *(["Ready"] if k < 2 else ["RateLimited"]))
    assert "may create 600 networks an hour" in ready(seen)[2]
    await tenant.pool("late", "net-2")
    await tenant.reason("IPNetwork", "net-2", "Ready")
    await tenant.reason("IPPool", "late", "Ready")
    assert len(await tenant.events("net-2", "RateLimited")) == 1


async def test_the_policy_of_the_guide(tenant: Tenant) -> None:
    """With it, who may patch Namespaces may not set their limits; an administrator may."""
    text = (ROOT / "docs/guides/rate-limits.md").read_text()
    bodies = [body for part in text.split("```yaml\n")[1:] for body in yaml.safe_load_all(part.split("```")[0])]
    assert rates.parse(bodies[0]["metadata"]["annotations"][rates.ANNOTATION])
    rules = [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "patch"]}]
    role, user = {"metadata": {"name": "patches-namespaces"}, "rules": rules}, {"kind": "User", "name": "mallory"}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "patches-namespaces"}
    binding = {"metadata": {"name": "patches-namespaces"}, "roleRef": ref, "subjects": [user]}
    policies, roles = "apis/admissionregistration.k8s.io/v1", "apis/rbac.authorization.k8s.io/v1"
    made = [
        (f"{roles}/clusterroles", role),
        (f"{roles}/clusterrolebindings", binding),
        (f"{policies}/validatingadmissionpolicies", bodies[1]),
        (f"{policies}/validatingadmissionpolicybindings", bodies[2]),
    ]
    path, tries = f"api/v1/namespaces/{tenant.namespace}", count(1)

    async def patch(user: str = "", **annotations: str) -> None:
        body = {"metadata": {"annotations": annotations}}
        await tenant.api.request("PATCH", path, body=body, content=MERGE_PATCH, as_user=user)

    async def refused() -> bool:
        try:
            await patch("mallory", **{rates.ANNOTATION: f"allocate={next(tries)}/1"})  # another one each time
        except ApiError as error:
            return "rate limits are set by cluster administrators" in str(error)
        return False

    try:
        for where, body in made:
            await tenant.api.request("POST", where, body=body)
        await eventually(refused, "nobody else may")
        await limit(tenant, "allocate=7/7")
        await patch("mallory", note="of no concern")
    finally:
        for where, body in made:
            with suppress(ApiError):
                await tenant.api.request("DELETE", f"{where}/{body['metadata']['name']}")

"""Rate limits as users see them. A token comes every second here, so that nobody waits for an hour."""

from datetime import UTC, datetime
from typing import Any

from ipam_operator.domain import rates
from tests.apiserver.support import Ledger, Objects, Tenant, bound, eventually, watch_until
from tests.support.cluster import condition
from tests.support.operator_process import OperatorProcess

OPERATOR = {
    "IPAM_RATE_LIMITS": "true",
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


async def test_a_new_namespace_is_limited_at_once(tenant: Tenant) -> None:
    """Its own limits hold from its first claim on, however soon after the namespace that comes."""
    names = [f"{tenant.namespace}-{k}" for k in range(8)]
    metadata = {"annotations": {rates.ANNOTATION: "allocate=1/1"}}
    for name in names:
        await tenant.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {**metadata, "name": name}})
        own = Tenant(tenant.api, name)
        await own.claims(["a", "b", "c"])
    for name in names:
        own = Tenant(tenant.api, name)

        def answered(seen: Objects) -> bool:
            return len(seen) == 3 and all("reason" in one.get("status", {}) for one in seen.values())

        seen = await watch_until(tenant.api, "IPClaim", name, answered)
        reasons = sorted(one["status"]["reason"] for one in seen.values())
        assert reasons == ["PoolNotFound", "RateLimited", "RateLimited"]
        await own.close()


async def test_in_order_of_arrival(tenant: Tenant, ledger: Ledger) -> None:
    """Those that wait are served one after the other, as they came."""
    await told(tenant, ledger, "allocate=3600/1")
    await tenant.space()
    names = [f"c{k}" for k in range(6)]
    for name in names:
        await tenant.claim(name)
        await tenant.reason("IPClaim", name, "RateLimited", "Allocated")
    await tenant.bound(*names)
    statement = "select array_agg(name order by generation) from ipam.lease where namespace = $1"
    assert await ledger.value(statement, tenant.namespace) == names


async def test_the_deleted_leave(tenant: Tenant, ledger: Ledger) -> None:
    """A claim that waits goes at once, and so does one that holds; those behind it move up."""
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
    """A claim that names a reservation instead leaves the line."""
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

"""The conflict audit: each fault between cluster and ledger is shown after two looks, and nothing is repaired (B8)."""

from collections.abc import Awaitable, Callable

import pytest

from tests.apiserver.support import PATIENCE, Ledger, Tenant, eventually
from tests.support.cluster import Json, condition
from tests.support.operator_process import OperatorProcess

OPERATOR = {"IPAM_AUDIT_TIMER_SECONDS": "1", "IPAM_RESYNC_SECONDS": "3600"}
"""Nothing is repaired before it is seen."""


async def orphan(tenant: Tenant, ledger: Ledger) -> None:
    """An address is held for nobody."""
    await ledger.squat(tenant.namespace, age="0s")  # too young for the resyncs that follow a start


async def drift(tenant: Tenant, ledger: Ledger) -> None:
    """The store holds another address than the claim shows."""
    pool = await ledger.pool_id(tenant.namespace)
    await ledger.execute("update ipam.lease set addr = '10.0.0.77' where pool_id = $1 and name = 'one'", pool)
    await ledger.execute(
        "update ipam.lease set allocated_at = now() - interval '1 hour' where pool_id = $1 and name = 'one'", pool
    )
    await ledger.execute("select ipam.rebuild_free_ranges($1)", pool)


async def free_and_held(tenant: Tenant, ledger: Ledger) -> None:
    """A held address is free as well."""
    pool = await ledger.pool_id(tenant.namespace)
    await ledger.execute(
        "insert into ipam.free_range (pool_id, lo, hi) select pool_id, addr, addr from ipam.lease"
        " where pool_id = $1 and name = 'one'",
        pool,
    )


async def leaked(tenant: Tenant, ledger: Ledger) -> None:
    """Addresses are in nobody's hands."""
    pool = await ledger.pool_id(tenant.namespace)
    await ledger.execute("update ipam.free_range set lo = lo + 3 where pool_id = $1", pool)


async def outside_range(tenant: Tenant, ledger: Ledger) -> None:
    """Something is free that the pool may not hand out."""
    pool = await ledger.pool_id(tenant.namespace)
    await ledger.execute(
        "insert into ipam.free_range (pool_id, lo, hi) values ($1, '192.168.7.7', '192.168.7.7')", pool
    )


async def unbacked(tenant: Tenant, ledger: Ledger) -> None:
    """A claim shows what the store has lost."""
    pool = await ledger.pool_id(tenant.namespace)
    await ledger.execute("delete from ipam.lease where pool_id = $1 and name = 'one'", pool)
    await ledger.execute("select ipam.rebuild_free_ranges($1)", pool)


Fault = Callable[[Tenant, Ledger], Awaitable[None]]
FAULTS: list[tuple[Fault, str, str, str]] = [
    (orphan, "Orphan", "Medium", "which does not exist"),
    (drift, "Drift", "High", "IPClaim one shows other addresses"),
    (free_and_held, "FreeAndHeld", "High", "is held or free twice in pool pool"),
    (leaked, "Leaked", "Medium", "is neither free nor held in pool pool"),
    (outside_range, "OutsideRange", "Medium", "192.168.7.7 is outside the effective ranges of pool pool"),
    (unbacked, "Unbacked", "High", "which the store does not hold for it"),
]


async def audited(tenant: Tenant, *, clean: bool) -> Json:
    """Watch until the network's audit says so."""

    def so(seen: Json | None) -> bool:
        found = condition(seen, "ConflictFree") if seen is not None else None
        return found is not None and found["status"] == str(clean)

    seen = await tenant.api.wait_for("IPNetwork", tenant.namespace, "net", so, seconds=PATIENCE)
    assert seen is not None
    return seen


@pytest.mark.parametrize(("fault", "finding", "severity", "words"), FAULTS, ids=[row[1] for row in FAULTS])
async def test_fault_is_shown(
    tenant: Tenant,
    ledger: Ledger,
    service: OperatorProcess,
    fault: Fault,
    finding: str,
    severity: str,
    words: str,
) -> None:
    """Condition, status.conflicts, Event and metric name the fault; when it is mended the condition is True again."""
    await tenant.space(coolDown="1h")
    await tenant.claims(["one", "two"])
    await tenant.bound("one", "two")
    await audited(tenant, clean=True)
    await fault(tenant, ledger)
    network = await audited(tenant, clean=False)
    conflict_free = condition(network, "ConflictFree")
    assert conflict_free is not None
    assert conflict_free["reason"] == "ConflictsFound"
    (conflict,) = network["status"]["conflicts"]
    assert (conflict["type"], conflict["severity"]) == (finding, severity)
    assert words in conflict["message"]
    assert "since" in conflict
    (event,) = await tenant.events("net", f"Conflict{finding}")
    assert event["message"] == conflict["message"]
    ready = condition(network, "Ready")
    assert ready is not None
    assert ready["status"] == "True"

    async def counted() -> bool:
        return service.metrics().total("ipam_conflicts", finding=finding) == 1

    await eventually(counted, f"ipam_conflicts counts {finding}")
    pool = await ledger.pool_id(tenant.namespace)
    await ledger.execute("delete from ipam.lease where pool_id = $1 and name like 'squatter-%'", pool)
    await ledger.execute("select ipam.rebuild_free_ranges($1)", pool)
    if finding in {"Drift", "Unbacked"}:
        await tenant.delete("IPClaim", "one")
    assert "conflicts" not in (await audited(tenant, clean=True))["status"]


async def test_clean_system_finds_nothing(tenant: Tenant, service: OperatorProcess) -> None:
    """While claims come and go, six audits find nothing."""
    await tenant.space(coolDown="1s")
    before = service.metrics().total("ipam_store_statements_total", operation="untiled")
    round_ = 0
    while service.metrics().total("ipam_store_statements_total", operation="untiled") < before + 6:
        names = [f"c{round_}-{number}" for number in range(20)]
        await tenant.claims(names)
        await tenant.bound(*names)
        await tenant.delete("IPClaim", *names[::2])
        round_ += 1
    network = await audited(tenant, clean=True)
    assert "conflicts" not in network["status"]
    seen = await tenant.api.list("Event", tenant.namespace)
    assert [event["reason"] for event in seen if event["reason"].startswith("Conflict")] == []

"""What an answer costs the API server, as the API server counts it (C2)."""

import pytest

from tests.apiserver.support import PATIENCE, Tenant, Writes, eventually
from tests.support.operator_process import OperatorProcess

OPERATOR = {"IPAM_RESYNC_SECONDS": "3600", "IPAM_AUDIT_TIMER_SECONDS": "3600", "IPAM_POOL_TIMER_SECONDS": "3600"}
NUMBER = 100
NAMES = [f"c{number:03}" for number in range(NUMBER)]


@pytest.mark.usefixtures("stamped")
async def test_one_write_where_admission_sets_the_finalizer(tenant: Tenant) -> None:
    """A claim that is born with the finalizer costs one write, its status; a deleted one costs one, its finalizer."""
    await tenant.space()
    writes = await Writes.begin(tenant.api)
    await tenant.claims(NAMES)
    await tenant.bound(*NAMES)
    assert await writes.of_claims() == {"ipclaims": NUMBER, "ipclaims/status": NUMBER}  # the first are our own creates
    writes = await Writes.begin(tenant.api)
    await tenant.delete_all("IPClaim")
    await tenant.gone("IPClaim")
    assert await writes.of_claims() == {"ipclaims": NUMBER}


@pytest.mark.usefixtures("unstamped")
async def test_two_writes_without_the_policy(tenant: Tenant) -> None:
    """A claim that is born without the finalizer costs one write more."""
    await tenant.space()
    writes = await Writes.begin(tenant.api)
    await tenant.claims(NAMES)
    await tenant.bound(*NAMES)
    assert await writes.of_claims() == {"ipclaims": 2 * NUMBER, "ipclaims/status": NUMBER}  # half of the first are ours


@pytest.mark.usefixtures("stamped")
async def test_labels_cost_nothing(tenant: Tenant, service: OperatorProcess) -> None:
    """A change of labels is not answered, a change of the spec once."""
    await tenant.space()
    await tenant.claims(["one", "two"])
    await tenant.bound("one", "two")
    writes = await Writes.begin(tenant.api)
    before = service.metrics().total("ipam_store_statements_total", operation="allocate")
    await tenant.api.patch("IPClaim", tenant.namespace, "one", {"metadata": {"labels": {"a": "b"}}})
    await tenant.edit("IPClaim", "two", hostname="a.example")  # answered after the event of the label
    await tenant.api.wait_reason("IPClaim", tenant.namespace, "two", "Allocated", seconds=PATIENCE)
    assert await writes.of_claims() == {"ipclaims": 2, "ipclaims/status": 1}  # the first are our own patches
    assert service.metrics().total("ipam_store_statements_total", operation="allocate") == before + 1


@pytest.mark.usefixtures("stamped")
async def test_waiting_costs_nothing(tenant: Tenant, service: OperatorProcess) -> None:
    """Claims that wait are told once, and again when they are bound; others' coming and going is no news to them."""
    await tenant.space(ranges=["10.0.0.1"])
    await tenant.claim("holder")
    await tenant.bound("holder")
    names = NAMES[:20]
    await tenant.claims(names)
    for name in names:
        await tenant.reason("IPClaim", name, "PoolExhausted", "Queued")
    writes = await Writes.begin(tenant.api)
    await tenant.claims(["late", "later"])
    for name in ("late", "later"):
        await tenant.reason("IPClaim", name, "PoolExhausted", "Queued")
    assert await writes.of_claims() == {"ipclaims": 2, "ipclaims/status": 2}

    async def idle() -> bool:
        return service.metrics().total("ipam_inbox_length") == 0

    await eventually(idle, "nothing is left to do")

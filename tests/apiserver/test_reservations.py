"""Reservations as users see them."""

from tests.apiserver.support import Tenant, eventually
from tests.support.cluster import condition
from tests.support.operator_process import OperatorProcess

OPERATOR = {"IPAM_RESYNC_SECONDS": "3600"}


async def test_reserve_and_confirm(tenant: Tenant) -> None:
    """Ready with the reason Reserved and an end; confirmed it has neither, and the same address."""
    await tenant.space()
    await tenant.claim("held", mode="Reserve", reserveFor="60s")
    reserved = await tenant.reason("IPClaim", "held", "Reserved")
    ready = condition(reserved, "Ready")
    assert ready is not None
    assert (ready["status"], ready["reason"]) == ("True", "Reserved")
    assert reserved["status"]["expiresAt"]
    await tenant.edit("IPClaim", "held", mode="Allocate")
    kept = await tenant.reason("IPClaim", "held", "Allocated")
    assert kept["status"]["address"] == reserved["status"]["address"]
    assert "expiresAt" not in kept["status"]


async def test_hand_over(tenant: Tenant) -> None:
    """Another claim gets the address, and the first one says who; without a reservation nothing is handed out."""
    await tenant.space(ranges=["10.0.0.5"])
    await tenant.claim("held", mode="Reserve")
    await tenant.reason("IPClaim", "held", "Reserved")
    await tenant.claim("heir", reservationRef={"name": "held"})
    heir = await tenant.reason("IPClaim", "heir", "Allocated")
    assert heir["status"]["address"] == "10.0.0.5"
    over = await tenant.reason("IPClaim", "held", "ExpiredAllocation")
    assert "address" not in over["status"]
    told = condition(over, "Ready")
    assert told is not None
    assert "IPClaim heir has taken" in told["message"]
    await tenant.claim("late", reservationRef={"name": "held"})
    await tenant.reason("IPClaim", "late", "ReservationNotFound")
    await tenant.edit("IPClaim", "late", reservationRef=None)
    await tenant.reason("IPClaim", "late", "PoolExhausted")


async def test_the_heir_may_come_first(tenant: Tenant) -> None:
    """Who names a reservation that is not there yet takes it over when it comes, long before a resync."""
    await tenant.space(ranges=["10.0.0.5-10.0.0.6"])
    await tenant.claim("elsewhere", reservationRef={"name": "other"})
    await tenant.claim("early", reservationRef={"name": "held"})
    for name in ("elsewhere", "early"):
        await tenant.reason("IPClaim", name, "ReservationNotFound")
    await tenant.claim("held", mode="Reserve")
    assert await tenant.address("early") == "10.0.0.5"
    await tenant.reason("IPClaim", "held", "ExpiredAllocation")
    await tenant.reason("IPClaim", "elsewhere", "ReservationNotFound")


async def test_heir_and_reservation_at_once(tenant: Tenant) -> None:
    """Both wait for their pool; whichever is answered first, the address is handed over."""
    names = range(5)
    for k in names:
        await tenant.claim(f"heir-{k}", reservationRef={"name": f"held-{k}"})
        await tenant.claim(f"held-{k}", mode="Reserve")
    await tenant.network()
    await tenant.pool()
    await tenant.bound(*(f"heir-{k}" for k in names))
    for k in names:
        await tenant.reason("IPClaim", f"held-{k}", "ExpiredAllocation")


async def test_an_heir_that_asks_otherwise_is_asked_once(tenant: Tenant, service: OperatorProcess) -> None:
    """A reservation that it cannot take over wakes it once, and it is told what would do."""
    await tenant.space()
    await tenant.claim("heir", count=2, reservationRef={"name": "held"})
    await tenant.reason("IPClaim", "heir", "ReservationNotFound")
    await tenant.claim("held", mode="Reserve")

    async def told() -> bool:
        ready = condition(await tenant.get("IPClaim", "heir"), "Ready")
        return ready is not None and "IPClaim held has reserved 1" in ready["message"]

    await eventually(told, "the heir is told what is reserved")

    def asked() -> float:
        return service.metrics().total("ipam_store_statements_total", operation="allocate")

    before = asked()
    await tenant.claim("another")
    await tenant.bound("another")
    assert asked() == before + 1

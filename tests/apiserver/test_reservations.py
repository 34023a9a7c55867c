"""Reservations as users see them."""

from tests.apiserver.support import Tenant
from tests.support.cluster import condition


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
    await tenant.claim("early", reservationRef={"name": "held"})
    await tenant.reason("IPClaim", "early", "ReservationNotFound")
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
    await tenant.edit("IPClaim", "early", reservationRef=None)
    await tenant.reason("IPClaim", "early", "PoolExhausted")

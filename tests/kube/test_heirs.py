from typing import Any
from uuid import UUID, uuid4

from ipam_operator.kube.heirs import Heirs
from ipam_operator.kube.inbox import Item
from ipam_operator.kube.resources import Kind


def claim(name: str, reason: str, *, uid: UUID | None = None, names: str = "", observed: int = 1, **meta: Any) -> Item:
    metadata = {"namespace": "a", "name": name, "uid": str(uid or uuid4()), "generation": 1, **meta}
    spec = {"reservationRef": {"name": names}} if names else {}
    status = {"observedGeneration": observed, "reason": reason}
    return Item.of(Kind.CLAIM, {"metadata": metadata, "spec": spec, "status": status})


def heir(name: str = "heir", *, names: str = "held", **more: Any) -> Item:
    return claim(name, "ReservationNotFound", names=names, **more)


def test_a_reservation_that_comes_wakes_those_who_name_it() -> None:
    """Only those of its namespace and name, and once."""
    heirs, first, second, held = Heirs(), heir("first"), heir("second"), claim("held", "Reserved")
    others = (heir("third", names="other"), heir("fourth", namespace="b"))
    assert [one for item in (first, second, *others) for one in heirs.see(item)] == []
    assert list(heirs.see(held)) == [first, second]
    assert list(heirs.see(held)) == []


def test_who_is_refused_after_it_has_come_asks_again() -> None:
    """Once: what the reservation does not fit stays refused."""
    heirs, late = Heirs(), heir()
    heirs.see(claim("held", "Reserved"))
    assert list(heirs.see(late)) == [late]
    assert list(heirs.see(late)) == []


def test_who_names_another_one_is_woken_by_that_one() -> None:
    """An edit counts when it is answered."""
    heirs, uid = Heirs(), uuid4()
    heirs.see(heir(uid=uid))
    heirs.see(heir(uid=uid, observed=0))
    later = heir(uid=uid, names="other")
    heirs.see(later)
    assert list(heirs.see(claim("held", "Reserved"))) == []
    assert list(heirs.see(claim("other", "Reserved"))) == [later]


def test_who_is_served_or_deleted_is_woken_no_more() -> None:
    """Nor does one ask for a reservation that is over or deleted."""
    heirs, served, deleted, held = Heirs(), uuid4(), uuid4(), uuid4()
    heirs.see(heir("served", uid=served))
    heirs.see(heir("deleted", uid=deleted))
    heirs.see(claim("served", "Allocated", uid=served, names="held"))
    heirs.see(heir("deleted", uid=deleted, deletionTimestamp="2026-01-31T12:00:00Z"))
    assert list(heirs.see(claim("held", "Reserved", uid=held))) == []
    heirs.see(claim("held", "ExpiredAllocation", uid=held))
    late = heir()
    assert list(heirs.see(late)) == []
    assert list(heirs.see(claim("held", "Reserved", uid=held))) == [late]

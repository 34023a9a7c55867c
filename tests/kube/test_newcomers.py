from typing import Any
from uuid import UUID, uuid4

from ipam_operator.kube.inbox import Item
from ipam_operator.kube.newcomers import Newcomers
from ipam_operator.kube.resources import Kind


def claim(namespace: str = "a", uid: UUID | None = None, **meta: Any) -> Item:
    metadata = {"namespace": namespace, "name": "c", "uid": str(uid or uuid4()), "generation": 1, **meta}
    return Item.of(Kind.CLAIM, {"metadata": metadata, "spec": {}})


def test_a_claim_waits_for_its_namespace() -> None:
    """It is let in, as last seen, when the store knows the namespace; whoever comes then does not wait."""
    newcomers, uid = Newcomers(), uuid4()
    assert newcomers.wait(claim(uid=uid))
    newer = claim(uid=uid, generation=2)
    assert newcomers.wait(newer)
    assert newcomers.wait(claim("b"))
    assert newcomers.let_in({"a": True}, whole=False) == [newer]
    assert newcomers.let_in({"a": True}, whole=False) == []
    assert not newcomers.wait(claim())


def test_a_deletion_waits_for_nothing() -> None:
    """Nor is the claim let in afterwards."""
    newcomers, uid = Newcomers(), uuid4()
    assert newcomers.wait(claim(uid=uid))
    assert not newcomers.wait(claim(uid=uid, deletionTimestamp="2026-01-31T12:00:00Z"))
    assert newcomers.let_in({"a": True}, whole=False) == []


def test_a_namespace_that_is_gone_is_known_no_more() -> None:
    """By its end, or because a list of all does not have it."""
    newcomers = Newcomers()
    newcomers.let_in({"a": True, "b": True, "c": True}, whole=True)
    newcomers.let_in({"a": False}, whole=False)
    assert newcomers.wait(claim("a"))
    assert not newcomers.wait(claim("b"))
    newcomers.let_in({"c": True}, whole=True)
    assert newcomers.wait(claim("b"))
    assert not newcomers.wait(claim("c"))

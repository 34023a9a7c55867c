"""What waiting claims show, and so who has to be told his place."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from ipam_operator.domain.model import Identity, ObjectRef
from ipam_operator.domain.outcome import Reason, Refused
from ipam_operator.kube import status
from ipam_operator.kube.inbox import Item
from ipam_operator.kube.resources import Kind
from ipam_operator.kube.standing import Standing

CLAIM = ObjectRef("a", "c")


def waits(uid: UUID, place: int) -> Refused:
    return Refused(Identity(uid, CLAIM, 1), Reason.POOL_EXHAUSTED, "full", queue_position=place)


def seen(uid: UUID, shown: dict[str, Any]) -> Item:
    metadata = {"namespace": CLAIM.namespace, "name": CLAIM.name, "uid": str(uid), "generation": 1}
    return Item.of(Kind.CLAIM, {"metadata": metadata, "spec": {}, "status": shown})


def test_a_place_that_is_written_is_no_news() -> None:
    """Nor is it before the write comes back as an event: who writes it anew moves the time since when it waits."""
    standing, uid = Standing(1.0), uuid4()
    standing.see(seen(uid, {}))
    assert standing.news(waits(uid, 2)) == ()
    shown = status.for_claim(waits(uid, 2), now=datetime(2026, 1, 31, 12, tzinfo=UTC))
    assert shown is not None
    standing.show(uid, shown)
    assert standing.news(waits(uid, 2)) is None
    assert standing.news(waits(uid, 1)) == shown["conditions"]
    standing.see(seen(uid, shown))
    assert standing.news(waits(uid, 1)) == shown["conditions"]


def test_a_claim_that_waits_no_more_shows_no_place() -> None:
    """Answered otherwise, or gone."""
    standing, uid = Standing(1.0), uuid4()
    for shows_nothing in ({}, {"reason": "Allocated"}):
        standing.show(uid, {"queuePosition": 3, "conditions": []})
        assert standing.news(waits(uid, 3)) is None
        standing.show(uid, shows_nothing)
        assert standing.news(waits(uid, 3)) == ()

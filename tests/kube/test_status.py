from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any
from uuid import UUID, uuid4

import pytest

from ipam_operator.domain import refusals
from ipam_operator.domain.findings import Finding, FindingType
from ipam_operator.domain.model import Identity, ObjectRef
from ipam_operator.domain.outcome import Block, ClaimOutcome, Granted, Held, Reason, Refused, Vanished
from ipam_operator.kube import status

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CLAIM = Identity(uuid4(), ObjectRef("a", "c"), 7)


def granted(*addresses: str) -> Granted:
    found = tuple(ip_address(one) for one in addresses)
    return Granted(CLAIM, ObjectRef("a", "p"), found, 3, NOW, Block(found[0].version, 24, None, ()))


def claim_status(outcome: ClaimOutcome, **more: Any) -> dict[str, Any]:
    document = status.for_claim(outcome, now=NOW, **more)
    assert document is not None
    return document


def kstatus(document: dict[str, Any], generation: int) -> str:
    """The verdict of sigs.k8s.io/cli-utils' kstatus, which Flux and Helm 4 use."""
    conditions = {one["type"]: one["status"] for one in document["conditions"]}
    if document.get("observedGeneration", generation) != generation or conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    return "Current" if conditions["Ready"] == "True" else "InProgress"


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [
        (Reason.POOL_EXHAUSTED, "InProgress"),
        (Reason.QUEUED, "InProgress"),
        (Reason.POOL_PAUSED, "InProgress"),
        (Reason.POOL_NOT_FOUND, "InProgress"),
        (Reason.NETWORK_NOT_FOUND, "InProgress"),
        (Reason.ADDRESS_CONFLICT, "Failed"),
        (Reason.OUTSIDE_POOL, "Failed"),
        (Reason.INVALID_SPEC, "Failed"),
    ],
)
def test_refusals_read_right_to_kstatus(reason: Reason, verdict: str) -> None:
    """What heals by itself is in progress; what only the user can mend has failed."""
    assert kstatus(claim_status(Refused(CLAIM, reason, "why")), CLAIM.generation) == verdict


def test_a_grant_is_current_to_kstatus() -> None:
    """A bound claim is done, for the very generation that was asked."""
    document = claim_status(granted("10.0.0.1", "10.0.0.2"))
    assert kstatus(document, CLAIM.generation) == "Current"
    assert (document["address"], document["addresses"]) == ("10.0.0.1", ["10.0.0.1", "10.0.0.2"])
    assert document["allocatedAt"] == "2026-01-02T03:04:05Z"
    assert "addressIPv6" not in document


def test_an_ipv6_grant_shows_its_address_twice() -> None:
    """`addressIPv6` can be selected by, whatever the first family is."""
    assert claim_status(granted("2001:db8::1"))["addressIPv6"] == "2001:db8::1"


def test_nobody_reads_the_status_of_a_vanished_claim() -> None:
    """There is nothing to write."""
    assert status.for_claim(Vanished(CLAIM), now=NOW) is None


def test_an_unanswered_claim_says_that_the_store_is_away() -> None:
    """The claim is in progress, and its spec is not observed yet."""
    document = status.store_unavailable(generation=7, now=NOW)
    assert "observedGeneration" not in document
    assert kstatus(document, 7) == "InProgress"


def test_the_transition_time_moves_only_with_the_status() -> None:
    """A new message on the same status keeps the time."""
    first = claim_status(Refused(CLAIM, Reason.QUEUED, "2 ahead"))
    later = status.for_claim(
        Refused(CLAIM, Reason.QUEUED, "1 ahead"), now=NOW + timedelta(hours=1), previous=first["conditions"]
    )
    assert later is not None
    assert [one["lastTransitionTime"] for one in later["conditions"]] == ["2026-01-02T03:04:05Z"] * 2


def test_a_refused_edit_keeps_ready() -> None:
    """The last accepted spec still serves, and only the user can help the new one."""
    refused = Refused(CLAIM, Reason.SHRINK_REFUSED, "5 held")
    document = status.for_parent(refused, now=NOW, previous=(), serving=True)
    assert {one["type"]: one["status"] for one in document["conditions"]} == {"Ready": "True", "Stalled": "True"}


def test_a_held_deletion_names_who_holds_it() -> None:
    """A bounded sample, and the whole number."""
    own = CLAIM.ref.namespace
    held = Held(CLAIM, 12, (ObjectRef(own, "x"), ObjectRef(own, "y")))
    assert status.held_message(held) == "deletion waits for 12 in use: x, y and 10 more"


def test_names_of_other_namespaces_are_not_told() -> None:
    """A pool's owner learns who has of it by namespace, and what is wrong by address."""
    own, guest = CLAIM.ref.namespace, ObjectRef("guest", "secret")
    held = Held(CLAIM, 3, (ObjectRef(own, "x"), guest, ObjectRef("guest", "more")))
    assert status.held_message(held) == "deletion waits for 3 in use: x, some of namespace guest"
    assert "secret" not in refusals.namesake(CLAIM, held).message
    found = Finding(FindingType.DRIFT, None, ObjectRef(own, "p"), "10.0.0.1", UUID(int=1), guest)
    (shown,) = status.conflicts({found: "t"})["conflicts"]
    assert "secret" not in str(shown) + status.conflict_free([found], generation=1, now=NOW, previous=())["message"]
    near = Finding(FindingType.DRIFT, None, ObjectRef(own, "p"), "10.0.0.1", UUID(int=1), ObjectRef(own, "web"))
    assert status.conflicts({near: "t"})["conflicts"][0]["claim"] == "web"


def test_a_message_is_cut_to_what_the_crd_allows() -> None:
    """No refusal makes its own status unwritable."""
    document = claim_status(Refused(CLAIM, Reason.INVALID_SPEC, "x" * 5000))
    assert {len(one["message"]) for one in document["conditions"]} == {status.MESSAGE_LIMIT}


def test_conflicts_are_bounded_and_the_gravest_come_first() -> None:
    """Twenty findings at the most, High before Medium."""
    pool = ObjectRef("a", "p")
    found = {Finding(FindingType.LEAKED, None, pool, f"10.0.0.{n}"): "t" for n in range(30)}
    found[Finding(FindingType.DRIFT, None, pool, "10.0.1.1,10.0.1.2")] = "t"
    shown = status.conflicts(found)["conflicts"]
    assert len(shown) == status.CONFLICTS_SHOWN
    assert (shown[0]["severity"], shown[0]["address"]) == ("High", "10.0.1.1")

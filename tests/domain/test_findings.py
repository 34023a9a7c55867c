from uuid import uuid4

import pytest

from ipam_operator.domain.capacity import percent
from ipam_operator.domain.findings import Brake, Finding, FindingType, plan
from ipam_operator.domain.model import ObjectRef

BRAKE = Brake(50, 10.0)


def orphans(number: int) -> list[Finding]:
    pool = ObjectRef("a", "p")
    return [Finding(FindingType.ORPHAN, None, pool, f"10.0.0.{n}", uuid4(), pool, n) for n in range(number)]


def test_an_orphan_is_released_only_when_seen_twice() -> None:
    """The first look only suspects."""
    found = orphans(3)
    first = plan(found, frozenset(), live=10, brake=BRAKE, confirmed=False)
    assert (first.release, first.suspects) == ((), frozenset(found))
    second = plan(found, first.suspects, live=10, brake=BRAKE, confirmed=False)
    assert set(second.release) == set(found)


def test_an_orphan_that_came_back_is_forgotten() -> None:
    """A finding that the second look does not see has gone."""
    found = orphans(1)
    assert plan([], frozenset(found), live=10, brake=BRAKE, confirmed=False).release == ()


@pytest.mark.parametrize(
    ("number", "live", "stops"),
    [(50, 60, False), (51, 60, True), (51, 510, False), (51, 509, True), (1000, 100_000, False)],
)
def test_the_brake_needs_both_limits(number: int, live: int, stops: bool) -> None:  # noqa: FBT001 - a table's column
    """More than 50 and more than 10 percent."""
    found = orphans(number)
    decided = plan(found, frozenset(found), live=live, brake=BRAKE, confirmed=False)
    assert (decided.braked, len(decided.release)) == ((number, 0) if stops else (0, number))


def test_a_confirmation_lets_the_brake_go() -> None:
    """A person has said yes."""
    found = orphans(60)
    assert len(plan(found, frozenset(found), live=60, brake=BRAKE, confirmed=True).release) == 60


def test_the_brake_counts_those_that_are_not_judged_yet() -> None:
    """Sixty of which some are too young for the second look are sixty, not a few now and the others next time."""
    found = orphans(60)
    first = plan(found, frozenset(), live=60, brake=BRAKE, confirmed=False)
    second = plan(found[:36], first.suspects, live=60, brake=BRAKE, confirmed=False)
    assert (second.release, second.braked) == ((), 60)
    third = plan(found, second.suspects, live=60, brake=BRAKE, confirmed=False)
    assert (third.release, third.braked) == ((), 60)


def test_what_was_braked_stays_suspected() -> None:
    """After the confirmation no third look is needed."""
    found = orphans(60)
    assert plan(found, frozenset(found), live=60, brake=BRAKE, confirmed=False).suspects == frozenset(found)


@pytest.mark.parametrize(
    "kind",
    [
        FindingType.UNBACKED,
        FindingType.UNANSWERED,
        FindingType.UNKNOWN,
        FindingType.DRIFT,
        FindingType.RENEWED,
    ],
)
def test_claims_that_exist_are_looked_at_again(kind: FindingType) -> None:
    """Their own path finds out what to do; nothing is released."""
    uid = uuid4()
    decided = plan([Finding(kind, None, None, "", uid)], frozenset(), live=1, brake=BRAKE, confirmed=False)
    assert (decided.look_again, decided.release) == (frozenset({uid}), ())


def test_only_of_renewed_claims_the_end_is_kept() -> None:
    """Other claims that are looked at again show no end that the store must learn."""
    drift, renewed = uuid4(), uuid4()
    found = [
        Finding(FindingType.DRIFT, None, None, "", drift),
        Finding(FindingType.RENEWED, None, None, "", renewed),
    ]
    decided = plan(found, frozenset(), live=2, brake=BRAKE, confirmed=False)
    assert (decided.look_again, decided.keep) == (frozenset({drift, renewed}), frozenset({renewed}))


@pytest.mark.parametrize(
    ("used", "total", "text"), [(0, 0, "0"), (0, 9, "0"), (1, 3, "33.33"), (3, 3, "100"), (2**127, 2**128, "50")]
)
def test_percent_is_exact_and_never_rounds_up(used: int, total: int, text: str) -> None:
    """100 means all of it, also in IPv6."""
    assert percent(used, total) == text

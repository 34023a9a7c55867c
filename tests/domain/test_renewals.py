"""When an object counts as gone."""

from datetime import UTC, datetime
from uuid import uuid4

from ipam_operator.domain.model import ClaimDetail, ClaimRequest, Identity, ObjectRef, Renewable, ResourceRef
from ipam_operator.domain.renewals import Names, Sightings, not_looked_at

POD, WEB = ResourceRef("v1", "Pod", "web"), ResourceRef("apps/v1", "Deployment", "web")
HERE: Names = frozenset({("team", "web")})
GONE: Names = frozenset()


def lease(resource: ResourceRef = POD) -> Renewable:
    return Renewable(Identity(uuid4(), ObjectRef("team", "c"), 1), 7, resource, datetime.now(UTC))


def test_gone_is_missed_twice_in_a_row() -> None:
    """The first miss waits for the second, which stops and is told once; seen again, it is renewed again."""
    sightings, one = Sightings(), lease()
    assert sightings.look([one], {"v1/Pod": GONE}) == ([], [])
    assert sightings.look([one], {"v1/Pod": HERE}) == ([one], [])
    assert sightings.look([one], {"v1/Pod": GONE}) == ([], [])
    assert sightings.look([one], {"v1/Pod": GONE}) == ([], [one])
    assert sightings.look([one], {"v1/Pod": GONE}) == ([], [])
    assert sightings.look([one], {"v1/Pod": HERE}) == ([one], [])


def test_what_cannot_be_seen_is_not_gone() -> None:
    """Nor does a look that saw nothing count as one of two."""
    sightings, one = Sightings(), lease()
    sightings.look([one], {"v1/Pod": GONE})
    assert sightings.look([one], {"v1/Pod": None}) == ([one], [])
    assert sightings.look([one], {"v1/Pod": GONE}) == ([], [])


def test_a_namesake_elsewhere_is_another_object() -> None:
    """Of another namespace, or of another kind."""
    sightings, one, other = Sightings(), lease(), lease(WEB)
    seen: dict[str, Names | None] = {"v1/Pod": frozenset({("other", "web")}), "apps/v1/Deployment": HERE}
    sightings.look([one, other], seen)
    assert sightings.look([one, other], seen) == ([other], [one])


def test_kinds_that_nobody_looks_at() -> None:
    """Told with what the operator looks at; without autoRenew the object is for people."""
    asks = ClaimDetail(resource=WEB, auto_renew=True)
    request = ClaimRequest(Identity(uuid4(), ObjectRef("team", "c"), 1), ObjectRef("team", "p"), detail=asks)
    assert not_looked_at(request, frozenset({"apps/v1/Deployment"})) is None
    refused = not_looked_at(request, frozenset({"v1/Pod"}))
    assert refused is not None
    assert "looks at v1/Pod only, not at apps/v1/Deployment" in refused.message
    silent = ClaimRequest(request.identity, request.pool, detail=ClaimDetail(resource=WEB))
    assert not_looked_at(silent, frozenset()) is None

"""The corpus as the models judge it."""

import pytest

from ipam_operator.api import base
from ipam_operator.api.claims import IPClaimSpec
from ipam_operator.api.networks import IPNetworkSpec
from ipam_operator.api.pools import IPPoolSpec
from ipam_operator.domain.outcome import Refused
from tests.contract.cases import BAD, GOOD, Case, name

pytestmark = pytest.mark.unit

SHAPES: dict[str, type[base.Document]] = {"IPNetwork": IPNetworkSpec, "IPPool": IPPoolSpec, "IPClaim": IPClaimSpec}


@pytest.mark.parametrize("case", GOOD, ids=name)
def test_good_is_taken(case: Case) -> None:
    """A good manifest becomes a request."""
    assert not isinstance(case.judged(), Refused)


@pytest.mark.parametrize("case", BAD, ids=name)
def test_bad_is_refused_in_words(case: Case) -> None:
    """A bad manifest becomes a refusal with the expected reason, whose message says what must be."""
    refused = case.judged()
    assert isinstance(refused, Refused)
    assert refused.reason.value == case.reason
    assert case.model_message in refused.message
    assert "must" in refused.message
    assert "spec" in refused.message


@pytest.mark.parametrize("case", [case for case in BAD if case.refused_by == "domain"], ids=name)
def test_shape_leaves_domain_alone(case: Case) -> None:
    """What a CRD cannot judge passes the shape, so that shape and CRD judge alike."""
    SHAPES[case.kind].model_validate(case.body["spec"])


@pytest.mark.parametrize("case", BAD, ids=name)
def test_bad_says_who_refuses(case: Case) -> None:
    """Every bad manifest names who refuses it, and with which words."""
    assert case.refused_by in {"schema", "cel", "domain"}
    assert case.message

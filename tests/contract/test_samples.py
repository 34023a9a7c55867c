"""The samples: the first thing that people copy."""

from typing import Any

import pytest
import yaml

from ipam_operator.domain.outcome import Reason, Refused
from tests.contract.cases import ROOT, judge

pytestmark = pytest.mark.unit

FOLDER = ROOT / "manifests/samples"
FILES = sorted(FOLDER.glob("[0-9]*.yaml"))
OBJECTS = [body for path in FILES for body in yaml.safe_load_all(path.read_text())]


@pytest.mark.parametrize("body", OBJECTS, ids=lambda body: f"{body['kind']}-{body['metadata']['name']}")
def test_sample_is_a_request(body: dict[str, Any]) -> None:
    """A sample passes the models, stays in whatever namespace it is applied to, and says in which reason it ends."""
    assert not isinstance(judge(body["kind"], body["spec"]), Refused)
    assert "namespace" not in body["metadata"]
    assert body["metadata"]["annotations"]["ipam.dotmac.io/sample-expects"] in set(Reason)

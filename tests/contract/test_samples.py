"""The samples: the first thing that people copy."""

from typing import Any

import pytest
import yaml

from hack.samples import NAMESPACE, SAMPLES, expected
from ipam_operator.api.names import GROUP
from ipam_operator.domain.outcome import Reason, Refused
from tests.contract.cases import judge

pytestmark = pytest.mark.unit

FILES = sorted(SAMPLES.glob("[0-9]*.yaml"))
OBJECTS = [body for path in FILES for body in yaml.safe_load_all(path.read_text())]


OURS = [body for body in OBJECTS if body["apiVersion"].startswith(GROUP)]
NAMESPACES = {body["metadata"]["name"] for body in OBJECTS if body["kind"] == "Namespace"}


@pytest.mark.parametrize("body", OURS, ids=lambda body: f"{body['kind']}-{body['metadata']['name']}")
def test_sample_is_a_request(body: dict[str, Any]) -> None:
    """A sample passes the models, is in a namespace of the samples or wherever it is applied, and says how it ends."""
    assert not isinstance(judge(body["kind"], body["spec"]), Refused)
    assert body["metadata"].get("namespace") in NAMESPACES | {None}
    assert expected(body) in set(Reason)


def test_samples_delete_no_namespace_of_others() -> None:
    """Who deletes the samples deletes their namespaces: nobody else has any of these names."""
    assert NAMESPACES
    assert all(name.startswith(f"{NAMESPACE}-") for name in NAMESPACES)


def test_each_sample_says_what_it_is() -> None:
    """Those of a case begin with two lines about it, at least."""
    assert [path.name for path in FILES[15:] if not path.read_text().startswith("# ")] == []
    assert [path.name for path in FILES[15:] if path.read_text().splitlines()[1][:1] != "#"] == []


def test_every_end_has_a_sample() -> None:
    """All reasons but those of edits, deletions, outages and moments."""
    without = {
        "Queued",
        "StoreUnavailable",
        "ShrinkRefused",
        "GatewayConflict",
        "InvalidNetwork",
        "InUse",
        "Deleting",
    }
    assert {expected(body) for body in OURS} == set(Reason) - without

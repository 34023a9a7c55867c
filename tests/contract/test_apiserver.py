"""The corpus as a real API server judges it."""

import json

import pytest
from kubernetes.client import ApiException

from tests.contract.cases import BAD, GOOD, Case, name
from tests.contract.server import Server, message_of, thing

pytestmark = pytest.mark.apiserver

IN_SERVER = [case for case in BAD if case.refused_by != "domain"]


@pytest.mark.parametrize("case", GOOD + [case for case in BAD if case.refused_by == "domain"], ids=name)
def test_good_is_accepted(server: Server, case: Case) -> None:
    """The API server accepts what the models' shape accepts."""
    server.create(case.body, dry_run=True)


@pytest.mark.parametrize("case", IN_SERVER, ids=name)
def test_bad_is_refused(server: Server, case: Case) -> None:
    """The API server refuses what the models' shape refuses, with the expected words and without a crash of CEL."""
    with pytest.raises(ApiException) as caught:
        server.create(case.body, dry_run=True)
    message = message_of(caught.value)
    assert caught.value.status == 422
    assert case.message in message
    assert "evaluation" not in message, "a rule failed instead of answering"


@pytest.mark.parametrize("case", [case for case in IN_SERVER if case.refused_by == "cel"], ids=name)
def test_cel_speaks_positively(server: Server, case: Case) -> None:
    """A rule of ours says once what must be, and where."""
    with pytest.raises(ApiException) as caught:
        server.create(case.body, dry_run=True)
    (cause,) = json.loads(caught.value.body or "{}")["details"]["causes"]
    assert cause["field"].startswith("spec.")
    assert ": must " in cause["message"]


def test_defaults_are_filled_in(server: Server) -> None:
    """Defaults stand in the schema: what users left out is readable in the object."""
    network = server.create(thing("IPNetwork", "n", {"cidr": "10.0.0.0/24"}), dry_run=True)
    pool = server.create(thing("IPPool", "p", {"networkRef": {"name": "n"}}), dry_run=True)
    claim = server.create(thing("IPClaim", "c", {"poolRef": {"name": "p"}}), dry_run=True)
    assert network["spec"] == {"cidr": "10.0.0.0/24", "type": "Customer"}
    assert pool["spec"] == {
        "networkRef": {"name": "n"},
        "type": "Dynamic",
        "strategy": "FirstFree",
        "coolDown": "5m",
        "paused": False,
        "priority": 0,
    }
    assert claim["spec"] == {"poolRef": {"name": "p"}, "count": 1}

"""What the API server asks of the webhook, as far as it is read."""

import json

import pytest

from ipam_operator.api.reviews import DeletionReview

pytestmark = pytest.mark.unit

UNKNOWN = "unknown"


def review(user: str) -> DeletionReview:
    """The user's request to delete a claim."""
    claim = {"metadata": {"uid": "4b4e8c5f-93c8-4a0e-a7c5-7c6b1d4b3a55", "name": "web"}, "spec": {}}
    asked = {"uid": "1", "operation": "DELETE", "userInfo": {"username": user}, "oldObject": claim, "dryRun": False}
    return DeletionReview.read(json.dumps({"request": asked}).encode())


@pytest.mark.parametrize("user", ["alice", 'o\'neill "x" -- {a,b}', "\U0001f600" * 512, "system:serviceaccount:a:b"])
def test_users_are_called_as_they_are(user: str) -> None:
    """Whatever characters are in a name."""
    assert review(user).actor == user


@pytest.mark.parametrize("user", ["", "n" * 513, "a\0b"])
def test_who_cannot_be_called_by_name_is_unknown(user: str) -> None:
    """The store could not keep it; that somebody asked is noted, or who was refused before would be believed."""
    assert review(user).actor == UNKNOWN
    assert review(user).decides

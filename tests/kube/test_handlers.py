from typing import Any

import pytest

from ipam_operator.kube.handlers import Changes


def body(version: str) -> dict[str, Any]:
    return {"metadata": {"name": "ipclaims.ipam.dotmac.io", "resourceVersion": version}}


def test_a_first_list_is_no_change() -> None:
    """A start lists every definition: comparing all claims again because of that would be for nothing."""
    changes = Changes()
    assert not changes.see(None, body("1"))


@pytest.mark.parametrize("event", ["ADDED", "MODIFIED", None])
def test_another_version_is_a_change(event: str | None) -> None:
    """Told by an event, or by the list of a watch that begins anew: what came in between has no event."""
    changes = Changes()
    changes.see(None, body("1"))
    assert changes.see(event, body("2"))
    assert not changes.see(None, body("2"))


def test_a_definition_that_comes_is_a_change() -> None:
    """It may have been there before, under a watch that the API server has ended since."""
    assert Changes().see("ADDED", body("1"))

"""Tests find their tier by themselves."""

import pytest

from tests.support.tiers import markers, skip_is_failure


@pytest.mark.parametrize(
    ("path", "fixtures", "own", "expected"),
    [
        ("net/test_cidr.py", (), (), {"unit"}),
        ("db/test_ledger.py", ("database_url",), (), {"db", "integration"}),
        ("apiserver/test_claims.py", ("operator", "database_url"), (), {"apiserver", "integration"}),
        ("contract/test_apiserver.py", ("control_plane",), (), {"apiserver", "integration"}),
        ("adversarial/test_leaks.py", ("operator",), (), {"adversarial", "apiserver", "integration"}),
        ("adversarial/test_arithmetic.py", (), (), {"adversarial"}),
        ("connections/test_drills.py", ("postgres",), ("apiserver",), {"apiserver", "integration"}),
        ("image/test_operator.py", ("operator_kubeconfig", "database_url", "api"), (), {"image", "integration"}),
        ("e2e/test_install.py", ("node", "postgres"), (), {"node", "integration"}),
        ("bench/test_allocate.py", (), (), {"performance"}),
    ],
)
def test_tier_by_folder_and_servers(
    path: str, fixtures: tuple[str, ...], own: tuple[str, ...], expected: set[str]
) -> None:
    """The folder, the servers that a test asks for and what it says itself decide its markers: one tier for each."""
    assert markers(path.split("/"), fixtures, own) == expected


def test_skip_in_ci_is_a_failure_of_server_tiers_only() -> None:
    """In CI a server tier must not be skipped; at home, or in the unit tier, it may."""
    assert skip_is_failure({"apiserver"}, "true")
    assert skip_is_failure({"node"}, "true")
    assert not skip_is_failure({"apiserver"}, None)
    assert not skip_is_failure({"unit"}, "true")

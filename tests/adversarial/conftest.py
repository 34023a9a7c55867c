"""The fixtures of the tests against a real API server serve here, too."""

import os

import pytest

from tests.apiserver.conftest import (
    books,
    launch,
    ledger,
    module_database,
    module_settings,
    place,
    service,
    stamped,
    tenant,
    unstamped,
)
from tests.conftest import POOLED

__all__ = [
    "books",
    "launch",
    "ledger",
    "module_database",
    "module_settings",
    "place",
    "service",
    "stamped",
    "tenant",
    "unstamped",
]

BOTH_WAYS = {
    "test_a6_restart_with_a_full_pool",
    "test_a7_two_operators_one_store",
    "test_c2_release_never_arrives",
    "test_a_dump_under_a_running_operator",
    "test_i1_a_storm_of_claims",
    "test_k4_parents_gone_first",
}
"""Modules, and tests, that always run through PgBouncer as well."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = {metafunc.module.__name__.rpartition(".")[2], metafunc.function.__name__}
    if "to_store" in metafunc.fixturenames and names & BOTH_WAYS and not os.environ.get(POOLED):
        metafunc.parametrize("to_store", ["direct", "pgbouncer"], indirect=True, scope="module")

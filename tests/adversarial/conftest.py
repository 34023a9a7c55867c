"""The fixtures of the tests against a real API server serve here, too."""

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

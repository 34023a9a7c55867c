"""The fixtures of the tests against a real API server serve here, too."""

from tests.apiserver.conftest import ledger, module_database, module_settings, service

__all__ = ["ledger", "module_database", "module_settings", "service"]

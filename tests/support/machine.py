"""Random sequences of steps against the services on a real database."""

import asyncio
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from hack.postgres import Postgres
from tests.support.postgres import create_database, drop_database
from tests.support.store import Store

WIPE = """
    alter table ipam.history disable trigger history_append_only;
    truncate ipam.lease, ipam.waiting, ipam.tombstone, ipam.pool_range, ipam.free_range, ipam.part, ipam.pool,
        ipam.mac_edit, ipam.network, ipam.history, ipam.memory, ipam.term, ipam.held_by, ipam.selector,
        ipam.claim_detail, ipam.tenant, ipam.retention;
    alter table ipam.history enable trigger history_append_only;
"""
"""A new database for each example would take longer than the example."""


class StoreMachine(RuleBasedStateMachine):
    """Steps that call the store and wait for it."""

    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store: Store = self.run(Store(self.url).__aenter__())
        self.run(self.store.script(WIPE))

    def run(self, work: Any) -> Any:
        """Wait for it."""
        return self.runner.run(work)

    def teardown(self) -> None:
        self.run(self.store.__aexit__(None, None, None))
        self.runner.close()


def run_machine(machine: type[StoreMachine], postgres: Postgres, template: str, *, examples: int, steps: int) -> None:
    """Run so many sequences of so many steps on a database of their own."""
    name = asyncio.run(create_database(postgres, template))
    try:
        run_state_machine_as_test(
            type("OnThisDatabase", (machine,), {"url": postgres.url_for(name)}),
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                database=None,
                # Without shrinking: each step is a dozen statements, and the failing sequence is short as it is.
                phases=(Phase.explicit, Phase.generate),
                print_blob=False,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            ),
        )
    finally:
        asyncio.run(drop_database(postgres, name))

"""One operator for all tests of a module, and a namespace for each of them that must be empty at the end."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from hack.cluster import Cluster
from hack.install import ADMISSION
from hack.postgres import Postgres
from tests.apiserver.support import STAMP_BINDING, Launch, Ledger, Tenant, await_stamping
from tests.conftest import POOLED, StartOperator, ToStore
from tests.support.cluster import Api
from tests.support.operator_process import OperatorProcess
from tests.support.postgres import create_database, drop_database

BOTH_WAYS = {"test_claims", "test_leadership", "test_outages", "test_rates"}
"""Modules that always run through PgBouncer as well; the others do where the variable in `POOLED` is set."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    file = metafunc.module.__name__.rpartition(".")[2]
    if "to_store" in metafunc.fixturenames and file in BOTH_WAYS and not os.environ.get(POOLED):
        metafunc.parametrize("to_store", ["direct", "pgbouncer"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def module_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings of the module's operator: its `OPERATOR`, with brisk counters by default."""
    return {"IPAM_POOL_TIMER_SECONDS": "1", **getattr(request.module, "OPERATOR", {})}


@pytest.fixture(scope="module")
def module_database(postgres: Postgres, template_database: str) -> Iterator[str]:
    """A migrated database of the module's own."""
    name = asyncio.run(create_database(postgres, template_database))
    yield postgres.url_for(name)
    asyncio.run(drop_database(postgres, name))


@pytest.fixture(scope="module")
def service(
    module_database: str,
    module_settings: dict[str, str],
    operator_kubeconfig: Path,
    to_store: ToStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[OperatorProcess]:
    """The module's operator, as its ServiceAccount."""
    directory = tmp_path_factory.mktemp("service")
    url, way = to_store.lead(module_database)
    process = OperatorProcess(url, operator_kubeconfig, directory, {**way, **module_settings})
    try:
        yield process.wait_ready()
    finally:
        process.close()
    to_store.assert_nothing_left(module_database)


@pytest_asyncio.fixture
async def tenant(request: pytest.FixtureRequest, service: OperatorProcess, api: Api) -> AsyncIterator[Tenant]:
    """A namespace served by the module's operator; at the end everything in it must go."""
    assert service.running, f"the operator has ended before its time: {service.wait()}"
    failed = request.session.testsfailed
    made = await Tenant.create(api)
    yield made
    try:
        await made.close()
    finally:
        if request.session.testsfailed > failed or not service.running:
            print(f"\n--- {service.log_path}, running: {service.running}\n{service.log(8000)}")  # noqa: T201 - shown


@pytest_asyncio.fixture
async def ledger(service: OperatorProcess, module_database: str) -> AsyncIterator[Ledger]:  # noqa: ARG001 - order
    """The store of the module's operator."""
    async with Ledger(module_database) as opened:
        yield opened


@pytest_asyncio.fixture
async def place(api: Api, namespace: str) -> Tenant:
    """A namespace for tests that start operators of their own, with the fixture `operator`."""
    return Tenant(api, namespace)


@pytest.fixture
def launch(operator: StartOperator) -> Launch:
    """Starts operators with these settings; all are stopped afterwards."""
    start: Any = operator  # a dictionary of settings cannot be typed against its other keywords

    def launched(
        settings: Mapping[str, str] | None = None, *, ready: bool = True, kubeconfig: Path | None = None
    ) -> OperatorProcess:
        process: OperatorProcess = start(ready=ready, kubeconfig=kubeconfig, **(settings or {}))
        return process

    return launched


@pytest_asyncio.fixture
async def books(database_url: str) -> AsyncIterator[Ledger]:
    """The store of those operators."""
    async with Ledger(database_url) as opened:
        yield opened


@pytest_asyncio.fixture
async def unstamped(api: Api, control_plane: Cluster) -> AsyncIterator[None]:
    """Claims are born without our finalizer, as before Kubernetes 1.36; afterwards with it again."""
    control_plane.run_kubectl("delete", "--ignore-not-found", STAMP_BINDING)
    await await_stamping(api, expected=False)
    yield
    await _stamp(api, control_plane)


@pytest_asyncio.fixture
async def stamped(api: Api, control_plane: Cluster) -> None:
    """Claims are born with our finalizer."""
    await _stamp(api, control_plane)


async def _stamp(api: Api, control_plane: Cluster) -> None:
    control_plane.run_kubectl("apply", "--server-side", "--force-conflicts", "-k", ADMISSION)
    await await_stamping(api, expected=True)

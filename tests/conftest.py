"""Servers and clients that tests ask for by name; nothing is started that nobody asked for."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import pytest_asyncio

from hack.acquire import acquire
from hack.cluster import Cluster
from hack.control_plane import ControlPlane
from hack.install import NAMESPACE, SERVICE_ACCOUNT, await_served, install
from hack.pgbouncer import PgBouncer
from hack.places import ROOT, temporary
from hack.postgres import Postgres
from hack.stack import open_cluster
from tests.support.cluster import Api, ApiError
from tests.support.operator_process import OperatorProcess
from tests.support.postgres import (
    OPERATOR,
    OPERATOR_PASSWORD,
    create_database,
    drop_database,
    make_template,
    operator_url,
    session_state,
)
from tests.support.tiers import markers, skip_is_failure

TESTS = ROOT / "tests"
FAILED = pytest.StashKey[bool]()
POOLED = "IPAM_TEST_PGBOUNCER"
"""Set: every operator of the tests goes to its store through PgBouncer in transaction mode."""


class StartOperator(Protocol):
    """Starts one more operator; keywords are settings, such as `IPAM_POOL_TIMER_SECONDS="1"`."""

    def __call__(self, *, ready: bool = True, kubeconfig: Path | None = None, **settings: str) -> OperatorProcess: ...


class ToStore:
    """How operators reach their store: straight, or through a pooler."""

    def __init__(self, pgbouncer: PgBouncer | None) -> None:
        self._pgbouncer = pgbouncer

    def lead(self, url: str) -> tuple[str, dict[str, str]]:
        """The URL for an operator, and the settings that go with it."""
        if self._pgbouncer is None:
            return operator_url(url), {}
        return operator_url(self._pgbouncer.url_for(urlsplit(url).path[1:])), {"IPAM_STATEMENT_CACHE": "false"}

    def assert_nothing_left(self, url: str) -> None:
        """The operators, which have ended, have left nothing behind in sessions that others get."""
        if self._pgbouncer is not None:
            pooled, _ = self.lead(url)
            assert asyncio.run(session_state(pooled, self._pgbouncer.servers)) == []


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not item.path.is_relative_to(TESTS):
            continue
        own = {mark.name for mark in item.iter_markers()}
        wanted = markers(item.path.relative_to(TESTS).parts, getattr(item, "fixturenames", ()), own)
        for name in sorted(wanted - own):
            item.add_marker(name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    own = {mark.name for mark in item.iter_markers()}
    if report.skipped and not hasattr(report, "wasxfail") and skip_is_failure(own, os.environ.get("CI")):
        report.outcome = "failed"
        report.longrepr = f"skipped, which in CI is a failure: {report.longrepr}"
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server without fsync."""
    with Postgres(durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def template_database(postgres: Postgres) -> str:
    """Name of a database that our migrations have made."""
    return make_template(postgres)


@pytest.fixture(scope="session")
def pgbouncer(postgres: Postgres) -> Iterator[PgBouncer]:
    """A pooler in transaction mode with fewer server connections than the store has."""
    with PgBouncer(postgres, logins={OPERATOR: OPERATOR_PASSWORD}) as bouncer:
        yield bouncer


@pytest.fixture(scope="module")
def to_store(request: pytest.FixtureRequest) -> ToStore:
    """Through the pooler where the module says so, or everywhere by a variable."""
    default = "pgbouncer" if os.environ.get(POOLED) else "direct"
    way = getattr(request, "param", default)
    return ToStore(request.getfixturevalue("pgbouncer") if way == "pgbouncer" else None)


@pytest_asyncio.fixture
async def database_url(postgres: Postgres, template_database: str) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    name = await create_database(postgres, template_database)
    yield postgres.url_for(name)
    await drop_database(postgres, name)


@pytest_asyncio.fixture
async def empty_database_url(postgres: Postgres) -> AsyncIterator[str]:
    """A database of the test's own without a schema."""
    name = await create_database(postgres)
    yield postgres.url_for(name)
    await drop_database(postgres, name)


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    """A Kubernetes API that knows our kinds; `run_kubectl()` and `kubeconfig` are the administrator's."""
    with temporary("api") as state, open_cluster(acquire(), state) as cluster:
        install(cluster)
        yield cluster


@pytest.fixture
def own_control_plane(control_plane: Cluster) -> Iterator[ControlPlane]:
    """The same where we may stop and start its API server; it runs again afterwards."""
    if not isinstance(control_plane, ControlPlane):
        pytest.skip("needs a control plane whose processes are ours")
    yield control_plane
    control_plane.start_apiserver()
    await_served(control_plane)


@pytest.fixture(scope="session")
def operator_kubeconfig(control_plane: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The operator's ServiceAccount: a missing permission fails the test that needs it."""
    path = tmp_path_factory.mktemp("operator") / "kubeconfig"
    return control_plane.service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT, path)


@pytest_asyncio.fixture
async def api(control_plane: Cluster) -> AsyncIterator[Api]:
    """An asynchronous client as the administrator."""
    async with Api(control_plane.kubeconfig) as client:
        yield client


@pytest_asyncio.fixture
async def make_namespace(api: Api, control_plane: Cluster) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Creates namespaces of new names; afterwards all our objects are gone, wherever they are."""
    made: list[str] = []

    async def make(prefix: str = "t", **labels: str) -> str:
        name = f"{prefix}-{uuid4().hex[:10]}"
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        await api.create(body)
        made.append(name)
        return name

    yield make
    if isinstance(control_plane, ControlPlane):
        control_plane.start_apiserver()  # a test that failed in an outage leaves it stopped
    for name in made:  # first, so that nothing is created in them any more
        try:
            await api.delete("Namespace", "", name)
        except ApiError as refusal:
            if refusal.code != 404:
                raise
    await api.sweep()


@pytest_asyncio.fixture
async def namespace(make_namespace: Callable[..., Awaitable[str]]) -> str:
    """A namespace of the test's own."""
    return await make_namespace()


@pytest.fixture
def operator(
    request: pytest.FixtureRequest,
    make_namespace: Callable[..., Awaitable[str]],  # noqa: ARG001 - objects are swept after the operator has ended
    database_url: str,
    operator_kubeconfig: Path,
    to_store: ToStore,
    tmp_path: Path,
) -> Iterator[StartOperator]:
    """Starts operators on the test's database as their ServiceAccount; all are stopped afterwards."""
    started: list[OperatorProcess] = []

    def start(*, ready: bool = True, kubeconfig: Path | None = None, **settings: str) -> OperatorProcess:
        directory = tmp_path / f"operator-{len(started)}"
        url, way = to_store.lead(database_url)
        process = OperatorProcess(url, kubeconfig or operator_kubeconfig, directory, {**way, **settings})
        started.append(process)
        return process.wait_ready() if ready else process

    yield start
    for process in reversed(started):
        process.close()
    if request.node.stash.get(FAILED, False):
        for process in started:
            print(f"\n--- {process.log_path}\n{process.log(5000)}")  # noqa: T201 - pytest shows it with the failure
    elif started:
        to_store.assert_nothing_left(database_url)

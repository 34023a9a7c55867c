"""The fixtures of the tests against a real API server, and two PostgreSQL servers that are the test's own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio

from hack.postgres import Postgres
from ipam_operator.store.migrate import migrate
from tests.apiserver.conftest import books, launch, place
from tests.support.operator_process import OperatorProcess
from tests.support.standby import Standby

__all__ = ["books", "launch", "place"]


class Operate(Protocol):
    """Starts an operator on any database."""

    def __call__(self, url: str, settings: Mapping[str, str], *, ready: bool = True) -> OperatorProcess: ...


@pytest.fixture
def operate(
    make_namespace: Callable[..., Awaitable[str]],  # noqa: ARG001 - objects are swept after the operator has ended
    operator_kubeconfig: Path,
    tmp_path: Path,
) -> Iterator[Operate]:
    """Starts operators as their ServiceAccount; all are stopped afterwards."""
    started: list[OperatorProcess] = []

    def start(url: str, settings: Mapping[str, str], *, ready: bool = True) -> OperatorProcess:
        process = OperatorProcess(url, operator_kubeconfig, tmp_path / f"operator-{len(started)}", settings)
        started.append(process)
        return process.wait_ready() if ready else process

    yield start
    for process in reversed(started):
        process.close()
        print(f"\n--- {process.log_path}\n{process.log(5000)}")  # noqa: T201 - pytest shows it with a failure


@pytest_asyncio.fixture
async def primary() -> AsyncIterator[Postgres]:
    """A server of the test's own with our schema."""
    with Postgres() as server:
        await migrate(server.url)
        yield server


@pytest_asyncio.fixture
async def standby(primary: Postgres) -> AsyncIterator[Standby]:
    """It follows the primary."""
    with ExitStack() as stack:
        server = stack.enter_context(Standby(primary))
        await server.follows()
        yield server

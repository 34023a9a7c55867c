"""Two users who have nothing to do with each other, each with a namespace and the tenant roles in it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from hack.cluster import Cluster
from tests.apiserver.conftest import ledger, module_database, module_settings, service
from tests.support.cluster import Api
from tests.support.operator_process import OperatorProcess
from tests.tenancy.people import Person, person

__all__ = ["ledger", "module_database", "module_settings", "service"]


@pytest_asyncio.fixture
async def owner(
    request: pytest.FixtureRequest, service: OperatorProcess, api: Api, control_plane: Cluster, tmp_path: Path
) -> AsyncIterator[Person]:
    """Who has something; that it is served is the positive control: network, pool and claim, all of them its own."""
    failed = request.session.testsfailed
    async with person(api, control_plane, tmp_path / "owner") as someone:
        await someone.space(ranges=["10.0.0.10-10.0.0.40"])
        await someone.claim("mine")
        await someone.bound("mine")
        await someone.capacity(allocated="1")
        await someone.capacity("IPNetwork", "net", allocated="1")
        yield someone
    if request.session.testsfailed > failed or not service.running:
        print(f"\n--- {service.log_path}, running: {service.running}\n{service.log(8000)}")  # noqa: T201 - shown


@pytest_asyncio.fixture
async def stranger(service: OperatorProcess, api: Api, control_plane: Cluster, tmp_path: Path) -> AsyncIterator[Person]:
    """Who wants it: as able in its own namespace, with the same names and addresses there."""
    assert service.running
    async with person(api, control_plane, tmp_path / "stranger") as someone:
        await someone.space(ranges=["10.0.0.10-10.0.0.40"])
        await someone.claim("mine")
        await someone.bound("mine")
        yield someone

"""One cluster of two nodes for all tests of this folder; they run inside its network."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from hack.helm import helm
from hack.image import make_operator, make_postgres
from hack.node import ADDRESS, Node, acquire_node, lack_of_node
from hack.pki import Pki
from hack.places import ROOT
from hack.postgres import Postgres
from tests.apiserver.support import Ledger, Tenant
from tests.conftest import FAILED
from tests.e2e import images
from tests.e2e.support import CA_SECRET, SAID, SECRET, Release, Values, merged, timed
from tests.support.cluster import Api
from tests.support.postgres import create_database, drop_database

ROUNDS = "IPAM_E2E_ROUNDS"
"""Set: each test of replicas comes so often, for what goes wrong in one drain of thirty."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if (rounds := os.environ.get(ROUNDS)) and metafunc.module.__name__.endswith("test_replicas"):
        metafunc.fixturenames.append("round_of")
        metafunc.parametrize("round_of", range(int(rounds)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if SAID:
        terminalreporter.section("measured on the cluster")
    for line in SAID:
        terminalreporter.line(line)


@pytest.fixture(scope="package")
def node() -> Iterator[Node]:
    """The cluster; what connects to a pod's or a service's address from here gets there."""
    if lack := lack_of_node():
        pytest.skip(lack)
    with timed("both images"):  # now: from the cluster's network nothing can be fetched that they lack
        make_operator()
        make_postgres()
    node = acquire_node()
    with timed("a cluster of two nodes"):
        node.start()
    try:
        with node.entered():
            yield node
    finally:
        node.stop()


@pytest.fixture(scope="package")
def helm_program() -> Path:
    """Helm 4."""
    return helm(4)


@pytest.fixture(scope="package")
def operator_image(node: Node) -> tuple[str, str]:
    """Repository and tag of the operator's image, which both nodes have."""
    archive = make_operator()
    with timed("the operator's image on both nodes"):
        node.load(archive)
    return images.repository_and_tag(archive)


@pytest.fixture(scope="package")
def values(operator_image: tuple[str, str]) -> Values:
    """What every installation sets: the image that was just built."""
    repository, tag = operator_image
    return {"image": {"repository": repository, "tag": tag}}


@pytest.fixture(scope="package")
def previous_image(node: Node, operator_image: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Tag of the operator of before the newest migration, in the same repository."""
    assert operator_image, "the layers that both share are there"
    if not (ROOT / ".git").exists():
        pytest.xfail("an export without history has no version before this one to upgrade from")
    target = tmp_path_factory.mktemp("images") / "previous.tar"
    with timed(f"the operator of before {images.newest_migration().name}"):
        node.load(images.previous(make_operator(), target))
    return images.repository_and_tag(target)[1]


@pytest.fixture(scope="package")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Who signs the certificate of the server outside."""
    pki = Pki(tmp_path_factory.mktemp("pki"), ADDRESS)
    pki.make()
    return pki


@pytest.fixture(scope="package")
def outside(node: Node, authority: Pki) -> Iterator[Postgres]:
    """A PostgreSQL server outside of all pods, which they can reach by TLS alone."""
    assert node.pid, "it listens in the cluster's network"
    with Postgres(address=ADDRESS, pki=authority) as server:
        yield server


@pytest.fixture(scope="module")
def database(outside: Postgres) -> Iterator[str]:
    """URL of an empty database of the module's own, outside of all pods."""
    name = asyncio.run(create_database(outside))
    yield outside.url_for(name)
    asyncio.run(drop_database(outside, name))


@pytest.fixture(scope="module")
def release(node: Node, helm_program: Path, values: Values, database: str, authority: Pki) -> Iterator[Release]:
    """The chart on that database, whose name it checks in full and else as its defaults say, not yet installed."""
    tls = {"mode": "verify-full", "caSecret": CA_SECRET}
    found = Release(node, helm_program, merged(values, {"database": {"external": {"tls": tls}}}))
    found.prepare(**{SECRET: {"url": database}, CA_SECRET: {"ca.crt": authority.authority.read_text()}})
    yield found
    found.purge()


@pytest_asyncio.fixture
async def books(database: str) -> AsyncIterator[Ledger]:
    """The store behind the release."""
    async with Ledger(database) as ledger:
        yield ledger


@pytest.fixture(autouse=True)
def tell_of_failure(request: pytest.FixtureRequest) -> Iterator[None]:
    """Pods, events and logs of a release whose test has failed."""
    yield
    if request.node.stash.get(FAILED, False) and "release" in request.fixturenames:
        print(request.getfixturevalue("release").describe())  # noqa: T201 - pytest shows it with the failure


@pytest_asyncio.fixture
async def api(node: Node) -> AsyncIterator[Api]:
    """An asynchronous client as the administrator."""
    async with Api(node.kubeconfig) as client:
        yield client


@pytest_asyncio.fixture
async def place(api: Api) -> AsyncIterator[Tenant]:
    """A namespace with room for thousands of claims, of which nothing may be left that anybody holds."""
    tenant = await Tenant.create(api)
    yield tenant
    await tenant.close()

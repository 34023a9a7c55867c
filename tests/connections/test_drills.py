"""The drills of docs/operations/disaster-recovery.md, as they stand there."""

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from hack.places import ROOT
from hack.postgres import Postgres
from hack.stack import operator_environment
from tests.apiserver.support import Ledger, Tenant, agreement, eventually
from tests.connections.clusters import OwnCluster
from tests.connections.support import BRISK, assert_sound, ledger, shown
from tests.support.cluster import Api, Json
from tests.support.dumps import empty
from tests.support.operator_process import OperatorProcess

pytestmark = pytest.mark.apiserver
NAMESPACE = "office"


def database(url: str) -> str:
    return urlsplit(url).path[1:]


class Site:
    """A cluster and its store; what of them is lost is the test's choice."""

    def __init__(self, cluster: OwnCluster, url: str, ground: Path) -> None:
        self.cluster, self.url, self._ground = cluster, url, ground
        self.operators: list[OperatorProcess] = []

    def operate(self, **settings: str) -> OperatorProcess:
        """Start an operator, and wait until it is ready."""
        directory = self._ground / f"operator-{len(self.operators)}"
        self.operators.append(OperatorProcess(self.url, self.cluster.operator, directory, {**BRISK, **settings}))
        return self.operators[-1].wait_ready()

    def halt(self) -> None:
        """No operator runs."""
        for process in self.operators:
            process.close()

    def cli(self, *arguments: str, expected: int = 0) -> str:
        """What a command of ours prints."""
        done = subprocess.run(
            [sys.executable, "-m", "ipam_operator", *arguments],
            env=operator_environment(self.url, self.cluster.operator, {}),
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        assert done.returncode == expected, f"{done.stdout}{done.stderr}"
        return done.stderr if expected else done.stdout

    def api(self) -> Api:
        """A client of the cluster as it is now."""
        return Api(self.cluster.kubeconfig)


@pytest.fixture
def cluster() -> Iterator[OwnCluster]:
    with OwnCluster() as one:
        yield one


@pytest_asyncio.fixture
async def site(cluster: OwnCluster, database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    one = Site(cluster, database_url, tmp_path)
    yield one
    one.halt()
    for process in one.operators:
        print(f"\n--- {process.log_path}\n{process.log(4000)}")  # noqa: T201 - pytest shows it with a failure


async def make(api: Api) -> Tenant:
    await api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    return Tenant(api, NAMESPACE)


async def furnish(place: Tenant) -> list[str]:
    """Networks, pools and claims of every kind, all bound; the claims' names."""
    await place.space("10.0.0.0/24", strategy="Random", coolDown="0s")
    for kind, cidr in (("four", "10.4.0.0/24"), ("six", "2001:db8::/64"), ("blocks", "10.9.0.0/16")):
        await place.network(cidr, kind)
        await place.pool(kind, kind, prefixes={"lengths": [28], "default": 28} if kind == "blocks" else None)
        await place.label("IPPool", kind, of="late")
        await place.reason("IPPool", kind, "Ready")
    singles = [f"c{number:02}" for number in range(60)]
    await place.claims(singles)
    await place.claim("keyed", stickyKey="web/0", lease="24h")
    await place.claim("wide", count=5)
    await place.claim("block", "blocks", prefixLength=28)
    await place.claim("nic", macAddress="02:00:00:00:00:01", reclaimPolicy="Retain")
    await place.ask("dual", poolSelector={"matchLabels": {"of": "late"}}, families=["IPv4", "IPv6"])
    names = [*singles, "keyed", "wide", "block", "nic", "dual"]
    await place.bound(*names)
    return names


async def git(place: Tenant) -> list[Json]:
    """Everything as it stands in Git: without status, and without what the API server adds."""
    found: list[Json] = []
    for kind in ("IPClaim", "IPPool", "IPNetwork"):  # in an order that helps nobody
        for item in (await place.all(kind)).values():
            meta = {
                name: item["metadata"][name] for name in ("name", "namespace", "labels") if name in item["metadata"]
            }
            found.append({"apiVersion": item["apiVersion"], "kind": kind, "metadata": meta, "spec": item["spec"]})
    return found


def figure(what: str, seconds: float) -> None:
    print(f"\nfigure: {what}: {seconds:.1f} s")  # noqa: T201 - it is what the drill is timed for


async def test_etcd_lost(site: Site) -> None:
    """Everything applied from Git to a fresh cluster, on the old store: the same addresses, confirmed by nobody."""
    async with site.api() as api:
        place = await make(api)
        site.operate()
        names = await furnish(place)
        before, files = await shown(place, names), await git(place)
    site.halt()
    site.cluster.lose()
    refused = OperatorProcess(site.url, site.cluster.operator, site.cluster.operator.parent / "refused", BRISK)
    assert refused.wait() == 1
    assert "IPAM_ADOPT_STORE=true" in refused.log()
    async with site.api() as api:
        began = time.monotonic()
        process = site.operate(IPAM_ADOPT_STORE="true")

        async def braked() -> bool:
            return process.metrics().total("ipam_resync_braked_releases") == len(names)

        await eventually(braked, "nothing is released: the cluster looks wrong")
        place = await make(api)
        for body in files:
            await api.create(body)
        await place.bound(*names)
        figure(
            f"etcd lost: from the operator's start to {len(names)} claims with their addresses",
            time.monotonic() - began,
        )
        assert await shown(place, names) == before
        for kind in ("IPNetwork", "IPPool"):
            for name in await place.all(kind):
                await place.reason(kind, name, "Ready")
        await place.claim("new")
        await place.bound("new")
        async with Ledger(site.url) as books:
            await assert_none_beside(books, names)
        site.halt()


async def assert_none_beside(books: Ledger, names: list[str]) -> None:
    held = await books.value("select count(distinct claim_uid) from ipam.lease where released_at is null")
    assert held == len(names) + 1
    assert await books.value("select count(*) from ipam.untiled(array(select uid from ipam.network))") == 0


async def test_etcd_set_back(site: Site) -> None:
    """Etcd is restored from a backup: who is there again has its address, who is not any more loses it later."""
    async with site.api() as api:
        place = await make(api)
        site.operate()
        await place.space("10.0.0.0/24", coolDown="0s")
        await place.claims(["stays", "deleted-later"])
        await place.bound("stays", "deleted-later")
    site.cluster.back_up()
    site.halt()
    async with site.api() as api:
        place = Tenant(api, NAMESPACE)
        before = await shown(place, ["stays", "deleted-later"])
        site.operate()
        await place.delete("IPClaim", "deleted-later")
        await place.gone("IPClaim", "deleted-later")
        await place.claim("lost")
        await place.bound("lost")
    site.halt()
    async with Ledger(site.url) as books:
        await books.execute("update ipam.lease set allocated_at = now() - interval '1 hour'")
        await books.execute("update ipam.tombstone set at = now() - interval '1 hour'")
    site.cluster.restore()
    said = site.cli("rebuild", "--merge")
    assert "2 claims hold addresses; of 2 that showed some 0 do not hold them" in said
    async with site.api() as api:
        place = Tenant(api, NAMESPACE)
        site.operate()
        await place.claim("new")
        await place.bound("new", "stays", "deleted-later")
        assert await shown(place, before) == before
        async with Ledger(site.url) as books:

            async def agreed() -> bool:
                return set(await books.held(NAMESPACE)) == {"stays", "deleted-later", "new"}

            await eventually(agreed, "what the lost claim had is released")
            await agreement(place, books)


async def test_postgresql_lost(site: Site, postgres: Postgres) -> None:
    """An empty database is rebuilt from statuses, twice over; then the operator goes on, and nobody has moved."""
    async with site.api() as api:
        place = await make(api)
        site.operate()
        names = await furnish(place)
        before = await shown(place, names)
        generations = [one["status"]["leaseGeneration"] for one in (await place.all("IPClaim")).values()]
        ends = (await place.get("IPClaim", "keyed"))["status"]["expiresAt"]
        site.halt()
        await empty(postgres, database(site.url))
        await place.claims(["a-new-1", "a-new-2"])
        began = time.monotonic()
        said = site.cli("rebuild")
        figure(f"PostgreSQL lost: rebuilding {len(names)} claims", time.monotonic() - began)
        assert "4 networks and 4 pools are in service" in said
        assert f"{len(names)} claims hold addresses; of {len(names)} that showed some 0 do not hold them" in said
        assert "not rebuilt: history" in said
        assert "the store is not empty" in site.cli("rebuild", expected=1)
        assert site.cli("rebuild", "--merge") == said
        assert await shown(place, names) == before
        async with Ledger(site.url) as books:
            assert await ledger(books, place) == before
            assert await books.value("select count(*) from ipam.claim_detail where sticky_key = 'web/0'") == 1
            assert await books.value("select count(*) from ipam.lease where mac = '02:00:00:00:00:01'") == 1
            assert await books.value("select count(*) from ipam.claim_detail where retain") == 1
        site.operate()
        await place.bound("a-new-1", "a-new-2")
        assert await shown(place, names) == before
        assert (await place.get("IPClaim", "keyed"))["status"]["expiresAt"] == ends
        new = (await place.get("IPClaim", "a-new-1"))["status"]["leaseGeneration"]
        assert new > max(generations)
        await assert_sound_of(site.url, place)


async def assert_sound_of(url: str, place: Tenant) -> None:
    held = sum(len(one["status"]["addresses"]) for one in (await place.all("IPClaim")).values())
    await assert_sound(url, place, held)


async def test_an_operator_that_runs_is_not_disturbed(site: Site) -> None:
    """Beside an operator nothing is rebuilt."""
    site.operate(IPAM_LEADER_SECONDS="3")
    assert "scale it to 0" in site.cli("rebuild", expected=1)

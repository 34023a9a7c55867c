"""The drills of docs/operations/disaster-recovery.md, as they stand there."""

import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from hack.places import ROOT
from hack.postgres import LOOPBACK, OWNER, Postgres
from hack.stack import operator_environment
from tests.apiserver.support import Ledger, Tenant, agreement, eventually
from tests.connections.clusters import OwnCluster
from tests.connections.support import BRISK, assert_sound, figure, ledger, shown
from tests.support.cluster import Api, Json
from tests.support.dumps import dump, empty
from tests.support.operator_process import OperatorProcess
from tests.support.postgres import drop_database

pytestmark = pytest.mark.apiserver
NAMESPACE = "office"
PAGE = (ROOT / "docs/operations/disaster-recovery.md").read_text()
CLAIMS = int(os.environ.get("IPAM_TEST_CLAIMS", "70"))
"""So many of one address, beside some others."""
FORGOTTEN = 55
"""Of them are not in Git: more than the brake lets through."""


def database(url: str) -> str:
    return urlsplit(url).path[1:]


def commands(title: str) -> list[str]:
    """What the page tells people to type in the section of this title."""
    (section,) = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(r"^\$ (.*)$", section, re.MULTILINE)


class Site:
    """A cluster and its store; what of them is lost is the test's choice."""

    def __init__(self, cluster: OwnCluster, postgres: Postgres, url: str, ground: Path) -> None:
        self.cluster, self.url = cluster, url
        self._postgres, self._ground = postgres, ground
        self.operators: list[OperatorProcess] = []
        self.settings: dict[str, str] = {}

    def operate(self, *, ready: bool = True) -> OperatorProcess:
        """Start an operator."""
        directory = self._ground / f"operator-{len(self.operators)}"
        process = OperatorProcess(self.url, self.cluster.operator, directory, {**BRISK, **self.settings})
        self.operators.append(process)
        return process.wait_ready() if ready else process

    def halt(self) -> None:
        """No operator runs."""
        for process in self.operators:
            process.close()

    def type(self, line: str, *, expected: int = 0) -> str:
        """Run a command of the page as a person would; what it prints."""
        if scaled := re.fullmatch(r"kubectl .*scale deployment/ipam-operator --replicas=(\d)", line):
            if scaled[1] == "0":
                self.halt()
            else:
                self.operate()
            return ""
        if env := re.fullmatch(r"kubectl .*set env deployment/ipam-operator (\w+)(?:=(\w+)|-)", line):
            self.settings = {env[1]: env[2]} if env[2] else {}
            return ""
        where = {"PGHOST": LOOPBACK, "PGPORT": str(self._postgres.port), "PGUSER": OWNER}
        tools = (self._postgres.bin, Path(sys.executable).parent, self.cluster.control_plane.kubectl.parent)
        done = subprocess.run(
            ["bash", "-c", re.sub(r"(?<![-.\w])ipam(?![-.\w])", database(self.url), line)],
            env={
                **operator_environment(self.url, self.cluster.operator, {}),
                **where,
                "PGPASSWORD": self._postgres.password,
                "PATH": os.pathsep.join([*map(str, tools), os.environ["PATH"]]),
            },
            cwd=self._ground,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expected, f"{line}\n{done.stdout}{done.stderr}"
        return done.stderr if expected else done.stdout

    def follow(self, title: str) -> str:
        """Do as the section says; all that is printed."""
        began = time.monotonic()
        said = "".join(self.type(line) for line in commands(title))
        figure(title, began)
        return said

    def api(self) -> Api:
        """A client of the cluster as it is now."""
        return Api(self.cluster.kubeconfig)


@pytest.fixture
def cluster() -> Iterator[OwnCluster]:
    with OwnCluster() as one:
        yield one


@pytest_asyncio.fixture
async def site(cluster: OwnCluster, postgres: Postgres, database_url: str, tmp_path: Path) -> AsyncIterator[Site]:
    one = Site(cluster, postgres, database_url, tmp_path)
    yield one
    one.halt()
    for process in one.operators:
        print(f"\n--- {process.log_path}\n{process.log(4000)}")  # noqa: T201 - pytest shows it with a failure


async def make(api: Api) -> Tenant:
    await api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    return Tenant(api, NAMESPACE)


async def furnish(place: Tenant) -> list[str]:
    """Networks, pools and claims of every kind, all bound; the claims' names."""
    await place.space("10.0.0.0/16", strategy="Random", coolDown="0s")
    for kind, cidr in (("four", "10.4.0.0/24"), ("six", "2001:db8::/64"), ("blocks", "10.9.0.0/16")):
        await place.network(cidr, kind)
        await place.pool(kind, kind, prefixes={"lengths": [28], "default": 28} if kind == "blocks" else None)
        await place.label("IPPool", kind, of="late")
        await place.reason("IPPool", kind, "Ready")
    singles = [f"c{number:04}" for number in range(CLAIMS)]
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


LOST_ETCD = "etcd is lost, everything is in Git"
LOST_STORE = "PostgreSQL and its backups are lost"
OLD_DUMP = "PostgreSQL is lost, a dump is left"
OLD_ETCD = "etcd is set back to a backup"


BREAK_OFF = """
    create function public.break_off() returns event_trigger language plpgsql as $$
        begin raise exception 'broken off'; end $$;
    create event trigger break_off on ddl_command_start when tag in ('CREATE TRIGGER')
        execute function public.break_off();
"""


async def test_half_a_restore_is_seen_by_nobody(postgres: Postgres, database_url: str, tmp_path: Path) -> None:
    """What guards the ledger is restored last: the page's restore shows all or, where it breaks off there, nothing."""
    dump(postgres, database(database_url), tmp_path / "ipam.dump")
    await empty(postgres, database(database_url))
    connection = await asyncpg.connect(database_url)
    await connection.execute(BREAK_OFF)
    (line,) = (line for line in commands(OLD_DUMP) if line.startswith("pg_restore "))
    done = subprocess.run(
        ["bash", "-c", line.replace("--dbname=ipam", f"--dbname={database_url}")],
        cwd=tmp_path, env={**os.environ, "PATH": f"{postgres.bin}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        assert "broken off" in done.stderr
        assert await connection.fetchval("select to_regnamespace('ipam')") is None
    finally:
        await connection.close()


@pytest.mark.unit
def test_every_command_is_drilled() -> None:
    """The page has no command that no drill runs, and each section that a drill follows has some."""
    assert all(map(commands, (LOST_ETCD, LOST_STORE, OLD_DUMP, OLD_ETCD)))
    drilled = [line for title in (LOST_ETCD, LOST_STORE, OLD_DUMP, OLD_ETCD) for line in commands(title)]
    assert sorted(re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)) == sorted(drilled)


async def test_etcd_lost(site: Site) -> None:
    """Everything applied from Git to a fresh cluster, on the old store: the same addresses, before anybody confirms."""
    install, adopt, apply, confirm, forget = commands(LOST_ETCD)
    async with site.api() as api:
        place = await make(api)
        site.operate()
        names = await furnish(place)
        before, files = await shown(place, names), await git(place)
    site.halt()
    site.cluster.lose()
    assert (ROOT / install.rpartition(" ")[2] / "kustomization.yaml").exists()  # `lose` has applied it
    refused = site.operate(ready=False)
    assert refused.wait() == 1
    assert "IPAM_ADOPT_STORE=true" in refused.log()
    again = [body for body in files if body["metadata"]["name"] not in names[:FORGOTTEN]]
    async with site.api() as api:
        began = time.monotonic()
        site.type(adopt)
        process = site.operate()

        async def braked() -> bool:
            return process.metrics().total("ipam_resync_braked_releases") >= len(names) - 1

        await eventually(braked, "nothing is released: the cluster looks wrong")
        place = await make(api)
        assert apply.startswith("kubectl apply -f")
        for body in again:
            await api.create(body)
        await place.bound(*names[FORGOTTEN:])
        figure(LOST_ETCD, began)
        assert await shown(place, names[FORGOTTEN:]) == {name: before[name] for name in names[FORGOTTEN:]}
        for kind in ("IPNetwork", "IPPool"):
            for name in await place.all(kind):
                await place.reason(kind, name, "Ready")
        await place.claim("new")
        assert [await place.address("new")] not in before.values()
        async with Ledger(site.url) as books:
            assert set(await books.held(NAMESPACE)) == {*names, "new"}
            site.type(confirm)

            async def released() -> bool:
                return set(await books.held(NAMESPACE)) == {*names[FORGOTTEN:], "new"}

            await eventually(released, "what Git has not is released")
        site.type(forget)
        assert site.settings == {}
        site.halt()
        site.operate()
        await assert_sound_of(site.url, place)


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
    said = site.follow(OLD_ETCD)
    assert "2 claims hold addresses; of 2 that showed some 0 do not hold them" in said
    async with site.api() as api:
        place = Tenant(api, NAMESPACE)
        await place.claim("new")
        await place.bound("new", "stays", "deleted-later")
        assert await shown(place, before) == before
        async with Ledger(site.url) as books:

            async def agreed() -> bool:
                return set(await books.held(NAMESPACE)) == {"stays", "deleted-later", "new"}

            await eventually(agreed, "what the lost claim had is released")
            await agreement(place, books)


async def test_postgresql_set_back(site: Site, postgres: Postgres) -> None:
    """A dump is restored that is older than the cluster: nobody has moved, and who is new is served beside them."""
    backup, *restore = commands(OLD_DUMP)
    async with site.api() as api:
        place = await make(api)
        site.operate()
        await place.network("10.1.0.0/24", "old")
        await place.pool("old", "old")
        await place.claim("early", "old")
        await place.bound("early")
        site.type(backup)
        names = ["early", *await furnish(place)]
        before = await shown(place, names)
        began = time.monotonic()
        for line in restore[:-1]:
            site.type(line)
        await place.claim("a-new")
        site.type(restore[-1])
        await place.bound("a-new", *names)
        figure(OLD_DUMP, began)
        site.halt()
        site.operate()  # another one, which has nothing to do
        postgres.restart()
        began = time.monotonic()
        await place.claim("after")
        await place.bound("after")
        figure(f"PostgreSQL restarted with {len(names)} claims, from its start to a new address", began)
        assert await shown(place, names) == before
        await assert_sound_of(site.url, place)


async def test_postgresql_lost(site: Site, postgres: Postgres) -> None:
    """An empty database is rebuilt from statuses, twice over; then the operator goes on, and nobody has moved."""
    async with site.api() as api:
        place = await make(api)
        site.operate()
        names = await furnish(place)
        before = await shown(place, names)
        generations = [one["status"]["leaseGeneration"] for one in (await place.all("IPClaim")).values()]
        ends = (await place.get("IPClaim", "keyed"))["status"]["expiresAt"]
        stop, create, rebuild, start = commands(LOST_STORE)
        began = time.monotonic()
        site.type(stop)
        await drop_database(postgres, database(site.url))
        await place.claims(["a-new-1", "a-new-2"])
        site.type(create)
        said = site.type(rebuild)
        assert "4 networks and 4 pools are in service" in said
        assert f"{len(names)} claims hold addresses; of {len(names)} that showed some 0 do not hold them" in said
        assert "not rebuilt: history" in said
        assert "the store is not empty" in site.type(rebuild, expected=1)
        assert site.type(f"{rebuild} --merge") == said
        assert await shown(place, names) == before
        async with Ledger(site.url) as books:
            assert await ledger(books, place) == before
            assert await books.value("select count(*) from ipam.claim_detail where sticky_key = 'web/0'") == 1
            assert await books.value("select count(*) from ipam.lease where mac = '02:00:00:00:00:01'") == 1
            assert await books.value("select count(*) from ipam.claim_detail where retain") == 1
        site.type(start)
        await place.bound("a-new-1", "a-new-2")
        figure(LOST_STORE, began)
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
    site.operate()
    assert "scale it to 0" in site.type("kubectl-ipam rebuild", expected=1)

"""From nothing to an address by the quickstart's commands: the chart with the database that it brings."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from hack.image import make_postgres
from hack.install import await_served
from hack.node import MACHINES, Node
from hack.places import ROOT
from tests.apiserver.support import Tenant
from tests.e2e import images
from tests.e2e.support import HELM_SECONDS, NAMESPACE, RELEASE, Release, Values, merged, timed
from tests.support.cluster import Api, ApiError, Json
from tests.support.walkthrough import follow, section, steps

QUICKSTART = ROOT / "docs" / "quickstart.md"
UNINSTALL = ROOT / "docs" / "operations" / "uninstall.md"
SECTIONS = ("A network, a pool, a claim", "A full pool", "Clean up")
HOST = MACHINES[0].name
"""Of the database's volume, and so of its pod."""
LOGINS = "select array_agg(distinct usename::text) from pg_stat_activity where datname = 'ipam'"
"""Of whoever is connected, which every login may see."""
VOLUME = f"data-{RELEASE}-postgres-0"
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def volume(node: Node) -> Iterator[None]:
    """The cluster's default storage: one volume, on one node, as a small cluster might have it."""
    archive = make_postgres()
    with timed("the database's image on one node"):
        node.load(archive, machines=MACHINES[:1])
    directory = node.state / HOST / "var-lib" / "volumes" / "one"
    directory.mkdir(parents=True)
    storage: list[Json] = [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {
                "name": "local",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "one"},
            "spec": {
                "capacity": {"storage": "5Gi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "local",
                "local": {"path": "/var/lib/volumes/one"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": [HOST]}]}]}},
            },
        },
    ]  # fmt: skip
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": storage})
    node.run_kubectl("apply", "-f", "-", text=text)
    yield
    node.run_kubectl("delete", "-f", "-", "--timeout=60s", text=text)


@pytest.fixture(scope="module")
def release(node: Node, helm_program: Path, values: Values, volume: None) -> Iterator[Release]:
    """The chart as a first try takes it, not yet installed."""
    assert volume is None
    repository, tag = images.repository_and_tag(make_postgres())
    bundled = {"mode": "bundled", "bundled": {"image": {"repository": repository, "tag": tag}}}
    found = Release(node, helm_program, merged(values, {"database": bundled}))
    found.prepare()
    yield found
    found.purge()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the quickstart's reader types: a clone, as far as the page goes into it."""
    directory = tmp_path_factory.mktemp("clone")
    (directory / "charts").symlink_to(ROOT / "charts")
    return directory


@pytest.fixture(scope="module")
def installed(release: Release, reader: Path) -> Release:
    """The same, installed as the quickstart says; of its commands Helm's takes the images that the nodes have."""
    values = reader / "images.json"
    values.write_text(json.dumps(release.values))

    def adapt(line: str) -> str:
        return f"{line} -f {values}" if line.startswith("helm ") else line

    with timed("helm install --wait: operator and bundled database, from nothing"):
        follow(section(QUICKSTART, "Install"), reader, release.environment(), seconds=HELM_SECONDS, adapt=adapt)
    await_served(release.node)
    return release


def test_the_quickstart_ends_as_it_says(installed: Release, reader: Path) -> None:
    """Its commands work in its order and print what it shows: an address, a claim that waits and is served, the end."""
    assert len(installed.pods()) == 2
    with timed("the quickstart after its installation, until its namespace is gone"):
        for title in SECTIONS:
            follow(section(QUICKSTART, title), reader, installed.environment(), seconds=90)
    text = QUICKSTART.read_text()
    followed = [section(QUICKSTART, title) for title in ("Install", *SECTIONS)]
    assert [*steps(text)] == [step for part in followed for step in steps(part)], "nothing that is not run"
    assert len(text.splitlines()) <= 120


def test_the_release_tests_itself(installed: Release) -> None:
    """`helm test` claims an address, releases it and leaves nothing behind."""
    with timed("helm test"):
        said = installed.helm("test", RELEASE, "--timeout=120s")
    assert re.search(r"Phase:\s+Succeeded", said), said
    left = installed.node.run_kubectl("get", "ipclaims,ippools,ipnetworks", "-A", "-o", "name").split()
    assert left == []


async def test_the_operators_login_cannot_change_the_ledger(installed: Release, place: Tenant) -> None:
    """What the pods log in with reads the ledger; it cannot change it past the functions, nor become who could."""
    await place.space()
    await place.claim()
    await place.bound("claim")
    served = await asyncpg.connect(installed.database_url())
    try:
        held = "select count(*) from ipam.lease where namespace = $1"
        assert await served.fetchval(held, place.namespace) == 1
        assert await served.fetchval(LOGINS) == ["ipam_service"]
        for refused in ("delete from ipam.lease", "update ipam.lease set addr = addr", "set role ipam"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await served.execute(refused)
        assert await served.fetchval(held, place.namespace) == 1
    finally:
        await served.close()


async def test_uninstalled_and_installed_again_nothing_has_changed(installed: Release, place: Tenant, api: Api) -> None:
    """Uninstalled, the release leaves claims readable, their addresses and the data; installed again, it goes on."""
    await place.space()
    await place.claims(f"c{number}" for number in range(5))
    before = {name: seen["status"] for name, seen in (await place.bound(*(f"c{n}" for n in range(5)))).items()}

    with timed("helm uninstall, until its pods are gone"):
        installed.uninstall()
    after = {name: seen["status"] for name, seen in (await place.all("IPClaim")).items()}
    assert after == before, "claims are as they were"
    assert VOLUME in installed.kubectl("get", "pvc", "-o", "name")
    left = json.loads(installed.kubectl("get", "all", "-o", "json"))["items"]
    assert [item["metadata"]["name"] for item in left] == []
    await place.delete("IPClaim", "c4")  # waits for whoever knows that the address is free again
    assert (await place.get("IPClaim", "c4"))["metadata"]["deletionTimestamp"]
    with pytest.raises(ApiError):
        await api.request("GET", f"apis/apps/v1/namespaces/{NAMESPACE}/deployments/{RELEASE}")

    with timed("helm install again, on the old volume"):
        installed.install()
    await place.gone("IPClaim", "c4")
    await place.claim("c5")
    await place.bound("c5")
    now = await place.all("IPClaim")
    assert {name: now[name]["status"] for name in before if name != "c4"} == {
        name: status for name, status in before.items() if name != "c4"
    }


async def test_removed_for_good_as_the_page_says(installed: Release, api: Api) -> None:
    """In the documented order nothing hangs, and nothing of ours is left: neither kinds nor namespace nor roles."""
    place = await Tenant.create(api)
    await place.space()
    await place.claims(f"c{number}" for number in range(20))
    await place.bound(*(f"c{number}" for number in range(20)))
    with timed("removed for good, in the documented order"):
        follow(section(UNINSTALL, "Remove all of it"), ROOT, installed.environment(), seconds=60)
    kinds = "crd,namespaces,clusterroles,clusterrolebindings,mutatingadmissionpolicies,validatingadmissionpolicies"
    left = installed.node.run_kubectl("get", kinds, "-o", "name").split()
    assert [name for name in left if "ipam" in name] == []
    await api.delete("Namespace", "", place.namespace)

"""From nothing to an address with `helm install`: the chart with the database that it brings."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from hack.image import make_postgres
from hack.node import MACHINES, Node
from hack.places import ROOT
from tests.apiserver.support import Tenant
from tests.e2e import images
from tests.e2e.support import NAMESPACE, RELEASE, Release, Values, merged, timed
from tests.support.cluster import Api, ApiError, Json

PAGE = ROOT / "docs" / "operations" / "uninstall.md"
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
def installed(release: Release) -> Release:
    """The same, installed."""
    with timed("helm install --wait: operator and bundled database, from nothing"):
        release.install()
    return release


async def test_first_try_ends_with_an_address(installed: Release, place: Tenant) -> None:
    """After one `helm install --wait` a network, a pool and a claim end with an address, without another step."""
    assert len(installed.pods()) == 2
    with timed("from the first network to the first address"):
        await place.space()
        await place.claim()
        assert await place.address() == "10.0.0.1"


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
        for command in commands("Remove all of it"):
            done = subprocess.run(
                ["bash", "-euc", command],
                env=installed.environment(), capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    kinds = "crd,namespaces,clusterroles,clusterrolebindings,mutatingadmissionpolicies,validatingadmissionpolicies"
    left = installed.node.run_kubectl("get", kinds, "-o", "name").split()
    assert [name for name in left if "ipam" in name] == []
    await api.delete("Namespace", "", place.namespace)


def commands(section: str) -> list[str]:
    """What a reader of the page on uninstalling types, under this heading."""
    text = PAGE.read_text().split(f"## {section}\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"^\$ (.*(?:\\\n.*)*)$", text, re.MULTILINE)
    assert found
    return found

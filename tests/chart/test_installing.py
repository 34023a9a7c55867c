"""The chart on a real API server: whatever is rendered is accepted, upgraded, kept and found again."""

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hack.acquire import acquire
from hack.cluster import Cluster
from hack.control_plane import ControlPlane
from hack.helm import WHEELS, helm
from hack.install import FINALIZER, GROUP, PLURALS, SPECS
from hack.places import ROOT, temporary
from hack.postgres import LOOPBACK, Postgres
from hack.stack import open_cluster
from ipam_operator.store.migrate import migrate
from tests.chart.support import CHART, PROFILES, STAMPING, Json
from tests.conftest import StartOperator
from tests.support.postgres import execute
from tests.support.walkthrough import Command, follow, section, steps

pytestmark = pytest.mark.apiserver

NAMESPACE = "ipam-system"
NAME = "ipam-operator"
TRIES = 400
"""Requests until a kind must be served or a policy in force: half a second or so; a request takes many milliseconds."""


class Release:
    """The chart as one of the Helms installs it."""

    def __init__(self, cluster: Cluster, major: int) -> None:
        self.cluster, self.major = cluster, major

    def run(self, *arguments: str, values: Json | None = None) -> subprocess.CompletedProcess[str]:
        """One command of Helm."""
        given = [] if values is None else ["-f", "-"]
        command = [
            str(helm(self.major)),
            *arguments,
            "-n",
            NAMESPACE,
            "--kubeconfig",
            str(self.cluster.kubeconfig),
            *given,
        ]
        return subprocess.run(command, input=json.dumps(values or {}), capture_output=True, text=True, check=False)

    def put(self, *arguments: str, **values: object) -> str:
        """Install or upgrade to these values alone; what Helm says."""
        how = ("--install", "--create-namespace", "--reset-values")
        done = self.run("upgrade", NAME, str(CHART), *how, *arguments, values=values)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def remove(self) -> None:
        """Uninstall."""
        done = self.run("uninstall", NAME)
        assert done.returncode == 0, done.stderr

    def get(self, kind: str, name: str) -> Json | None:
        """The object as the server has it."""
        told = self.cluster.run_kubectl("get", kind, name, "-n", NAMESPACE, "-o", "json", "--ignore-not-found")
        found: Json | None = json.loads(told) if told else None
        return found


@pytest.fixture(scope="module")
def bare() -> Iterator[Cluster]:
    """A control plane of our own that does not know our kinds."""
    source = acquire()
    with temporary("chart") as state, open_cluster(source, state) as cluster:
        if not isinstance(cluster, ControlPlane):
            pytest.skip("would uninstall the operator of a cluster that is not ours")
        yield cluster


@pytest.fixture
def applied(bare: Cluster) -> Iterator[Cluster]:
    """It, for what kubectl applies: nothing of manifests/install is left, which Helm would not take for its own."""
    yield bare
    wipe(bare)


def wipe(bare: Cluster) -> None:
    """Take the manifests away: the namespace first, whose end waits long for kinds that go at the same time."""
    gone = ("--ignore-not-found", "--timeout=60s")
    bare.run_kubectl("delete", "namespace", NAMESPACE, *gone)
    bare.run_kubectl("delete", *gone, "-k", ROOT / "manifests/install")


@pytest.fixture(params=sorted(WHEELS))
def release(request: pytest.FixtureRequest, bare: Cluster) -> Iterator[Release]:
    """Nothing is installed before, and only CRDs and namespace are left behind, as they are by design."""
    found = Release(bare, request.param)
    yield found
    found.run("uninstall", NAME)


def as_pod(cluster: Cluster, account: str, namespace: str, directory: Path, prefix: str) -> dict[str, str]:
    """The environment of a script that believes it runs in a pod of this ServiceAccount."""
    token = cluster.run_kubectl("create", "token", account, "-n", namespace)
    shown = cluster.run_kubectl("config", "view", "--minify", "--flatten", "-o", "json")
    about = json.loads(shown)["clusters"][0]["cluster"]
    (directory / "token").write_text(token.strip())
    (directory / "namespace").write_text(namespace)
    (directory / "ca.crt").write_bytes(base64.b64decode(about["certificate-authority-data"]))
    server = urlsplit(about["server"])
    return {
        **os.environ,
        f"{prefix}_ACCOUNT": str(directory),
        "KUBERNETES_SERVICE_HOST": str(server.hostname),
        "KUBERNETES_SERVICE_PORT": str(server.port),
    }


def await_kind(cluster: Cluster, kind: str) -> None:
    """Return once a dry run passes.

    Raises:
        RuntimeError: it never does; with the server's words.
    """
    body = {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": {"name": "probe"}, "spec": SPECS[kind]}
    for left in reversed(range(TRIES)):
        try:
            cluster.run_kubectl("create", "-n", "default", "--dry-run=server", "-f", "-", text=json.dumps(body))
        except RuntimeError:
            if not left:
                raise
        else:
            return


def claim(cluster: Cluster) -> Json:
    """Create the least claim that there is; CRDs that came again are established before they are served."""
    body = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "IPClaim", "metadata": {"name": "one"}, "spec": SPECS["IPClaim"]}
    await_kind(cluster, "IPClaim")
    told = cluster.run_kubectl("create", "-n", "default", "-o", "json", "-f", "-", text=json.dumps(body))
    made: Json = json.loads(told)
    return made


def test_every_profile_is_accepted(release: Release) -> None:
    """The server takes every object of every profile, upgrades to it and back; kinds of other operators aside."""
    for profile in PROFILES:
        if profile == "cloudnativepg":
            continue
        values = dict(PROFILES[profile])
        values.pop("service", None)  # two families, which this cluster does not have
        if "metrics" in values:
            values["metrics"] = {"dashboard": {"enabled": True}}
        assert f"rollout status deployment/{NAME}\n" in release.put(**values)
        release.put()
        # Its pods first: until then the next would meet the old one, whose volume is of another size.
        gone = ("--for=delete", f"statefulset/{NAME}-postgres", "-n", NAMESPACE, "--timeout=60s")
        release.cluster.run_kubectl("wait", *gone)


def test_passwords_of_the_bundled_database_stay(release: Release) -> None:
    """An upgrade keeps the passwords that the first installation drew, one for each login."""
    bundled = {"mode": "bundled"}
    release.put(database=bundled)
    first = passwords(release)
    release.put(database=bundled, replicaCount=1)
    assert passwords(release) == first
    owner, operator = first
    assert owner["password"] != operator["password"]
    for user, said in (("ipam", owner), ("ipam_service", operator)):
        url = urlsplit(said["url"])
        assert (url.username, url.password, url.hostname) == (
            user, said["password"], f"{NAME}-postgres.{NAMESPACE}.svc"
        )  # fmt: skip


def passwords(release: Release) -> list[dict[str, str]]:
    """What stands in the Secrets of the owner and of the operator."""
    found = [release.get("secret", f"{NAME}-{name}") for name in ("database", "database-login")]
    return [
        {name: base64.b64decode(text).decode() for name, text in one["data"].items()}
        for one in found
        if one is not None
    ]


def test_the_webhooks_secrets_stay(release: Release) -> None:
    """An upgrade keeps token and certificate that were made first; without one of them both are made again."""
    recording = {"recordDeletions": {"enabled": True}}

    def said() -> tuple[Json, Json]:
        secret, told = (
            release.get("secret", f"{NAME}-webhook"),
            release.get("validatingwebhookconfiguration", f"deletions.ipclaims.{GROUP}"),
        )
        assert secret
        assert told
        return secret["data"], told["webhooks"][0]["clientConfig"]

    release.put(admission=recording)
    first = said()
    release.put(admission=recording, replicaCount=1)
    assert said() == first
    release.cluster.run_kubectl("delete", "secret", f"{NAME}-webhook", "-n", NAMESPACE)
    release.put(admission=recording)
    (secret, told), (old_secret, old_told) = said(), first
    assert not secret.items() & old_secret.items()
    assert told["caBundle"] == secret["ca.crt"] != old_told["caBundle"]
    assert told["service"]["path"].endswith(base64.b64decode(secret["token"]).decode())


def test_claims_outlive_the_release(release: Release) -> None:
    """Uninstalling leaves CRDs and claims; whoever installs again finds them, and upgrades the CRDs."""
    release.put()
    crds = [f"crd/{plural}.{GROUP}" for plural in PLURALS]
    release.cluster.run_kubectl("wait", "--for=condition=Established", "--timeout=60s", *crds)
    made = claim(release.cluster)
    release.remove()
    assert release.get("deployment", NAME) is None
    assert release.get("clusterrole", NAME) is None
    release.put(commonLabels={"again": "yes"})
    again = release.get("crd", f"ipclaims.{GROUP}")
    assert again
    assert again["metadata"]["labels"]["again"] == "yes"
    told = json.loads(release.cluster.run_kubectl("get", "ipclaims", "one", "-n", "default", "-o", "json"))
    assert told["metadata"]["uid"] == made["metadata"]["uid"]
    policies = "mutatingadmissionpolicybindings,validatingadmissionpolicybindings"
    release.cluster.run_kubectl("delete", policies, "-l", f"app.kubernetes.io/name={NAME}")
    patch = json.dumps({"metadata": {"finalizers": None}})
    release.cluster.run_kubectl("delete", "ipclaims", "one", "-n", "default", "--wait=false")
    if release.cluster.run_kubectl("get", "ipclaims", "one", "-n", "default", "--ignore-not-found"):
        release.cluster.run_kubectl("patch", "ipclaims", "one", "-n", "default", "--type=merge", "-p", patch)


def test_manifests_are_taken_over(release: Release) -> None:
    """Who has applied manifests/install may go on with Helm: it takes over what is there."""
    release.cluster.run_kubectl("apply", "--server-side", "--force-conflicts", "-k", ROOT / "manifests/install")
    release.put("--take-ownership", *(["--server-side=true", "--force-conflicts"] if release.major >= 4 else []))
    found = release.get("clusterrole", NAME)
    assert found
    assert found["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


def test_stamping_comes_by_itself(release: Release) -> None:
    """`auto` finds out what the server can: where it has the policy's kind the policy is installed."""
    can = release.cluster.has_resource("admissionregistration.k8s.io", "mutatingadmissionpolicies")
    release.put()
    assert can == bool(can and release.get("mutatingadmissionpolicy", f"stamp.ipclaims.{GROUP}")), STAMPING


@pytest.fixture
def pool(release: Release) -> str:
    """A pool under all the protection that there is, and alice, whose role allows everything on it."""
    release.put(admission={"protectStatus": True, "protectDeletion": True})
    kubectl = release.cluster.run_kubectl
    kubectl("wait", "--for=condition=Established", "--timeout=60s", *(f"crd/{plural}.{GROUP}" for plural in PLURALS))
    await_kind(release.cluster, "IPPool")
    body = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "IPPool", "metadata": {"name": "used"}, "spec": SPECS["IPPool"]}
    kubectl("create", "-n", "default", "-f", "-", text=json.dumps(body))
    kinds = "ippools.ipam.dotmac.io,ippools.ipam.dotmac.io/status"
    kubectl("create", "role", "alice", "-n", "default", "--verb=get,patch,delete", f"--resource={kinds}")
    # kubectl reads before it patches, which the operator does not and may not.
    both = ("--user=alice", f"--serviceaccount={NAMESPACE}:{NAME}")
    kubectl("create", "rolebinding", "alice", "-n", "default", "--role=alice", *both)
    return "used"


@pytest.fixture
def refused(release: Release) -> Iterator[Callable[..., str]]:
    """Repeats what must come to be refused; the words of the refusal. Alice has no rights any more afterwards."""

    def attempt(*arguments: str) -> str:
        for _ in range(TRIES):
            try:
                release.cluster.run_kubectl(*arguments, "-n", "default", "--as=alice")
            except RuntimeError as refusal:
                return str(refusal)
        raise AssertionError(f"never refused: {arguments}")

    yield attempt
    release.cluster.run_kubectl("delete", "role,rolebinding", "alice", "-n", "default")


def test_protection_holds_whatever_roles_say(release: Release, pool: str, refused: Callable[..., str]) -> None:
    """Only the operator and who may restore write statuses; a pool in use is not deleted, an empty one is."""

    def patch(allocated: str) -> tuple[str, ...]:
        value = json.dumps({"status": {"capacity": {"allocated": allocated}}})
        return ("patch", "ippool", pool, "--subresource=status", "--type=merge", "-p", value)

    operator = f"--as=system:serviceaccount:{NAMESPACE}:{NAME}"
    kubectl = release.cluster.run_kubectl
    assert "written by the operator alone" in refused(*patch("0"))
    kubectl(*patch("3"), "-n", "default", operator)
    said = refused("delete", "ippool", pool, "--dry-run=server")
    assert "allocated (3): delete the claims first" in said
    kubectl(*patch("0"), "-n", "default")  # as the administrator, who may restore
    kubectl("delete", "ippool", pool, "-n", "default", "--as=alice")


def test_cleanup_lets_go_of_what_is_deleted_alone(applied: Cluster, tmp_path: Path) -> None:
    """Without an operator the cleanup job ends deletions that hang, touches nothing else, and says so."""
    kubectl = applied.run_kubectl
    kubectl("apply", "--server-side", "--force-conflicts", "-k", ROOT / "manifests/install/cluster")
    kubectl("wait", "--for=condition=Established", "--timeout=60s", *(f"crd/{plural}.{GROUP}" for plural in PLURALS))
    kubectl("apply", "-k", ROOT / "manifests/cleanup")
    await_kind(applied, "IPPool")
    for name in ("dying", "alive"):
        metadata = {"name": name, "finalizers": ["example.com/mine", FINALIZER]}
        body = {"apiVersion": f"{GROUP}/v1alpha1", "kind": "IPPool", "metadata": metadata, "spec": SPECS["IPPool"]}
        kubectl("create", "-n", "default", "-f", "-", text=json.dumps(body))
    kubectl("delete", "ippool", "dying", "-n", "default", "--wait=false")
    environment = as_pod(applied, "ipam-cleanup", NAMESPACE, tmp_path, "CLEANUP")
    script = [sys.executable, str(ROOT / "manifests/cleanup/cleanup.py")]
    done = subprocess.run(script, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout == "let go of 1 objects that were being deleted; 1 that are not were left alone\n", done.stderr
    listed = json.loads(kubectl("get", "ippools", "-n", "default", "-o", "json"))["items"]
    assert {item["metadata"]["name"]: item["metadata"]["finalizers"] for item in listed} == {
        "dying": ["example.com/mine"],
        "alive": ["example.com/mine", FINALIZER],
    }
    patch = json.dumps({"metadata": {"finalizers": None}})
    for name in ("dying", "alive"):
        kubectl("patch", "ippool", name, "-n", "default", "--type=merge", "-p", patch)
    kubectl("delete", "ippools", "--all", "-n", "default")
    kubectl("delete", "-k", ROOT / "manifests/cleanup", "--wait=false")


def test_manifests_are_whole(applied: Cluster) -> None:
    """`kubectl apply -k manifests/install` and the example of an overlay are accepted as they are."""
    for folder in ("manifests/install", "manifests/examples/overlay"):
        applied.run_kubectl("apply", "--server-side", "--force-conflicts", "-k", ROOT / folder)
    deployment = Release(applied, 4).get("deployment", NAME)
    assert deployment
    assert deployment["spec"]["replicas"] == 3


PAGES = ROOT / "docs" / "operations"
LIKE_PRODUCTION = section(PAGES / "install.md", "For others to rely on")
BY_KUBECTL = section(PAGES / "install.md", "Without Helm")
UPGRADED = section(PAGES / "upgrade.md", "Upgrade")


@pytest.mark.unit
def test_every_command_of_the_pages_is_run() -> None:
    """By the test below, from a laptop (tests/apiserver/test_laptop.py), or by the quickstart (tests/e2e)."""
    first = section(PAGES / "install.md", "For a first try")
    laptop = section(PAGES / "install.md", "From a laptop")
    run = [step for text in (first, LIKE_PRODUCTION, BY_KUBECTL, laptop) for step in steps(text)]
    assert run == [*steps((PAGES / "install.md").read_text())]
    assert [*steps(UPGRADED)] == [*steps((PAGES / "upgrade.md").read_text())]
    quick = [step.line for step in steps((ROOT / "docs/quickstart.md").read_text()) if isinstance(step, Command)]
    *installs, tests = [step.line for step in steps(first) if isinstance(step, Command)]
    assert installs == [line for line in quick if line.startswith("helm ")]
    assert tests == f"helm test {NAME} -n {NAMESPACE}"  # tests/e2e/test_bundled.py: the release tests itself


@pytest.fixture
def owned(postgres: Postgres) -> Iterator[str]:
    """The URL of the page's database, made by the page's statements; their names are ours here."""
    (sql,) = re.findall(r"```sql\n(.*?)```", LIKE_PRODUCTION, re.DOTALL)
    name = f"page_{os.getpid()}"
    asyncio.run(execute(postgres.url, *re.sub(r"\bipam\b", name, sql).strip().split(";\n")))
    yield f"postgresql://{name}:change-me@{LOOPBACK}:{postgres.port}/{name}"
    asyncio.run(execute(postgres.url, f"drop database {name} with (force)", f"drop role {name}"))


def test_pages_are_followed(applied: Cluster, postgres: Postgres, owned: str, tmp_path: Path) -> None:
    """Database, namespace, Secrets, installation, dump, upgrade; then the manifests: each command as it stands there.

    No node runs the pods, so that Helm cannot wait for them; and here is no Prometheus operator, for which the page has
    its words.
    """
    wipe(applied)
    release = Release(applied, 4)
    (without_prometheus,) = re.findall(r"Without the Prometheus operator: `([^`]+)`", LIKE_PRODUCTION)
    tools = (applied.kubectl.parent, helm(4).parent, postgres.bin)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([*map(str, tools), os.environ["PATH"]]),
        "KUBECONFIG": str(applied.kubeconfig),
        "IPAM_OWNER_DATABASE_URL": owned,
    }
    (tmp_path / "charts").symlink_to(ROOT / "charts")
    (tmp_path / "manifests").symlink_to(ROOT / "manifests")
    (tmp_path / "ca.crt").write_text("of the database")

    def adapt(line: str) -> str:
        line = line.replace("postgresql://ipam:change-me@db.example:5432/ipam", owned).removesuffix(" --wait")
        return f"{line} {without_prometheus}" if line.startswith("helm install") else line

    try:
        follow(LIKE_PRODUCTION, tmp_path, environment, seconds=60, adapt=adapt)
        deployment, secret = release.get("deployment", NAME), release.get("secret", "ipam-database")
        assert deployment
        assert secret
        url = base64.b64decode(secret["data"]["url"]).decode()
        assert asyncio.run(migrate(url)), "the owner that the page makes can make the schema"
        follow(UPGRADED, tmp_path, environment, seconds=60, adapt=adapt)
        upgraded = release.get("deployment", NAME)
        assert upgraded
        assert upgraded["spec"]["template"] == deployment["spec"]["template"], "with the same values"
        listed = subprocess.run(["pg_restore", "--list", "before.dump"], cwd=tmp_path, env=environment, check=True,
                                capture_output=True, text=True).stdout  # fmt: skip
        assert "TABLE DATA ipam lease" in listed
    finally:
        release.run("uninstall", NAME)
    follow(BY_KUBECTL, tmp_path, environment, seconds=60)
    assert release.get("deployment", NAME)


def test_helm_test_claims_and_releases(
    control_plane: Cluster, operator: StartOperator, namespace: str, tmp_path: Path
) -> None:
    """What `helm test` runs gets an address and gives it back, with no more permissions than the chart gives it."""
    operator()
    done = subprocess.run(
        [helm(), "template", NAME, CHART, "-n", namespace, "--show-only=templates/test.yaml"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    # Its pod stays pending: there is no node. We run what it would run, as whom it would run.
    control_plane.run_kubectl("apply", "-n", namespace, "-f", "-", text=done.stdout)
    script = json.loads(control_plane.run_kubectl("get", "configmap", f"{NAME}-test", "-n", namespace, "-o", "json"))[
        "data"
    ]["test.py"]
    environment = as_pod(control_plane, f"{NAME}-test", namespace, tmp_path, "TEST")
    environment |= {"TEST_NAME": f"{NAME}-test", "TEST_SECONDS": "30"}
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "claimed 192.0.2.1\n" in told.stdout
    assert told.stdout.endswith("released\n")
    for plural in PLURALS:
        assert control_plane.run_kubectl("get", plural, "-n", namespace, "-o", "name") == ""

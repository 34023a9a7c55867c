"""The operator's image: what it holds, and that it runs as restricted pods run it."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hack import image
from hack.places import ROOT
from hack.processes import end, spawn, tail, wait_ready
from hack.stack import answers
from ipam_operator import __version__
from tests.apiserver.support import Tenant
from tests.image.archive import WORK, Archive, Pod
from tests.support.cluster import Api

pytestmark = pytest.mark.timeout(600)  # builds, the first time

OVER_ITS_BASE_BYTES = 150e6
PIN = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)
NOBODY_MAY_WRITE = 0o022
START_SECONDS = 30.0


def test_what_it_says_of_itself(operator_archive: Archive) -> None:
    """A numeric user, so that runAsNonRoot can be checked; programs without a shell; labels with the version."""
    config = operator_archive.config["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["ipam-operator"]
    assert config["Cmd"] == ["run"]
    assert set(config["ExposedPorts"]) == {"8080/tcp"}
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert labels["version"] == __version__
    assert labels["revision"] == image.revision()
    assert labels["licenses"] == "Apache-2.0"
    assert labels["title"] == "ipam-operator"
    tags = operator_archive.manifest["RepoTags"]
    assert {tag.partition("/")[2] for tag in tags} == {f"{image.REPOSITORY}:{__version__}"}


def test_size(operator_archive: Archive) -> None:
    """What we add to a base is less than 150 MB."""
    _base, *ours = operator_archive.sizes()
    assert 0 < sum(ours) < OVER_ITS_BASE_BYTES, f"{sum(ours) / 1e6:.0f} MB"


def test_it_holds_what_is_locked_and_nothing_else(operator_root: Path) -> None:
    """The locked requirements and ourselves: no installer, and no Kubernetes client that the operator does not use."""
    locked = PIN.findall((ROOT / "hack/requirements-image.txt").read_text())
    found = [path.stem for path in operator_root.glob("app/lib/python*/site-packages/*.dist-info")]
    names = {(name.lower().replace("_", "-"), version) for name, _, version in (row.rpartition("-") for row in found)}
    assert names == {*locked, ("dotmac-ipam-operator", __version__)}


def test_it_adds_a_user_and_the_program_only(operator_archive: Archive) -> None:
    """Beside /app only /etc/passwd and /etc/group differ from the base; all belongs to root, and all may read it."""
    entries = operator_archive.last_layer()
    outside = {entry.name for entry in entries if not entry.name.startswith("app/")}
    assert {name.rstrip("/") for name in outside} == {"app", "etc", "etc/passwd", "etc/group"}
    assert [entry.name for entry in entries if entry.uid or entry.gid] == []
    files = [entry for entry in entries if not entry.issym()]
    assert [entry.name for entry in files if entry.mode & NOBODY_MAY_WRITE or not entry.mode & 0o004] == []


def test_bytecode_is_there(operator_archive: Archive) -> None:
    """A root that is read-only gets no bytecode later: each module of ours has it."""
    names = {entry.name for entry in operator_archive.last_layer()}
    modules = {name for name in names if name.endswith(".py") and "/ipam_operator/" in name}
    compiled = re.compile(r"__pycache__/(\w+)\.cpython-\d+\.pyc$")
    assert modules
    assert modules <= {compiled.sub(r"\1.py", name) for name in names if name.endswith(".pyc")}


def test_two_builds_are_the_same(operator_archive: Archive) -> None:
    """Another build of the same sources on the same base has the same ID, which covers every byte of it."""
    with image.buildah("again") as tool:
        again = tool.build_operator(tool.build_base(image.PYTHON_BASE))
    assert image.image_id(operator_archive.path) == f"sha256:{again}"


def test_version(pod: Pod) -> None:
    """It starts under any user, on a read-only root, without a shell."""
    done = pod.run("ipam-operator", "--version")
    assert (done.returncode, done.stdout.strip()) == (0, __version__), done.stderr


def test_the_pod_is_restricted(pod: Pod) -> None:
    """The tests of this page mean what they say: no shell, nothing to write to, no capability."""
    script = "import os; print(os.getuid()); open('/etc/x', 'w')"
    done = pod.run("/app/bin/python", "-c", script)
    assert done.stdout.strip() == str(pod.user)
    assert "Read-only file system" in done.stderr
    assert "CapEff:\t0000000000000000" in pod.run("cat", "/proc/self/status").stdout
    assert pod.run("sh", "-c", "true").returncode == 127


def test_who_we_are_is_known(pod: Pod) -> None:
    """What asks for our name gets one (release-retained writes it into the history), also where the UID has none."""
    done = pod.run("/app/bin/python", "-c", "import getpass, pathlib; print(getpass.getuser(), pathlib.Path.home())")
    assert done.stdout.strip() == "ipam /nonexistent", done.stderr


def test_a_missing_setting_is_named(pod: Pod) -> None:
    """Started with nothing, it says what it needs and ends."""
    done = pod.run("ipam-operator", "run")
    assert done.returncode == 2
    assert "IPAM_DATABASE_URL" in done.stderr


async def test_it_serves_claims(
    pod: Pod, database_url: str, operator_kubeconfig: Path, api: Api, namespace: str
) -> None:
    """`run` as any user on a read-only root: live, ready, a claim gets its address; SIGTERM ends it with 0."""
    with running(pod, database_url, operator_kubeconfig) as (process, url, log):
        assert answers(f"{url}/livez")
        assert answers(f"{url}/metrics")
        tenant = Tenant(api, namespace)
        await tenant.space("10.9.0.0/24")
        await tenant.claim()
        assert (await tenant.bound("claim"))["claim"]["status"]["address"] == "10.9.0.1"
        assert end(process) == 0, tail(log)
    assert "Traceback" not in tail(log, 1 << 30)


@contextmanager
def running(pod: Pod, database_url: str, kubeconfig: Path) -> Iterator[tuple["subprocess.Popen[bytes]", str, Path]]:
    """The operator in a pod: its process, the URL of its probes, its log."""
    shared = pod.work / "kubeconfig"
    shared.write_bytes(kubeconfig.read_bytes())
    shared.chmod(0o644)  # a token that is good for this test's API server only
    port, log = pod.work / "port", pod.work / "operator.log"
    environment = {
        **pod.environment,
        "IPAM_DATABASE_URL": database_url,
        "KUBECONFIG": f"{WORK}/kubeconfig",
        "IPAM_HEALTH_PORT": "0",
        "IPAM_HEALTH_PORT_FILE": f"{WORK}/port",
        "IPAM_POOL_TIMER_SECONDS": "1",
    }
    process = spawn(pod.command("ipam-operator", "run"), log, environment=environment)
    try:
        ready = lambda: port.exists() and bool(port.read_text()) and answers(f"{base(port)}/readyz")  # noqa: E731
        wait_ready(ready, process, log, START_SECONDS)
        yield process, base(port), log
    finally:
        end(process)


def base(port: Path) -> str:
    """URL of what listens there."""
    return f"http://127.0.0.1:{port.read_text().strip()}"

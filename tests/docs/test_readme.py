"""Every command and manifest of the README, against a real API server, database and operator."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.cluster import Cluster
from hack.install import PLURALS
from hack.samples import NAMESPACE, SAMPLES, SETTINGS, await_samples, expected
from tests.conftest import StartOperator

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^\$ (.*)$", README, re.MULTILINE)
MANIFESTS = re.findall(r"^```yaml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def shell(line: str, cluster: Cluster, text: str = "") -> str:
    """Run one line as a reader would, whose kubectl points at a namespace of the cluster."""
    tools = f"{cluster.kubectl.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=ROOT,
        env={**os.environ, "PATH": tools, "KUBECONFIG": str(cluster.kubeconfig)},
        input=text,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.unit
def test_make_commands_run_in_ci() -> None:
    """`make demo` and `make test` are stages of the CI; every other make target that is named exists."""
    ci = (ROOT / ".ci/run").read_text()
    named = {command for command in COMMANDS if command.startswith("make ")}
    assert named == {"make demo", "make test"}
    assert all(f'"{command}"' in ci for command in named)
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([\w-]+)`", README)) <= targets


@pytest.mark.unit
def test_claims_that_are_shown_are_samples() -> None:
    """Each row of the demo's table is a sample, in its namespace, with the reason that it ends in."""
    samples = {
        (body["metadata"].get("namespace", NAMESPACE), body["metadata"]["name"]): expected(body)
        for path in SAMPLES.glob("*.yaml")
        for body in yaml.safe_load_all(path.read_text())
        if body["kind"] == "IPClaim"
    }
    rows = re.findall(rf"^({NAMESPACE}\S*) +(\S+) .*(?:True|False) +(\w+) +\w+$", README, re.MULTILINE)
    assert len(rows) == README.count(f"\n{NAMESPACE}") > 10
    assert {row[:2]: row[2] for row in rows}.items() <= samples.items()


def wait_for_each_reason(cluster: Cluster) -> None:
    """`kubectl wait` sees every way in which a sample's claim can end."""
    claims: dict[tuple[str, str], list[str]] = {}
    for path in SAMPLES.glob("*.yaml"):
        for body in yaml.safe_load_all(path.read_text()):
            reason = expected(body)
            if body["kind"] == "IPClaim" and reason is not None:
                place = body["metadata"].get("namespace", NAMESPACE)
                claims.setdefault((place, reason), []).append(f"ipc/{body['metadata']['name']}")
    assert len({reason for _, reason in claims}) > 12
    for (place, reason), names in claims.items():
        own = () if place == NAMESPACE else ("-n", place)
        cluster.run_kubectl("wait", f"--for=jsonpath={{.status.reason}}={reason}", "--timeout=60s", *own, *names)


async def test_commands_and_manifests(
    control_plane: Cluster, namespace: str, operator: StartOperator, tmp_path: Path
) -> None:
    """What the README tells people to type works, in its order, and ends as it says; deleted, nothing is left."""
    start: Any = operator  # a dictionary of settings cannot be typed against its other keywords
    start(**SETTINGS)
    reader = control_plane.within(namespace, tmp_path / "kubeconfig")
    for manifest in MANIFESTS:
        shell("kubectl apply -f -", reader, manifest)
    shell("kubectl wait --for=condition=Ready ipclaim/router --timeout=60s", reader)
    assert "10.30.0.10" in shell("kubectl get ipclaim router", reader)
    shell("kubectl delete ipclaim,ippool,ipnetwork --all", reader)
    said: dict[str, str] = {}
    for command in COMMANDS:
        if command.startswith("kubectl ") and command != "kubectl get ipclaims -A":
            said[command] = shell(command, reader)
        if command == "kubectl apply -f manifests/samples/":
            await_samples(reader)
            wait_for_each_reason(reader)
    assert "web-1" in said["kubectl get ipc -A --field-selector status.address=10.20.0.10"]
    assert "poolRef" in said["kubectl explain ipclaim.spec"]
    kinds = f"{','.join(PLURALS)},service"
    assert shell(f"kubectl get {kinds} --ignore-not-found", reader) == ""
    assert f"{NAMESPACE}-" not in shell("kubectl get namespaces", reader)

"""Every command and manifest of the README, against a real API server, database and operator."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from hack.cluster import Cluster
from tests.conftest import StartOperator

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^\$ (.*)$", README, re.MULTILINE)
MANIFESTS = re.findall(r"^```yaml\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def shell(command: str, cluster: Cluster, namespace: str, text: str = "") -> str:
    """Run one line as a reader would, whose kubectl points at this namespace of the cluster."""
    tools = f"{cluster.kubectl.parent}{os.pathsep}{os.environ['PATH']}"
    line = command.replace("kubectl ", f"kubectl --namespace {namespace} ", 1)
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
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make (\w+)`", README)) <= targets


async def test_commands_and_manifests(control_plane: Cluster, namespace: str, operator: StartOperator) -> None:
    """What the README tells people to type works, in its order, and ends as it says."""
    operator()
    for manifest in MANIFESTS:
        shell("kubectl apply -f -", control_plane, namespace, manifest)
    shell("kubectl wait --for=condition=Ready ipclaim/router --timeout=60s", control_plane, namespace)
    assert "10.30.0.10" in shell("kubectl get ipclaim router", control_plane, namespace)
    shell("kubectl delete ipclaim,ippool,ipnetwork --all", control_plane, namespace)
    said = {
        command: shell(command, control_plane, namespace)
        for command in COMMANDS
        if command.startswith("kubectl ") and command != "kubectl get ipclaims -A"
    }
    assert "web-1" in said["kubectl get ipc -A --field-selector status.address=10.20.0.10"]
    assert "poolRef" in said["kubectl explain ipclaim.spec"]

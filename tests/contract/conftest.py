"""A real API server that knows our kinds."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from hack.install import MANIFESTS
from ipam_operator.api.names import GROUP
from tests.contract.server import NAMESPACE, Kubectl, Server


class ControlPlane(Protocol):
    """What these tests need of the fixture in tests/conftest.py."""

    kubeconfig: Path
    kubectl: Path


@pytest.fixture(scope="session")
def kubectl(control_plane: ControlPlane) -> Kubectl:
    """Runs kubectl as cluster administrator and never raises: tests read code and output."""

    def run(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [str(control_plane.kubectl), f"--kubeconfig={control_plane.kubeconfig}", *map(str, arguments)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)

    return run


@pytest.fixture(scope="package")
def installed(kubectl: Kubectl) -> Iterator[None]:
    """The manifests of manifests/install/cluster are applied, our kinds are served, and there is a namespace.

    It goes before other packages start an operator: our objects are none of its business.
    """
    done = kubectl("apply", "--server-side", "--force-conflicts", "-k", MANIFESTS)
    assert done.returncode == 0, done.stderr
    for plural in ("ipnetworks", "ippools", "ipclaims"):
        wait = kubectl("wait", "--for=condition=Established", f"crd/{plural}.{GROUP}", "--timeout=30s")
        assert wait.returncode == 0, wait.stderr
    assert kubectl("create", "namespace", NAMESPACE).returncode == 0
    yield
    kubectl("-n", NAMESPACE, "delete", "ipam", "--all", "--wait=false")  # the living get their finalizer back
    for held in kubectl("-n", NAMESPACE, "get", "ipam", "-o", "name").stdout.split():
        kubectl("-n", NAMESPACE, "patch", held, "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    kubectl("delete", "namespace", NAMESPACE, "--timeout=30s")


@pytest.fixture(scope="package")
def server(control_plane: ControlPlane, installed: None) -> Server:  # noqa: ARG001 - the order matters
    """A client of the API server on which our kinds are installed."""
    return Server(control_plane.kubeconfig)

"""The real Kubernetes API that tests run against."""

import json
from pathlib import Path

import pytest

from hack.cluster import Cluster
from hack.control_plane import ControlPlane
from hack.install import NAMESPACE, SERVICE_ACCOUNT
from tests.support.cluster import Api, ApiError, thing


async def test_outage_keeps_server_and_data(own_control_plane: ControlPlane, api: Api, namespace: str) -> None:
    """An API server that was killed comes back at the same address with the same objects."""
    await api.create(thing("IPNetwork", namespace, "kept", {"cidr": "10.0.0.0/24"}))
    server = own_control_plane.server
    own_control_plane.stop_apiserver(kill=True)
    assert own_control_plane.get("/version") is None
    own_control_plane.start_apiserver()
    assert own_control_plane.server == server
    assert (await api.get("IPNetwork", namespace, "kept"))["spec"]["cidr"] == "10.0.0.0/24"


def test_service_account_kubeconfig(control_plane: Cluster, tmp_path: Path) -> None:
    """The written kubeconfig speaks as the ServiceAccount and as nobody else."""
    path = control_plane.service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT, tmp_path / "kubeconfig")
    told = control_plane.run_kubectl(f"--kubeconfig={path}", "auth", "whoami", "-o", "json")
    assert json.loads(told)["status"]["userInfo"]["username"] == f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}"
    assert path.stat().st_mode & 0o077 == 0


async def test_wait_sees_changes_by_watch(api: Api, namespace: str) -> None:
    """Waiting answers to a change, and times out with the object as last seen."""
    await api.create(thing("IPNetwork", namespace, "n", {"cidr": "10.0.0.0/24"}))
    assert await api.wait_for("IPNetwork", namespace, "n", lambda seen: seen is not None)
    with pytest.raises(TimeoutError, match=r"10\.0\.0\.0/24"):
        await api.wait_for("IPNetwork", namespace, "n", lambda seen: seen is None, seconds=0.3)
    await api.delete("IPNetwork", namespace, "n")
    await api.wait_gone("IPNetwork", namespace, "n")


async def test_sweep_removes_what_finalizers_hold(api: Api, namespace: str) -> None:
    """Without an operator, claims that nobody will release are removed all the same."""
    await api.create(thing("IPClaim", namespace, "c", {"poolRef": {"name": "p"}}, finalizers=["example.com/hold"]))
    await api.sweep(namespace)
    with pytest.raises(ApiError) as caught:
        await api.get("IPClaim", namespace, "c")
    assert caught.value.code == 404


async def test_requests_are_counted_by_labels(api: Api, namespace: str) -> None:
    """The API server's own counter tells what was asked of it."""
    before = await api.requests(resource="ipnetworks", verb="POST")
    await api.create(thing("IPNetwork", namespace, "n", {"cidr": "10.0.0.0/24"}))
    assert await api.requests(resource="ipnetworks", verb="POST") == before + 1

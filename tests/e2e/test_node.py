"""The cluster that everything else here runs on."""

import json
import socket

import pytest

from hack.node import ADDRESS, MACHINES, Machine, Node

CONTAINER = {"name": "pause", "image": "localhost/pause:dev", "imagePullPolicy": "Never"}


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_pods_run_on_each_node(node: Node, machine: Machine) -> None:
    """A pod runs on each node, with an address of that node's."""
    name = machine.name
    spec = {"nodeName": name, "containers": [CONTAINER]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"on-{name}"}, "spec": spec}
    node.run_kubectl("apply", "-f", "-", text=json.dumps(pod))
    try:
        node.run_kubectl("wait", "--for=condition=Ready", "--timeout=30s", f"pod/on-{name}")
        address = node.run_kubectl("get", "pod", f"on-{name}", "-o", "jsonpath={.status.podIP}")
        assert address.startswith(machine.address.removesuffix("1"))
    finally:
        node.run_kubectl("delete", "pod", f"on-{name}", "--grace-period=1")


@pytest.mark.usefixtures("node")
def test_services_answer_by_address_and_name() -> None:
    """The API's own service answers at its address, and its name leads there; foreign names do not exist."""
    with socket.create_connection(("10.0.0.1", 443), timeout=5):
        pass
    assert look_up("kubernetes.default.svc.cluster.local") == 0
    assert look_up("registry.example.com") == 3, "NXDOMAIN"


def look_up(name: str) -> int:
    """The response code of DNS for an address of this name."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(b"\x12\x34\x01\x00\0\1\0\0\0\0\0\0" + question, (ADDRESS, 53))
        return client.recv(512)[3] & 0xF

"""What is installed, as users of kubectl meet it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.samples import SAMPLES
from tests.contract.server import NAMESPACE, Kubectl, Server

pytestmark = [pytest.mark.apiserver, pytest.mark.usefixtures("installed")]

ALICE = "--as=alice"


def test_claims_are_found_by_field(server: Server) -> None:
    """`--field-selector` answers who has an address, who waits for which reason, and who uses a pool."""
    body = server.made("IPClaim", "who", {"poolRef": {"name": "whose"}})
    address = {"address": "10.77.0.5", "addressIPv6": "2001:db8:77::5", "pool": "whose", "reason": "Allocated"}
    server.replace_status({**body, "status": address})
    called = [body["metadata"]["name"]]
    for fields in (
        "status.address=10.77.0.5",
        "status.addressIPv6=2001:db8:77::5",
        "status.pool=whose",
        "status.reason=Allocated,spec.poolRef.name=whose",
    ):
        assert called == server.select("ipclaims", fields)


EXPLAINED = [
    ("ipnet", "pools hand out"), ("ipnet.spec.cidr", "without host bits"), ("ipnet.spec.reserved", "no pool"),
    ("ipnet.status.capacity.usable", "254 in an IPv4 /24"), ("ippool.spec.coolDown", "720h"),
    ("ippool.status.state", "Exhausted"), ("ipc", "until the claim is deleted"), ("ipc.spec.count", "1 to 1024"),
    ("ipc.status.conditions.reason", "PoolExhausted"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "words"), EXPLAINED)
def test_explain_is_the_manual(kubectl: Kubectl, path: str, words: str) -> None:
    """`kubectl explain` shows what a field means, by its short name."""
    shown = kubectl("explain", path)
    assert shown.returncode == 0, shown.stderr
    assert words in " ".join(shown.stdout.split())


@pytest.mark.parametrize(
    ("kind", "spec", "columns"),
    [
        ("IPNetwork", {"cidr": "10.9.0.0/24"}, "NAME CIDR TYPE USED % READY REASON AGE"),
        ("IPPool", {"networkRef": {"name": "a"}}, "NAME NETWORK TYPE USED % FREE WAITING STATE AGE"),
        ("IPClaim", {"poolRef": {"name": "a"}}, "NAME ADDRESS POOL READY REASON AGE"),
    ],
)
def test_columns(kubectl: Kubectl, server: Server, kind: str, spec: dict[str, Any], columns: str) -> None:
    """`kubectl get` shows what a person asks first."""
    server.made(kind, "column", spec)
    shown = kubectl("-n", NAMESPACE, "get", kind)
    assert columns.split() == shown.stdout.splitlines()[0].split()


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("[0-9]*.yaml")), ids=lambda path: path.stem)
def test_sample_is_accepted_alone(kubectl: Kubectl, path: Path) -> None:
    """Each sample is accepted without the others, so the order of applying does not matter."""
    for body in yaml.safe_load_all(path.read_text()):
        if body["kind"] == "Namespace":  # a dry run makes none for those that follow
            kubectl("create", "namespace", body["metadata"]["name"])
        namespace = body["metadata"].get("namespace", NAMESPACE)
        place = () if body["kind"] == "Namespace" else ("-n", namespace)
        done = kubectl(*place, "apply", "--dry-run=server", "-f", "-", stdin=json.dumps(body))
        assert done.returncode == 0, done.stderr


def test_namespace_users_need_no_extra_role(kubectl: Kubectl) -> None:
    """Who may edit a namespace may use our kinds in it, may read a status, and may not write one."""
    kubectl("-n", NAMESPACE, "create", "rolebinding", "alice", "--clusterrole=edit", "--user=alice")

    def can(verb: str, what: str, *more: str) -> bool:
        return kubectl("-n", NAMESPACE, ALICE, "auth", "can-i", verb, what, *more).stdout.strip() == "yes"

    # Aggregated roles are filled by a controller, within moments of their coming.
    assert any(can("create", "ipclaims.ipam.dotmac.io") for _ in range(100))
    assert can("get", "ipclaims.ipam.dotmac.io", "--subresource=status")
    assert not can("patch", "ipclaims.ipam.dotmac.io", "--subresource=status")


def test_operator_may_do_its_work_and_no_more(kubectl: Kubectl) -> None:
    """The operator's role allows what its program does, and neither specs of others nor secrets."""
    operator = "--as=system:serviceaccount:ipam-system:ipam-operator"

    def can(*what: str) -> bool:
        return kubectl(operator, "auth", "can-i", *what).stdout.strip() == "yes"

    for kind in ("ipnetworks", "ippools", "ipclaims"):
        assert all(can(verb, f"{kind}.ipam.dotmac.io", "-A") for verb in ("list", "watch", "patch"))
        assert can("patch", f"{kind}.ipam.dotmac.io", "--subresource=status", "-A")
        assert not any(can(verb, f"{kind}.ipam.dotmac.io", "-A") for verb in ("create", "delete"))
    assert can("create", "events", "-A")
    assert can("get", "namespaces/kube-system")
    assert not can("get", "namespaces/default")
    assert not can("list", "secrets", "-A")

"""The optional admission policies: finalizer and actor are there from birth, limits are the administrators'."""

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from tests.contract.cases import ROOT
from tests.contract.server import NAMESPACE, Kubectl, Server, thing

pytestmark = pytest.mark.apiserver

ADMISSION = ROOT / "manifests/install/admission"
TRIES = 400
"""Requests until a policy must be in force: that takes half a second or so, and a request many milliseconds."""
STAMPED = {"requested-by": "alice", "changed-by": "alice"}
SPEC = {"poolRef": {"name": "a"}}
Create = Callable[..., subprocess.CompletedProcess[str]]


def allow(
    kubectl: Kubectl, role: str, group: str, resource: str, verbs: list[str], *users: str, everywhere: bool = False
) -> None:
    """Let these users do that in our namespace: elsewhere other tests' users of these names may do nothing."""
    rbac = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [group], "resources": [resource], "verbs": verbs}]
    ref = {"apiGroup": rbac, "kind": "ClusterRole", "name": role}
    subjects = [{"apiGroup": rbac, "kind": "User", "name": user} for user in users]
    bodies: list[dict[str, Any]] = [
        {"kind": "ClusterRole", "rules": rules},
        {"kind": "ClusterRoleBinding" if everywhere else "RoleBinding", "roleRef": ref, "subjects": subjects},
    ]
    for body in bodies:
        body |= {"apiVersion": f"{rbac}/v1", "metadata": {"name": role}}
        done = kubectl("-n", NAMESPACE, "apply", "--server-side", "-f", "-", stdin=yaml.safe_dump(body))
        assert done.returncode == 0, done.stderr


@pytest.fixture
def create(kubectl: Kubectl) -> Create:
    """Creates a claim as alice, or as somebody else, with the annotations given."""
    allow(kubectl, "edits-claims", "ipam.dotmac.io", "ipclaims", ["get", "create", "patch"], "alice", "bob", "velero")
    allow(kubectl, "restores-claims", "ipam.dotmac.io", "ipclaims", ["restore"], "velero")

    def run(called: str, *how: str, user: str = "alice", **annotations: str) -> subprocess.CompletedProcess[str]:
        body = thing("IPClaim", called, SPEC)
        body["metadata"]["annotations"] = {
            f"ipam.dotmac.io/{key.replace('_', '-')}": value for key, value in annotations.items()
        }
        who = ("-n", NAMESPACE, f"--as={user}")
        return kubectl(*who, "create", *how, "-o", "json", "-f", "-", stdin=yaml.safe_dump(body))

    return run


def stamping(create: Create) -> bool:
    """Whether claims are stamped now. The API server takes its time to notice a policy."""
    done = create("probe", "--dry-run=server")
    return done.returncode == 0 and "finalizers" in json.loads(done.stdout)["metadata"]


@pytest.fixture
def policies(kubectl: Kubectl, installed: None, create: Create) -> Iterator[None]:  # noqa: ARG001 - kinds first
    """The policies in force, afterwards too, whatever the test took away: that is how clusters are installed."""

    def enforce() -> None:
        done = kubectl("apply", "--server-side", "--force-conflicts", "-k", ADMISSION)
        assert done.returncode == 0, done.stderr
        assert any(stamping(create) for _ in range(TRIES))

    enforce()
    yield
    enforce()


def stamps(meta: dict[str, Any]) -> dict[str, str]:
    """The annotations of a claim, which must be held by our finalizer."""
    assert meta["finalizers"] == ["ipam.dotmac.io/release"]
    return {key.removeprefix("ipam.dotmac.io/"): value for key, value in meta["annotations"].items()}


@pytest.mark.usefixtures("policies")
def test_claims_are_born_stamped(create: Create) -> None:
    """A claim is born with our finalizer and the name of who asked, whatever its manifest says."""
    done = create("born", requested_by="mallory")
    assert stamps(json.loads(done.stdout)["metadata"]) == STAMPED


@pytest.mark.usefixtures("policies")
def test_who_changed_is_told(kubectl: Kubectl, create: Create) -> None:
    """An edit of the spec names its author; one of the metadata does not, and stamps cannot be forged."""
    create("edited")

    def edit(patch: dict[str, Any]) -> dict[str, str]:
        who = ("-n", NAMESPACE, "--as=bob")
        done = kubectl(*who, "patch", "ipc", "edited", "--type=merge", "-o", "json", "-p", json.dumps(patch))
        assert done.returncode == 0, done.stderr
        return stamps(json.loads(done.stdout)["metadata"])

    assert edit({"metadata": {"labels": {"a": "b"}}}) == STAMPED
    by_bob = {**STAMPED, "changed-by": "bob"}
    assert edit({"spec": {"hostname": "a.example"}}) == by_bob
    assert edit({"metadata": {"annotations": {"ipam.dotmac.io/requested-by": "mallory"}}}) == by_bob
    assert edit({"metadata": {"annotations": {"ipam.dotmac.io/changed-by": "mallory"}}}) == by_bob
    assert edit({"metadata": {"annotations": None, "finalizers": None}}) == by_bob


@pytest.mark.usefixtures("policies")
def test_what_is_restored_keeps_its_names(create: Create) -> None:
    """A backup tool with the permission brings them back; without any it is stamped as all are."""

    def made(called: str, **annotations: str) -> dict[str, str]:
        done = create(called, user="velero", **annotations)
        assert done.returncode == 0, done.stderr
        return stamps(json.loads(done.stdout)["metadata"])

    assert made("restored", requested_by="carol", changed_by="dora") == {"requested-by": "carol", "changed-by": "dora"}
    assert made("older", requested_by="carol") == {"requested-by": "carol", "changed-by": "carol"}
    assert made("new") == {"requested-by": "velero", "changed-by": "velero"}


@pytest.mark.usefixtures("policies")
def test_dying_claims_let_go(kubectl: Kubectl, create: Create) -> None:
    """The finalizer of a deleted claim can be removed, and then the claim is gone."""
    create("dying")
    kubectl("-n", NAMESPACE, "delete", "ipc", "dying", "--wait=false")
    done = kubectl("-n", NAMESPACE, "patch", "ipc", "dying", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    assert done.returncode == 0, done.stderr
    assert "NotFound" in kubectl("-n", NAMESPACE, "get", "ipc", "dying").stderr


@pytest.mark.usefixtures("policies")
def test_each_half_bears_the_lack_of_the_other(kubectl: Kubectl, server: Server, create: Create) -> None:
    """Without stamping, forgery is refused and plain claims pass; those can be edited later, as of unknown origin."""
    kubectl("delete", "-f", ADMISSION / "stamp-claims.yaml")
    assert any(not stamping(create) for _ in range(TRIES))
    for forged in ({"requested_by": "mallory"}, {"changed_by": "mallory"}):
        assert "must stay as the cluster set it: leave it out" in create("forged", **forged).stderr
    older = server.made("IPClaim", "older", SPEC)
    assert "annotations" not in older["metadata"]
    kubectl("apply", "--server-side", "-f", ADMISSION / "stamp-claims.yaml")
    assert any(stamping(create) for _ in range(TRIES))
    older["metadata"]["labels"] = {"touched": "yes"}
    assert stamps(server.replace(older)["metadata"]) == {"requested-by": "unknown", "changed-by": "unknown"}


LIMITS = "ipam.dotmac.io/rate-limits"


@pytest.fixture
def limits_administrator(kubectl: Kubectl) -> Iterator[str]:
    """Dora, while this test runs: the right is the whole cluster's."""
    allow(kubectl, "sets-limits", "ipam.dotmac.io", "ratelimits", ["set"], "dora", everywhere=True)
    yield "dora"
    done = kubectl("delete", "clusterrole,clusterrolebinding", "sets-limits")
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("policies")
def test_limits_of_a_namespace_are_the_administrators(kubectl: Kubectl, limits_administrator: str) -> None:
    """Who may edit Namespaces may not say, change or take away their limits, unless it may `set` those, too."""
    allow(kubectl, "edits-namespaces", "", "namespaces", ["get", "patch"], "carol", limits_administrator)

    def annotate(user: str, *what: str) -> subprocess.CompletedProcess[str]:
        return kubectl(f"--as={user}", "annotate", "--overwrite", "namespace", NAMESPACE, *what)

    assert any("set by cluster administrators" in annotate("carol", f"{LIMITS}=bulk=9/9").stderr for _ in range(TRIES))
    assert annotate("carol", "colour=red").returncode == 0
    done = annotate(limits_administrator, f"{LIMITS}=allocate=1/1")
    assert done.returncode == 0, done.stderr
    assert annotate("carol", "colour=blue").returncode == 0
    for change in (f"{LIMITS}=allocate=9/9", f"{LIMITS}-"):
        assert "set by cluster administrators" in annotate("carol", change).stderr
    assert kubectl("annotate", "namespace", NAMESPACE, f"{LIMITS}-").returncode == 0

"""The operator's own ServiceAccount may do what its chart says and nothing beside it: a long list is tried."""

from pathlib import Path

import pytest

from hack.node import Node
from tests.apiserver.support import Tenant
from tests.e2e.support import NAMESPACE, RELEASE, Release, Values
from tests.support.cluster import Api, ApiError, thing

OURS = "ipam.dotmac.io"
USER = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"
WRITES = ("create", "update", "patch", "delete", "deletecollection")
READS = ("get", "list", "watch")
RBAC, ADMISSION, CRD = "rbac.authorization.k8s.io", "admissionregistration.k8s.io", "apiextensions.k8s.io"
ALLOWED = {
    *((verb, OURS, kind, "") for verb in (*READS, "patch") for kind in ("ipnetworks", "ippools", "ipclaims")),
    *(("patch", OURS, f"{kind}/status", "") for kind in ("ipnetworks", "ippools", "ipclaims")),
    *((verb, CRD, "customresourcedefinitions", "") for verb in ("list", "watch")),
    *((verb, "", "namespaces", "") for verb in ("list", "watch")),
    ("get", "", "namespaces", "kube-system"),
    ("create", "", "events", ""),
    # The policies that vouch for what a claim says of who asked for it: whether they are there.
    ("get", ADMISSION, "validatingadmissionpolicies", "stamps.ipclaims.ipam.dotmac.io"),
    ("get", ADMISSION, "validatingadmissionpolicybindings", "stamps.ipclaims.ipam.dotmac.io"),
}
"""Verb, API group, resource with its subresource, name."""
DENIED = {
    ("*", "*", "*", ""),
    # What it serves is its users': it answers, and never asks, changes what was asked, or takes away.
    *((verb, OURS, kind, "") for verb in ("create", "update", "delete", "deletecollection", "restore")
      for kind in ("ipnetworks", "ippools", "ipclaims")),
    *((verb, OURS, f"{kind}/status", "") for verb in ("get", "update")
      for kind in ("ipnetworks", "ippools", "ipclaims")),
    # Secrets above all, those of its own namespace included.
    *((verb, "", "secrets", "") for verb in (*READS, *WRITES)),
    *((verb, "", "configmaps", "") for verb in (*READS, *WRITES)),
    # Programs: a pod of one's own is every right of its node.
    *((verb, "", "pods", "") for verb in (*READS, *WRITES)),
    *((verb, "", f"pods/{part}", "") for verb in ("get", "create")
      for part in ("exec", "attach", "portforward", "log", "eviction", "ephemeralcontainers")),
    *((verb, "apps", kind, "") for verb in (*READS, *WRITES)
      for kind in ("deployments", "statefulsets", "daemonsets", "replicasets")),
    *((verb, "batch", kind, "") for verb in (*READS, *WRITES) for kind in ("jobs", "cronjobs")),
    *((verb, "", kind, "") for verb in (*READS, *WRITES)
      for kind in ("nodes", "persistentvolumes", "persistentvolumeclaims", "services", "endpoints")),
    *((verb, "", f"nodes/{part}", "") for verb in ("get", "create") for part in ("proxy", "stats", "log")),
    # More rights than these.
    *((verb, "", "serviceaccounts", "") for verb in (*READS, *WRITES)),
    ("create", "", "serviceaccounts/token", ""),
    *((verb, RBAC, kind, "") for verb in (*READS, *WRITES, "bind", "escalate")
      for kind in ("roles", "rolebindings", "clusterroles", "clusterrolebindings")),
    *(("impersonate", "", kind, "") for kind in ("users", "groups", "serviceaccounts")),
    *((verb, "certificates.k8s.io", "certificatesigningrequests", "") for verb in (*READS, *WRITES)),
    ("update", "certificates.k8s.io", "certificatesigningrequests/approval", ""),
    ("create", "authentication.k8s.io", "tokenreviews", ""),
    ("create", "authorization.k8s.io", "subjectaccessreviews", ""),
    # The rules by which it is held itself.
    *((verb, CRD, "customresourcedefinitions", "") for verb in ("get", *WRITES)),
    *((verb, ADMISSION, kind, "") for verb in (*READS, *WRITES)
      for kind in ("mutatingadmissionpolicies", "mutatingadmissionpolicybindings", "validatingadmissionpolicies",
                   "validatingadmissionpolicybindings", "mutatingwebhookconfigurations",
                   "validatingwebhookconfigurations")),
    # Namespaces: their names and labels are read, nothing else.
    ("get", "", "namespaces", "default"),
    *((verb, "", "namespaces", "") for verb in WRITES),
    *((verb, "", "events", "") for verb in (*READS, "update", "patch", "delete", "deletecollection")),
    # Leadership is a row in PostgreSQL.
    *((verb, "coordination.k8s.io", "leases", "") for verb in (*READS, *WRITES)),
}  # fmt: skip
PATHS = ("/metrics", "/logs", "/debug/pprof", "/configz")


@pytest.fixture(scope="module")
def installed(release: Release) -> Release:
    """The chart as its defaults say."""
    release.install()
    return release


@pytest.fixture(scope="module")
def account(installed: Release, node: Node, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kubeconfig of the ServiceAccount of the running pods."""
    used = {pod["spec"]["serviceAccountName"] for pod in installed.pods()}
    assert used == {RELEASE}
    return node.service_account_kubeconfig(NAMESPACE, RELEASE, tmp_path_factory.mktemp("account") / "kubeconfig")


async def may(api: Api, verb: str, group: str, resource: str, name: str = "") -> bool:
    """Whether the API server would let the ServiceAccount do this in any namespace."""
    whole, _, part = resource.partition("/")
    asked = {"verb": verb, "group": group, "resource": whole, "subresource": part, "name": name}
    return await review(api, {"resourceAttributes": asked})


async def review(api: Api, spec: Values) -> bool:
    """What the API server says about the ServiceAccount."""
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}", "system:authenticated"]
    answer = await api.request(
        "POST",
        "apis/authorization.k8s.io/v1/subjectaccessreviews",
        body={
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": USER, "groups": groups, **spec},
        },
    )
    return bool(answer["status"]["allowed"])


@pytest.mark.usefixtures("installed")
async def test_everything_on_the_list_is_denied(api: Api) -> None:
    """Each right of a long list is denied in every namespace, and each that it needs is given: so the asking works."""
    assert {right for right in ALLOWED if not await may(api, *right)} == set()
    assert {right for right in DENIED if await may(api, *right)} == set()
    told = [path for path in PATHS if await review(api, {"nonResourceAttributes": {"verb": "get", "path": path}})]
    assert told == []


async def test_its_rules_are_those_and_no_others(account: Path, node: Node, tmp_path: Path) -> None:
    """What the API server tells the account of its own rights is exactly what it needs and what every account may."""
    other = node.service_account_kubeconfig(NAMESPACE, "default", tmp_path / "kubeconfig")
    async with Api(account) as operator, Api(other) as anybody:
        assert await rights(operator) - await rights(anybody) == ALLOWED


async def rights(client: Api) -> set[tuple[str, str, str, str]]:
    """All that a client may in the release's namespace, without what every client may about itself."""
    answer = await client.request(
        "POST",
        "apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
        body={
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": NAMESPACE},
        },
    )
    return {
        (verb, group, resource, name)
        for rule in answer["status"]["resourceRules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
        if not resource.startswith("selfsubject")
    }


async def test_what_is_denied_does_fail(account: Path, place: Tenant, api: Api) -> None:
    """With the pods' own token the worst of it is tried, and refused: secrets, pods, claims, rights, other names."""
    await place.space()
    await place.claim()
    await place.bound("claim")
    here = place.namespace
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "image": "c"}]},
    }
    binding = {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "me"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": RELEASE, "namespace": NAMESPACE}],
    }
    token = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
    attempts: list[tuple[str, str, object]] = [
        ("GET", f"api/v1/namespaces/{NAMESPACE}/secrets", None),
        ("GET", f"api/v1/namespaces/{NAMESPACE}/secrets/ipam-database", None),
        ("GET", "api/v1/secrets", None),
        ("POST", f"api/v1/namespaces/{NAMESPACE}/pods", pod),
        ("GET", f"api/v1/namespaces/{NAMESPACE}/pods", None),
        ("DELETE", f"apis/apps/v1/namespaces/{NAMESPACE}/deployments/{RELEASE}", None),
        ("POST", api.path("IPClaim", here), thing("IPClaim", here, "own", {"poolRef": {"name": "pool"}})),
        ("DELETE", api.path("IPClaim", here, "claim"), None),
        ("DELETE", api.path("IPClaim", here), None),
        ("DELETE", api.path("IPPool", here, "pool"), None),
        ("POST", f"apis/{RBAC}/v1/clusterrolebindings", binding),
        ("POST", "api/v1/namespaces/kube-system/serviceaccounts/default/token", token),
        ("DELETE", f"apis/{CRD}/v1/customresourcedefinitions/ipclaims.{OURS}", None),
        ("DELETE", f"api/v1/namespaces/{here}", None),
        ("GET", "api/v1/nodes", None),
    ]
    async with Api(account) as operator:
        assert await operator.list("IPClaim", here), "it is let in, and reads what it serves"
        for method, path, body in attempts:
            with pytest.raises(ApiError) as refusal:
                await operator.request(method, path, body=body)
            assert refusal.value.code == 403, (method, path)
        with pytest.raises(ApiError) as refusal:
            await operator.request("GET", "api/v1/namespaces", as_user="system:admin")
        assert refusal.value.code == 403
    assert await place.bound("claim"), "nothing of it has happened"

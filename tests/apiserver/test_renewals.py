"""Leases that renew themselves while a ConfigMap exists."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import pytest_asyncio

from tests.apiserver.support import Ledger, Tenant, eventually
from tests.support.cluster import Api, Json, condition

OPERATOR = {
    "IPAM_RENEW_KINDS": "v1/ConfigMap,v1/Secret", "IPAM_RENEW_SECONDS": "0.5", "IPAM_RESYNC_SECONDS": "3600",
}  # fmt: skip
ROLES = "apis/rbac.authorization.k8s.io/v1/clusterroles"
BINDINGS = "apis/rbac.authorization.k8s.io/v1/clusterrolebindings"


@pytest_asyncio.fixture
async def may_list_config_maps(api: Api) -> AsyncIterator[None]:
    """As docs/guides/auto-renew.md has it, for ConfigMaps, and known to the authorizer; nobody may list Secrets."""
    name = "ipam-operator-renewals"
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    subject = {"kind": "ServiceAccount", "name": "ipam-operator", "namespace": "ipam-system"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    await api.request("POST", ROLES, body={"metadata": {"name": name}, "rules": rules})
    await api.request("POST", BINDINGS, body={"metadata": {"name": name}, "roleRef": role, "subjects": [subject]})
    await eventually(partial(may_look, api), "the operator may list ConfigMaps: unseen all would be renewed")
    yield
    await api.request("DELETE", f"{BINDINGS}/{name}")
    await api.request("DELETE", f"{ROLES}/{name}")


async def may_look(api: Api) -> bool:
    """Whether the operator may list ConfigMaps by now."""
    asked = {"verb": "list", "resource": "configmaps"}
    spec = {"user": "system:serviceaccount:ipam-system:ipam-operator", "resourceAttributes": asked}
    review = await api.request("POST", "apis/authorization.k8s.io/v1/subjectaccessreviews", body={"spec": spec})
    return bool(review["status"]["allowed"])


async def config_map(tenant: Tenant, name: str) -> None:
    await tenant.api.request(
        "POST", f"api/v1/namespaces/{tenant.namespace}/configmaps", body={"metadata": {"name": name}}
    )


async def held(tenant: Tenant, name: str, kind: str = "ConfigMap") -> Json:
    """A claim of an hour for an object of the same name."""
    ref = {"apiVersion": "v1", "kind": kind, "name": name}
    await tenant.claim(name, lease="1h", autoRenew=True, resourceRef=ref)
    return (await tenant.bound(name))[name]


async def ran(ledger: Ledger, minutes: int) -> None:
    """Let so much of all terms be over: no resync puts back meanwhile the ends that claims show."""
    await ledger.execute(
        f"update ipam.term set since = since - interval '{minutes} minutes',"
        f" expires_at = expires_at - interval '{minutes} minutes'"
    )


async def left(ledger: Ledger) -> dict[str, float]:
    """Minutes that each claim's lease has left."""
    found: Any = await ledger.value(
        "select json_object_agg(l.name, extract(epoch from t.expires_at - now()) / 60)::text"
        " from ipam.term t join ipam.lease l on l.claim_uid = t.claim_uid where l.released_at is null"
    )
    return {name: float(minutes) for name, minutes in json.loads(found).items()}


@pytest.mark.usefixtures("may_list_config_maps")
async def test_for_as_long_as_it_exists(tenant: Tenant, ledger: Ledger) -> None:
    """Renewed while it is there, also in status; not any more when it was missed twice; again when it is back."""
    await tenant.space()
    await config_map(tenant, "here")
    here = await held(tenant, "here")
    await held(tenant, "gone")

    async def renewed() -> bool:
        return (await left(ledger))["here"] > 55

    await asyncio.sleep(1.1)  # ends are shown in whole seconds
    await ran(ledger, 40)
    await eventually(renewed, "the lease has begun anew")

    async def told() -> bool:
        return bool((await tenant.get("IPClaim", "here"))["status"]["expiresAt"] != here["status"]["expiresAt"])

    await eventually(told, "status has the new end")
    await tenant.events("gone", "ResourceGone")
    assert (await left(ledger))["gone"] < 25
    await config_map(tenant, "gone")

    async def both() -> bool:
        return min((await left(ledger)).values()) > 55

    await eventually(both, "what is there again is renewed again")


async def test_what_cannot_be_seen_is_not_gone(tenant: Tenant, ledger: Ledger) -> None:
    """Without the role the API server says 403, and the lease is renewed, however often one looks."""
    await tenant.space()
    await held(tenant, "web", "Secret")

    async def renewed() -> bool:
        return (await left(ledger))["web"] > 55

    for _ in range(3):
        await ran(ledger, 40)
        await eventually(renewed, "renewed unseen")


async def test_kinds_that_nobody_looks_at(tenant: Tenant) -> None:
    """Refused in words; a claim that does not say for what, too."""
    await tenant.space()
    pod = {"apiVersion": "v1", "kind": "Pod", "name": "web"}
    await tenant.claim("pod", lease="1h", autoRenew=True, resourceRef=pod)
    refused = condition(await tenant.reason("IPClaim", "pod", "InvalidSpec"), "Ready")
    assert refused is not None
    assert "looks at v1/ConfigMap, v1/Secret only, not at v1/Pod" in refused["message"]
    await tenant.edit("IPClaim", "pod", autoRenew=False)
    await tenant.bound("pod")
    await tenant.claim("nothing", lease="1h", autoRenew=True)
    refused = condition(await tenant.reason("IPClaim", "nothing", "InvalidSpec"), "Ready")
    assert refused is not None
    assert "needs spec.resourceRef" in refused["message"]

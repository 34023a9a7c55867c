"""Tenants as they come: users that may do what ipam-view and ipam-edit let them in their namespace, and no more."""

import json
import re
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from hack.cluster import Cluster
from tests.apiserver.support import Tenant, eventually
from tests.support.cluster import Api, ApiError, Json

USER: Final = "someone"
ROLES: Final = ("ipam-view", "ipam-edit")
RBAC: Final = "rbac.authorization.k8s.io"
WAITING: Final = ("TenantIsolation", "PoolNotFound", "NetworkNotFound")
"""Reasons of those who may not have what they ask for, or whom nobody tells whether it is there."""


class Person(Tenant):
    """A user, whose own `api` can do what the user can. `kubeconfig` is for programs that act as the user."""

    def __init__(self, api: Api, namespace: str, kubeconfig: Path, kubectl: Path) -> None:
        super().__init__(api, namespace)
        self.kubeconfig, self._kubectl = kubeconfig, kubectl

    @property
    def name(self) -> str:
        """As the API server knows the user."""
        return f"system:serviceaccount:{self.namespace}:{USER}"

    def kubectl(self, *arguments: str, stdin: Any = None) -> subprocess.CompletedProcess[str]:
        """Run it as the user."""
        command = [str(self._kubectl), f"--kubeconfig={self.kubeconfig}", *arguments]
        text = None if stdin is None else json.dumps(stdin)
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


@asynccontextmanager
async def person(admin: Api, cluster: Cluster, directory: Path) -> AsyncIterator[Person]:
    """A user with a namespace of its own, in which everything must go at the end."""
    home = await Tenant.create(admin)
    account = {"metadata": {"name": USER, "namespace": home.namespace}}
    await admin.request("POST", admin.path("ServiceAccount", home.namespace), body=account)
    for role in ROLES:
        binding = {
            "metadata": {"name": role},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "ServiceAccount", "name": USER, "namespace": home.namespace}],
        }
        await admin.request("POST", f"apis/{RBAC}/v1/namespaces/{home.namespace}/rolebindings", body=binding)
    directory.mkdir(exist_ok=True)
    kubeconfig = cluster.service_account_kubeconfig(home.namespace, USER, directory / home.namespace)
    async with Api(kubeconfig) as own:
        someone = Person(own, home.namespace, kubeconfig, cluster.kubectl)

        async def bound() -> bool:
            try:
                await own.list("IPClaim", home.namespace)
            except ApiError:
                return False
            return True

        await eventually(bound, "the authorizer knows of the user's roles")
        yield someone
    await home.close()


async def forbidden(call: Callable[[], Awaitable[object]]) -> str:
    """The server's words of refusal: 403, and nothing else."""
    with pytest.raises(ApiError) as refusal:
        await call()
    assert refusal.value.code == 403, refusal.value
    return str(refusal.value)


def told(seen: Json, *names: str) -> Json:
    """All that an object's status says, without moments, and with `X` for the names that the user itself has said."""
    conditions = [{**one, "lastTransitionTime": None} for one in seen["status"]["conditions"]]
    text = json.dumps({**seen["status"], "conditions": conditions}, sort_keys=True)
    for name in names:
        text = re.sub(
            rf"(pool|network|IPNetwork|tier=|namespace) ?{re.escape(name)}\b|\b{re.escape(name)} (?=pools)",
            r"\1X",
            text,
        )
    said: Json = json.loads(text)
    return said


async def events_text(api: Api, namespace: str) -> str:
    """Everything that the Events of a namespace say."""
    return json.dumps(await api.list("Event", namespace))

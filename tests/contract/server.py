"""A real API server that knows our kinds, as these tests speak to it."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from kubernetes import client, config
from kubernetes.client import ApiException

from ipam_operator.api.names import GROUP, VERSION

NAMESPACE = f"contract-{uuid4().hex[:8]}"
"""New in each run, because a long-lived API server may still be deleting the last one."""

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


def thing(kind: str, called: str, spec: dict[str, Any]) -> dict[str, Any]:
    """An object of ours."""
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, "metadata": {"name": called}, "spec": spec}


def message_of(error: ApiException) -> str:
    """What the API server says to a user."""
    return str(json.loads(error.body or "{}")["message"])


class Server:
    """Our kinds in one namespace, through the official client: independent of the operator's own."""

    def __init__(self, kubeconfig: Path) -> None:
        # The client is typed for its generated parts only; this one takes and returns any JSON.
        connect: Any = config.new_client_from_config
        self.api: Any = client.CustomObjectsApi(connect(str(kubeconfig)))

    def create(self, body: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Raises kubernetes.client.ApiException with the server's words."""
        extra = {"dry_run": "All"} if dry_run else {}
        return dict(self.api.create_namespaced_custom_object(*_of(body), body, field_validation="Ignore", **extra))

    def made(self, kind: str, called: str, spec: dict[str, Any]) -> dict[str, Any]:
        """A new object, stored; its name is made unique, so that tests need not clean up."""
        body = thing(kind, called, spec)
        body["metadata"] = {"generateName": called + "-"}
        return self.create(body)

    def edit(self, body: dict[str, Any], **spec: Any) -> dict[str, Any]:
        """The object with other spec fields, stored; None removes one."""
        merged = {key: value for key, value in {**body["spec"], **spec}.items() if value is not None}
        return self.replace({**body, "spec": merged})

    def replace(self, body: dict[str, Any]) -> dict[str, Any]:
        return dict(self.api.replace_namespaced_custom_object(*_of(body), body["metadata"]["name"], body))

    def replace_status(self, body: dict[str, Any]) -> dict[str, Any]:
        return dict(self.api.replace_namespaced_custom_object_status(*_of(body), body["metadata"]["name"], body))

    def select(self, plural: str, fields: str) -> list[str]:
        """Names of the objects that a field selector finds."""
        found = self.api.list_namespaced_custom_object(GROUP, VERSION, NAMESPACE, plural, field_selector=fields)
        return sorted(item["metadata"]["name"] for item in found["items"])


def _of(body: dict[str, Any]) -> tuple[str, str, str, str]:
    return GROUP, VERSION, NAMESPACE, f"{body['kind'].lower()}s"

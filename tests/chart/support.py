"""Renders the chart with a real Helm, and finds what it has made."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from hack.helm import helm
from hack.places import ROOT

Json = dict[str, Any]
CHART = ROOT / "charts" / "ipam-operator"
RELEASE = ("ipam-operator", "--namespace", "ipam-system")
STAMPING = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"
CNPG = "postgresql.cnpg.io/v1"
PROFILES: dict[str, Json] = {
    "defaults": {},
    "production": yaml.safe_load((CHART / "values-production.yaml").read_text()),
    "development": yaml.safe_load((CHART / "values-development.yaml").read_text()),
    "cloudnativepg": {"database": {"mode": "cloudnativepg"}, "networkPolicy": {"enabled": True}},
    "everything": {
        "database": {"mode": "bundled", "bundled": {"parameters": {"max_connections": 50, "jit": False}}},
        "commonLabels": {"team": "network"},
        "imagePullSecrets": [{"name": "registry"}],
        "serviceAccount": {"annotations": {"a.example/b": "c"}},
        "settings": {"renewKinds": [{"apiVersion": "v1", "kind": "Pod"}], "rateLimits": True, "memoryDays": 0.5},
        "podLabels": {"a": "b", "team": "another"},
        "updateStrategy": {"type": "Recreate"},
        "podAnnotations": {"a": "b"},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"a": "b"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "service": {"annotations": {"a": "b"}, "ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]},
        "admission": {"protectStatus": True, "protectDeletion": True, "recordDeletions": {"enabled": True}},
        "networkPolicy": {
            "enabled": True,
            "metricsFrom": [{"namespaceSelector": {}}],
            "apiServer": {"cidrs": ["192.0.2.1/32"]},
            "dns": {"to": [{"namespaceSelector": {}}]},
            "extraEgress": [{"ports": [{"port": 4318, "protocol": "TCP"}]}],
        },
        "metrics": {
            **{key: {"enabled": True, "labels": {"team": "another"}} for key in ("serviceMonitor", "podMonitor")},
            **{key: {"enabled": True} for key in ("rules", "dashboard")},
        },
        "extraEnv": [{"name": "TZ", "value": "UTC"}],
        "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-more"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: text}\n",
        ],
    },
    "external with all of TLS": {
        "database": {
            "external": {
                "existingSecret": "dsn",
                "ownerSecret": {"name": "owner"},
                "passwordSecret": {"name": "password"},
                "tls": {"mode": "verify-full", "caSecret": "authority", "clientSecret": "client"},
            }
        }
    },
    "external with a URL": {"database": {"external": {"url": "postgresql://ipam:secret@db.example:5432/ipam"}}},
}
"""Values by what they show; each is rendered by both Helms and validated against every version."""


class RefusedError(Exception):
    """Helm refused to render; its words."""


def template(values: Mapping[str, Any], *arguments: str, major: int = 4, kubernetes: str = "1.37.0") -> str:
    """What `helm template` prints.

    Raises:
        RefusedError: Helm did not like the values.
    """
    apis = ["--api-versions", CNPG, *(["--api-versions", STAMPING] if kubernetes >= "1.36" else [])]
    done = subprocess.run(
        [helm(major), "template", *RELEASE, CHART, "--kube-version", kubernetes, *apis, "-f", "-", *arguments],
        input=json.dumps(values), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise RefusedError(done.stderr)
    return done.stdout


def render(values: Mapping[str, Any], *arguments: str, major: int = 4, kubernetes: str = "1.37.0") -> list[Json]:
    """The objects that Helm makes of these values.

    Raises:
        RefusedError: Helm did not like the values.
    """
    text = template(values, *arguments, major=major, kubernetes=kubernetes)
    return [body for body in yaml.load_all(text, Loader=_Loader) if body]


def one(objects: list[Json], kind: str, name: str = "ipam-operator") -> Json:
    """The only object of this kind and name."""
    (found,) = (body for body in objects if (body["kind"], body["metadata"]["name"]) == (kind, name))
    return found


def environment(objects: list[Json]) -> dict[str, str]:
    """The operator's variables whose values stand in the Deployment."""
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    return {row["name"]: row.get("value", "") for row in container["env"]}


def pods(objects: list[Json]) -> Iterator[tuple[str, Json]]:
    """Every pod's specification, with the name of what makes it."""
    for body in objects:
        if body["kind"] == "Pod":
            yield body["metadata"]["name"], body["spec"]
        elif "template" in body.get("spec", {}):
            yield body["metadata"]["name"], body["spec"]["template"]["spec"]


class _Loader(yaml.CSafeLoader):
    """Refuses a key that stands twice, which YAML forbids and PyYAML overlooks."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - its signature
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        if len(keys) != len(set(map(str, keys))):
            raise yaml.constructor.ConstructorError(None, None, f"a key twice: {keys}", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def described(path: Path = CHART / "values.yaml") -> Json:
    """The chart's own values."""
    values: Json = yaml.safe_load(path.read_text())
    return values

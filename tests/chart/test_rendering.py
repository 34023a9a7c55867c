"""What the chart makes of its values, by Helm 3 and Helm 4."""

import json
import re
import ssl
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hack import render as generator
from hack.helm import WHEELS, helm, version
from hack.pki import openssl
from hack.places import ROOT
from ipam_operator.api.names import GROUP
from ipam_operator.config import Settings, load
from tests.chart.support import CHART, PROFILES, RELEASE, Json, RefusedError, described, environment, one, pods, render

MAJORS = sorted(WHEELS)
VERSIONS = [f"1.{minor}" for minor in range(32, 38)]
FOREIGN = {"monitoring.coreos.com", "postgresql.cnpg.io"}
"""Groups of other operators, whose schemas Kubernetes does not have."""
URL = "postgresql://ipam@localhost/ipam"


@pytest.mark.parametrize("major", MAJORS)
def test_both_helms_are_what_they_are_called(major: int) -> None:
    """The pinned wheels hold the major versions of Helm that we say."""
    assert version(helm(major)).startswith(f"v{major}.")


@pytest.mark.parametrize("profile", [profile for profile in PROFILES if profile != "cloudnativepg"])
@pytest.mark.parametrize("major", MAJORS)
def test_lint(major: int, profile: str) -> None:
    """`helm lint --strict` finds nothing, whatever the values; of a CloudNativePG it cannot be told."""
    done = subprocess.run(
        [helm(major), "lint", "--strict", CHART, "-f", "-", "--kube-version", "1.37.0"],
        input=json.dumps(PROFILES[profile]),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("profile", PROFILES)
def test_every_kubernetes_takes_what_is_rendered(profile: str) -> None:
    """Each object fits the schemas of Kubernetes 1.32 to 1.37, and has no field that they do not know."""
    for kubernetes in VERSIONS:
        objects = render(PROFILES[profile], kubernetes=f"{kubernetes}.0")
        for body in objects:
            if body["apiVersion"].partition("/")[0] not in FOREIGN:
                kubernetes_validate.validate(body, kubernetes, strict=True)


def test_validation_is_strict() -> None:
    """A field that Kubernetes does not know is found, or the test above proves nothing."""
    body = one(render({}), "Deployment")
    body["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(body, "1.37", strict=True)


@pytest.mark.parametrize("profile", PROFILES)
def test_both_helms_agree(profile: str) -> None:
    """Helm 3 and Helm 4 make the same objects, but for passwords and keys by chance."""
    old, new = (render(PROFILES[profile], major=major) for major in MAJORS)

    def known(objects: list[Json]) -> list[str]:
        by_chance = {"Secret", "ValidatingWebhookConfiguration"}
        texts = (json.dumps(body, sort_keys=True) for body in objects if body["kind"] not in by_chance)
        return sorted(texts)

    assert known(old) == known(new)


def paths(values: Json, *parents: str) -> Iterator[tuple[str, ...]]:
    """Every place of values.yaml that holds named values."""
    yield parents
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from paths(value, *parents, name)


FREE = {("metrics", "dashboard", "labels")}
CLOSED = [path for path in paths(described()) if path not in FREE and "requests" not in path and "limits" not in path]


@pytest.mark.parametrize("path", CLOSED, ids=lambda path: ".".join(path) or "top")
@pytest.mark.parametrize("major", MAJORS)
def test_a_typo_is_refused(major: int, path: tuple[str, ...]) -> None:
    """A name that the chart does not know is refused wherever it stands, with its name."""
    values: Any = {"zoom": 1}
    for name in reversed(path):
        values = {name: values}
    with pytest.raises(RefusedError, match="zoom"):
        render(values, major=major)


TYPOS: dict[str, Json] = {
    "opreator": {"tolerations": [{"opreator": "Exists"}]},
    "podAntiAffinty": {"affinity": {"podAntiAffinty": {}}},
    "prefered": {"database": {"bundled": {"affinity": {"nodeAffinity": {"prefered": []}}}}},
    "maxskew": {
        "topologySpreadConstraints": [{"maxskew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}]
    },
    "secretKeyReff": {"extraEnv": [{"name": "A", "valueFrom": {"secretKeyReff": {"name": "a", "key": "b"}}}]},
    "emptydir": {"extraVolumes": [{"name": "more", "emptydir": {}}]},
    "readonly": {"extraVolumeMounts": [{"name": "more", "mountPath": "/more", "readonly": True}]},
    "namespaceSelctor": {"networkPolicy": {"metricsFrom": [{"namespaceSelctor": {}}]}},
    "matchLables": {"networkPolicy": {"dns": {"to": [{"podSelector": {"matchLables": {}}}]}}},
    "ipblock": {"networkPolicy": {"database": {"to": [{"ipblock": {"cidr": "192.0.2.0/24"}}]}}},
    "extraEgress": {"networkPolicy": {"extraEgress": [{"port": []}]}},
    "memmory": {"resources": {"limits": {"memmory": "1Gi"}}},
    "IpamPoolIsFull": {"metrics": {"rules": {"enabled": True, "disabled": ["IpamPoolIsFull"]}}},
    "x y": {"podLabels": {"x y": "z"}},
    "commonLabels": {"commonLabels": {"a": "not: good"}},
    "rateLimitDefaults": {"settings": {"rateLimitDefaults": "allocat=1/1"}},
}
"""By the word that the refusal has."""


@pytest.mark.parametrize("word", TYPOS)
@pytest.mark.parametrize("major", MAJORS)
def test_typo_in_what_kubernetes_defines_is_refused(major: int, word: str) -> None:
    """Lists and types of Kubernetes are no place where typos may hide; nor are lists of names."""
    with pytest.raises(RefusedError, match=re.escape(word)):
        render(TYPOS[word], major=major)


def test_wrong_types_are_refused() -> None:
    """Whatever stands where a value of another type belongs is refused, each value by its place."""

    def wrong(value: object) -> object:
        if isinstance(value, dict) and value:
            return {name: wrong(one) for name, one in value.items()}
        return "x" if isinstance(value, dict | list) else [[]]

    def places(value: object, *parents: str) -> Iterator[str]:
        if isinstance(value, dict) and value:
            for name, one in value.items():
                yield from places(one, *parents, name)
        else:
            yield "/".join(("", *parents))

    values = described()
    values["metrics"]["dashboard"]["labels"] = {}
    with pytest.raises(RefusedError) as refusal:
        render(dict(wrong(values)))  # type: ignore[call-overload]
    named = set(re.findall(r"- at '([^']*)'", str(refusal.value)))
    assert [place for place in places(values) if place not in named] == []


def test_typo_in_a_setting_is_refused() -> None:
    """So is a setting that the operator does not have, and one out of its bounds."""
    for wrong, words in (
        ({"memoryDay": 1}, "memoryDay"),
        ({"batchLimit": 0}, "batchLimit"),
        ({"rateLimits": "x"}, "rateLimits"),
    ):
        with pytest.raises(RefusedError, match=words):
            render({"settings": wrong})


@pytest.mark.parametrize("profile", PROFILES)
def test_pods_are_restricted(profile: str) -> None:
    """Every pod passes the Pod Security Standard `restricted`, and has a read-only root and limits beside."""
    found = list(pods(render(PROFILES[profile])))
    assert len(found) >= 2
    for _, pod in found:
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        kinds = {key for volume in pod["volumes"] for key in volume} - {"name"}
        assert kinds <= {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
        about = pod["securityContext"]
        assert about["runAsNonRoot"] is True
        assert about["runAsUser"] != 0
        assert about["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            inside = container["securityContext"]
            assert inside["allowPrivilegeEscalation"] is False
            assert inside["capabilities"] == {"drop": ["ALL"]}
            assert inside["readOnlyRootFilesystem"] is True
            assert not any("hostPort" in port for port in container.get("ports", []))
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
            assert "memory" in container["resources"]["limits"]


def test_tokens_are_asked_for() -> None:
    """Operator and test ask for their account's token; no other pod gets one, whichever account it runs as."""
    objects = render(PROFILES["everything"])
    tokens = {name: pod["automountServiceAccountToken"] for name, pod in pods(objects)}
    assert tokens == {"ipam-operator": True, "ipam-operator-test": True, "ipam-operator-postgres": False}
    accounts = [body for body in objects if body["kind"] == "ServiceAccount"]
    assert [body["automountServiceAccountToken"] for body in accounts] == [False, False]


def test_probes() -> None:
    """A start may take as long as is said, silence is not borne longer; who is live need not be ready."""
    seconds = {"startupSeconds": 1200, "liveSeconds": 60, "readyPeriodSeconds": 7}
    (container,) = one(render({"probes": seconds}), "Deployment")["spec"]["template"]["spec"]["containers"]
    start, live, ready = (container[f"{name}Probe"] for name in ("startup", "liveness", "readiness"))
    assert [probe["httpGet"] for probe in (start, live, ready)] == [
        {"path": path, "port": "http"} for path in ("/livez", "/livez", "/readyz")
    ]
    assert start["periodSeconds"] * start["failureThreshold"] == 1200
    assert live["periodSeconds"] * live["failureThreshold"] == 60
    assert ready["periodSeconds"] == 7
    assert all(probe["timeoutSeconds"] <= probe["periodSeconds"] for probe in (start, live, ready))
    (port,) = (row["containerPort"] for row in container["ports"] if row["name"] == "http")
    assert {"name": "IPAM_HEALTH_PORT", "value": str(port)} in container["env"]


def test_replicas_are_kept_apart_and_in_service() -> None:
    """Two replicas, of which one may be away, each on a node and in a zone of its own; others' pods do not count."""
    objects = render({})
    deployment, budget = one(objects, "Deployment")["spec"], one(objects, "PodDisruptionBudget")["spec"]
    assert deployment["replicas"] == 2
    labels = deployment["template"]["metadata"]["labels"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    constraints = deployment["template"]["spec"]["topologySpreadConstraints"]
    keys = [constraint["topologyKey"] for constraint in constraints]
    assert keys == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    counted = [constraint["labelSelector"] for constraint in constraints]
    assert counted == [deployment["selector"]] * 2
    mine = {**constraints[0], "labelSelector": {"matchLabels": {"a": "b"}}}
    for chosen, expected in (([mine], [mine]), ([], None)):
        pod = one(render({"topologySpreadConstraints": chosen}), "Deployment")["spec"]["template"]["spec"]
        assert pod.get("topologySpreadConstraints") == expected
    without = render({"podDisruptionBudget": {"enabled": False}})
    assert "PodDisruptionBudget" not in {body["kind"] for body in without}


def test_uid_may_be_left_to_openshift() -> None:
    """Without user and group the platform chooses them, and everything else stays restricted."""
    nobody = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    values = {"podSecurityContext": nobody, "database": {"mode": "bundled", "bundled": {"podSecurityContext": nobody}}}
    for _, pod in pods(render(values)):
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & pod["securityContext"].keys()
        assert pod["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("keep", [True, False])
def test_crds_are_those_of_the_models(keep: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """The chart installs crds/ word for word, and lets them outlive the release unless it is told not to."""
    objects = render({"crds": {"keep": keep}})
    made = {body["metadata"]["name"]: body for body in objects if body["kind"] == "CustomResourceDefinition"}
    home = [yaml.safe_load(path.read_text()) for path in (ROOT / "crds").glob("ip*.yaml")]
    assert made.keys() == {body["metadata"]["name"] for body in home}
    for body in home:
        crd = made[body["metadata"]["name"]]
        assert crd["spec"] == body["spec"]
        assert body["metadata"]["labels"].items() <= crd["metadata"]["labels"].items()
        notes = crd["metadata"].get("annotations", {})
        assert notes.get("helm.sh/resource-policy") == ("keep" if keep else None)
        assert notes.get("argocd.argoproj.io/sync-options") == ("Prune=false,Delete=false" if keep else None)


def test_crds_can_be_left_to_others() -> None:
    """With crds.install off there is none."""
    assert not [body for body in render({"crds": {"install": False}}) if body["kind"] == "CustomResourceDefinition"]


def test_operator_starts_with_what_it_is_given() -> None:
    """The operator accepts the variables of each profile: it refuses those that it does not know."""
    for values in PROFILES.values():
        given_variables = {
            name: value for name, value in environment(render(values)).items() if name.startswith("IPAM_")
        }
        assert "IPAM_DATABASE_URL" in given_variables
        load({**given_variables, "IPAM_DATABASE_URL": URL})


def test_service_links_are_off() -> None:
    """Kubernetes would set IPAM_OPERATOR_SERVICE_HOST for the Service, which the operator refuses as a typo."""
    for name, pod in pods(render(PROFILES["everything"])):
        assert pod["enableServiceLinks"] is False, name


WORDS = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "statementCache": st.booleans(),
        "storeConnections": st.integers(1, 64),
        "statementTimeoutSeconds": st.floats(0.25, 1e6),
        "batchLimit": st.integers(1, 10_000),
        "poolTimerSeconds": st.floats(0.5, 1e5) | st.integers(1, 10**7),
        "releaseBrakeCount": st.integers(0, 10**9),
        "releaseBrakePercent": st.floats(0, 100),
        "memoryDays": st.integers(0, 10**6) | st.floats(0, 1e4),
        "rateLimits": st.booleans(),
        "rateLimitDefaults": st.sampled_from(["allocate=1/1", ""]),
        "logLevel": st.sampled_from(["DEBUG", "WARNING"]),
        "renewKinds": st.lists(
            st.sampled_from([("v1", "Pod"), ("apps/v1", "Deployment"), ("networking.k8s.io/v1", "Ingress")]),
            unique=True,
        ),
    },
)


@settings(max_examples=25, deadline=None)
@given(chosen=SETTINGS)
def test_settings_arrive(chosen: Json) -> None:
    """Whatever is set arrives at the operator with the same value: no number loses its digits in YAML on the way."""
    kinds = [{"apiVersion": group, "kind": kind} for group, kind in chosen.get("renewKinds", [])]
    values = {"settings": {**chosen, **({"renewKinds": kinds} if "renewKinds" in chosen else {})}}
    variables = environment(render(values))
    del variables["POD_ID"]
    arrived = load({**variables, "IPAM_DATABASE_URL": URL})
    for camel, value in chosen.items():
        name = re.sub(r"([A-Z])", lambda found: f"_{found[0].lower()}", camel)
        if camel == "renewKinds":
            assert arrived.kinds_to_renew_for == {f"{group}/{kind}" for group, kind in value}
        else:
            assert getattr(arrived, name) == pytest.approx(value), camel


def test_every_setting_is_a_value() -> None:
    """No setting of the operator is missing, but for those that other values decide."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    named = schema["properties"]["settings"]["properties"]
    snake = {re.sub(r"([A-Z])", lambda found: f"_{found[0].lower()}", name) for name in named}
    assert snake == Settings.model_fields.keys() - generator.CHARTS_OWN


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ({"apiVersion": "v1", "kind": "Pod"}, ("", "pods")),
        ({"apiVersion": "apps/v1", "kind": "Deployment"}, ("apps", "deployments")),
        ({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}, ("networking.k8s.io", "ingresses")),
        ({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}, ("networking.k8s.io", "networkpolicies")),
        ({"apiVersion": "a.example/v1", "kind": "Gateway"}, ("a.example", "gateways")),
        ({"apiVersion": "a.example/v1", "kind": "Ox", "resource": "oxen"}, ("a.example", "oxen")),
    ],
)
def test_kinds_to_renew_for_may_be_listed(kind: Json, expected: tuple[str, str]) -> None:
    """With a kind comes the permission to list it, and no other verb."""
    rules = one(render({"settings": {"renewKinds": [kind]}}), "ClusterRole")["rules"]
    group, resource = expected
    assert rules[-1] == {"apiGroups": [group], "resources": [resource], "verbs": ["list"]}
    assert rules[:-1] == one(render({}), "ClusterRole")["rules"]


def test_one_role_for_each() -> None:
    """The operator's role has no `*`, no secrets and nothing that creates or deletes our kinds."""
    objects = render({})
    for rule in one(objects, "ClusterRole")["rules"]:
        assert "*" not in {*rule["verbs"], *rule["resources"], *rule["apiGroups"]}
        assert "secrets" not in rule["resources"]
        if rule["apiGroups"] == [GROUP]:
            assert not {"create", "delete", "deletecollection", "update"} & set(rule["verbs"])
    names = {body["metadata"]["name"] for body in objects if body["kind"] == "ClusterRole"}
    assert names == {"ipam-operator", "ipam-view", "ipam-edit", "ipam-restore"}
    off = render({"rbac": {"create": False, "tenantRoles": False}})
    assert not [body for body in off if body["kind"] in {"ClusterRole", "ClusterRoleBinding"}]


ADMISSION = {
    "stampClaims": "stamp.ipclaims",
    "protectStamps": "stamps.ipclaims",
    "protectRateLimits": "rate-limits",
    "protectStatus": "status",
    "protectDeletion": "deletion",
}


@pytest.mark.parametrize("switch", ADMISSION)
def test_admission_policies_are_switched_one_by_one(switch: str) -> None:
    """Each policy comes with its binding, and goes alone."""

    def policies(values: Json) -> set[str]:
        bodies = render({"admission": values})
        found = [body for body in bodies if "AdmissionPolicy" in body["kind"]]
        bound = {body["spec"]["policyName"] for body in found if body["kind"].endswith("Binding")}
        names = {body["metadata"]["name"] for body in found if not body["kind"].endswith("Binding")}
        assert bound == names
        return {name.removesuffix(f".{GROUP}") for name in names}

    off = dict.fromkeys(ADMISSION, False)
    assert policies(off) == set()
    assert policies({**off, switch: True}) == {ADMISSION[switch]}


def test_stamping_needs_an_api_server_that_can() -> None:
    """Before Kubernetes 1.36 claims are not stamped unless somebody insists."""

    def stamped(kubernetes: str, **admission: object) -> bool:
        objects = render({"admission": admission}, kubernetes=kubernetes)
        return any(body["kind"] == "MutatingAdmissionPolicy" for body in objects)

    assert stamped("1.36.0")
    assert not stamped("1.35.0")
    assert stamped("1.35.0", stampClaims=True)


def test_nothing_of_the_whole_cluster() -> None:
    """With the values that the page on installing names for it, the release has objects of its namespace alone."""
    page = (ROOT / "docs/operations/install.md").read_text()
    (row,) = re.findall(r"^\| no cluster-wide objects by this release \| (.*) \|$", page, re.MULTILINE)
    flags = [f"--set={flag}" for flag in re.findall(r"`([^`]+)`", row) if "*" not in flag]
    assert "`admission.*=false`" in row
    off = {
        "admission": {name: False for name, value in described()["admission"].items() if not isinstance(value, dict)}
    }
    for profile in ("production", "development"):
        objects = render({**PROFILES[profile], **off}, *flags)
        assert [body["kind"] for body in objects if "namespace" not in body["metadata"]] == []


DELETIONS = f"deletions.ipclaims.{GROUP}"


def webhook(values: Json) -> tuple[list[Json], Json, Json]:
    """All objects, the webhook and the data of its Secret; with these values of it."""
    enabled = {"recordDeletions": {"enabled": True, **values}}
    objects = render({"admission": enabled, "networkPolicy": {"enabled": True}})
    (found,) = one(objects, "ValidatingWebhookConfiguration", DELETIONS)["webhooks"]
    return objects, found, one(objects, "Secret", "ipam-operator-webhook")["data"]


def test_deletions_are_told_where_the_operator_listens(tmp_path: Path) -> None:
    """By a certificate of the Service's name, under a path that only the Secret has, to a port that is open."""
    objects, found, secret = webhook({"port": 9444})
    service = found["clientConfig"]["service"]
    assert service["path"] == f"/deletions/{b64decode(secret['token']).decode()}"
    assert len(service["path"]) > 40
    assert found["failurePolicy"] == "Fail"
    assert webhook({"failurePolicy": "Ignore"})[1]["failurePolicy"] == "Ignore"
    (port,) = (row for row in one(objects, "Service")["spec"]["ports"] if row["port"] == service["port"])
    (pod,) = (pod for name, pod in pods(objects) if name == "ipam-operator")
    (container,) = pod["containers"]
    (open_port,) = (row for row in container["ports"] if row["name"] == port["targetPort"])
    variables = environment(objects)
    assert open_port["containerPort"] == int(variables["IPAM_WEBHOOK_PORT"]) == 9444
    (mount,) = (row for row in container["volumeMounts"] if row["mountPath"] == variables["IPAM_WEBHOOK_DIRECTORY"])
    (volume,) = (row for row in pod["volumes"] if row["name"] == mount["name"])
    items = [item["path"] for source in volume["projected"]["sources"] for item in source["secret"]["items"]]
    assert sorted(items) == ["tls.crt", "tls.key", "token"]
    assert any(
        {"port": "webhook", "protocol": "TCP"} in rule["ports"]
        for rule in one(objects, "NetworkPolicy")["spec"]["ingress"]
    )
    for name, text in secret.items():
        (tmp_path / name).write_bytes(b64decode(text))
    assert found["clientConfig"]["caBundle"] == secret["ca.crt"]
    ssl.create_default_context().load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    host = f"{service['name']}.{service['namespace']}.svc"
    verify = ("verify", "-CAfile", tmp_path / "ca.crt", "-verify_hostname", host, "-purpose", "sslserver")
    openssl(*verify, tmp_path / "tls.crt")


def test_deletions_are_told_by_a_certificate_of_others() -> None:
    """Then the chart makes none; the token is the one that is given, so that every rendering is the same."""
    given = {"certificateSecret": "made", "token": "a" * 32, "annotations": {"cert-manager.io/inject-ca-from": "a/b"}}
    objects, found, secret = webhook(given)
    assert secret == {"token": b64encode(b"a" * 32).decode()}
    assert "caBundle" not in found["clientConfig"]
    assert found["clientConfig"]["service"]["path"].endswith(f"/{'a' * 32}")
    (pod,) = (pod for name, pod in pods(objects) if name == "ipam-operator")
    (volume,) = (row for row in pod["volumes"] if row["name"] == "webhook")
    assert [source["secret"]["name"] for source in volume["projected"]["sources"]] == ["ipam-operator-webhook", "made"]
    assert objects == webhook(given)[0]
    assert webhook({**given, "caBundle": "QQ=="})[1]["clientConfig"]["caBundle"] == "QQ=="
    assert "ValidatingWebhookConfiguration" not in {body["kind"] for body in render({})}


@pytest.mark.parametrize("major", MAJORS)
def test_webhook_that_could_not_work_is_refused(major: int) -> None:
    """The token's own Secret as the certificate's, an authority of nobody's, a port that is taken."""
    for wrong, words in (
        ({"certificateSecret": "ipam-operator-webhook"}, "Helm keeps the token there"),
        ({"caBundle": "QQ=="}, "caBundle needs certificateSecret"),
        ({"port": described()["health"]["port"]}, "health.port must be two ports"),
    ):
        with pytest.raises(RefusedError, match=words):
            render({"admission": {"recordDeletions": {"enabled": True, **wrong}}}, major=major)


def test_database_needs_a_place() -> None:
    """Without any word on the database the refusal says what to set."""
    with pytest.raises(RefusedError, match="existingSecret"):
        render({"database": {"external": {"existingSecret": ""}}})


def test_tls_to_the_database() -> None:
    """PostgreSQL's own variables say how the connection is protected, and the certificates lie where they point."""
    objects = render(PROFILES["external with all of TLS"])
    variables = environment(objects)
    assert variables["PGSSLMODE"] == "verify-full"
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
    for name in ("PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"):
        assert any(variables[name].startswith(f"{path}/") for path in mounted)


LOGINS = {
    "external with all of TLS": (("dsn", "url"), ("owner", "url")),
    "development": (("ipam-operator-database-login", "url"), ("ipam-operator-database", "url")),
    "cloudnativepg": (("ipam-operator-database-login", "url"), ("ipam-operator-postgres-app", "uri")),
}
"""Secret and key of the operator's URL and of the owner's."""


def secrets(container: Json) -> dict[str, tuple[str, str]]:
    """A container's variables that come from Secrets: which, and which key of it."""
    sources = {row["name"]: row.get("valueFrom", {}).get("secretKeyRef") for row in container["env"]}
    return {name: (source["name"], source["key"]) for name, source in sources.items() if source}


@pytest.mark.parametrize("profile", LOGINS)
def test_owner_of_the_schema_only_migrates(profile: str) -> None:
    """The owner's URL is the init container's alone; the operator itself has its own, with the same protection."""
    pod = one(render(PROFILES[profile]), "Deployment")["spec"]["template"]["spec"]
    (migrate,), (operator,) = pod["initContainers"], pod["containers"]
    its, owner = LOGINS[profile]
    served = secrets(operator)
    assert served["IPAM_DATABASE_URL"] == its
    assert secrets(migrate) == {**served, "IPAM_OWNER_DATABASE_URL": owner}
    assert owner[0] not in json.dumps(operator).replace(f'"{its[0]}"', "")
    assert migrate["args"] == ["migrate", "--wait=900"]
    assert {"name": "IPAM_MIGRATE", "value": "false"} in operator["env"]
    assert [row for row in migrate["env"] if row["name"].startswith("PGSSL")] == [
        row for row in operator["env"] if row["name"].startswith("PGSSL")
    ]


def test_bundled_secrets_of_others_are_two() -> None:
    """Who makes the owner's Secret is asked for the operator's, too; then no password is drawn."""
    bundled: Json = {"existingSecret": "mine"}
    with pytest.raises(RefusedError, match="operatorSecret is needed beside existingSecret"):
        render({"database": {"mode": "bundled", "bundled": bundled}})
    bundled["operatorSecret"] = "served"
    objects = render({"database": {"mode": "bundled", "bundled": bundled}})
    assert not [body for body in objects if body["kind"] == "Secret"]
    (volume,) = (
        volume["projected"]["sources"]
        for volume in one(objects, "StatefulSet", "ipam-operator-postgres")["spec"]["template"]["spec"]["volumes"]
        if volume["name"] == "passwords"
    )
    assert [(source["secret"]["name"], source["secret"]["items"]) for source in volume] == [
        ("mine", [{"key": "password", "path": "owner"}]),
        ("served", [{"key": "password", "path": "operator"}]),
    ]


def test_cloudnativepg_without_its_operator_is_refused() -> None:
    """A Cluster that nobody would serve is refused in words, not left to rot."""
    done = subprocess.run(
        [helm(), "template", "x", CHART, "--set", "database.mode=cloudnativepg"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "install it first" in done.stderr


def test_cloudnativepg_is_checked_in_full() -> None:
    """The operator checks the server's name against the authority of CloudNativePG."""
    objects = render(PROFILES["cloudnativepg"])
    cluster = one(objects, "Cluster", "ipam-operator-postgres")
    assert cluster["spec"]["postgresql"]["synchronous"] == {"method": "any", "number": 1}
    assert environment(objects)["PGSSLMODE"] == "verify-full"


def test_cloudnativepg_makes_the_operators_login() -> None:
    """It manages the roles and a login with the password of the Secret that the operator reads; users' roles stay."""
    mine = {"name": "mine", "login": True}
    values = {"database": {"mode": "cloudnativepg", "cloudnativepg": {"spec": {"managed": {"roles": [mine]}}}}}
    objects = render(values)
    *ours, last = one(objects, "Cluster", "ipam-operator-postgres")["spec"]["managed"]["roles"]
    assert [role["name"] for role in ours] == ["ipam_operator", "ipam_tenant", "ipam_service"]
    assert last == mine
    assert [role["login"] for role in ours] == [False, False, True]
    assert ours[2]["inRoles"] == ["ipam_operator"]
    secret = one(objects, "Secret", ours[2]["passwordSecret"]["name"])
    assert (secret["type"], secret["metadata"]["labels"]["cnpg.io/reload"]) == ("kubernetes.io/basic-auth", "true")
    said = secret["stringData"]
    url = urlsplit(said["url"])
    assert (url.username, url.password) == ("ipam_service", said["password"]) == (said["username"], said["password"])
    assert (url.hostname, url.path) == ("ipam-operator-postgres-rw.ipam-system.svc", "/ipam")


def test_image_by_digest() -> None:
    """A digest wins over the tag; without either it is the chart's appVersion, which is the program's version."""
    version_of = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]

    def image(**how: str) -> str:
        (container,) = one(render({"image": how}), "Deployment")["spec"]["template"]["spec"]["containers"]
        return str(container["image"])

    digest = f"sha256:{'a' * 64}"
    assert image() == f"dotmac/ipam-operator:{version_of}"
    assert image(registry="registry.example:5000", tag="x") == "registry.example:5000/dotmac/ipam-operator:x"
    assert image(digest=digest, tag="x") == f"dotmac/ipam-operator@{digest}"


def test_versions_are_the_programs() -> None:
    """Chart and program have one version."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    (program,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert chart["version"] == chart["appVersion"] == program
    for path in ("cleanup/job.yaml", "install/operator/operator.yaml"):
        assert f"dotmac/ipam-operator:{program}" in (ROOT / "manifests" / path).read_text()


def test_artifact_hub_is_told_the_truth() -> None:
    """Images, kinds and examples in the chart's annotations are those of the chart."""
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())["annotations"]
    images = {row["image"] for row in yaml.safe_load(about["artifacthub.io/images"])}
    made = {container["image"] for _, pod in pods(render(PROFILES["development"])) for container in pod["containers"]}
    assert images == made
    crds = {row["name"] for row in yaml.safe_load(about["artifacthub.io/crds"])}
    assert crds == {body["metadata"]["name"] for body in render({}) if body["kind"] == "CustomResourceDefinition"}
    examples = [row["kind"] for row in yaml.safe_load(about["artifacthub.io/crdsExamples"])]
    assert examples == [row["kind"] for row in yaml.safe_load(about["artifacthub.io/crds"])]


NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,40}[a-z0-9]", fullmatch=True)


@settings(max_examples=15, deadline=None)
@given(
    name=NAMES | st.just(""),
    labels=st.dictionaries(WORDS, st.sampled_from(["a", "true", "1", "1e3", "", "null", "x.y_Z-0"]), max_size=3),
    replicas=st.integers(0, 10),
    bundled=st.booleans(),
)
def test_any_names_fit(name: str, labels: dict[str, str], replicas: int, bundled: bool) -> None:  # noqa: FBT001 - drawn
    """Whatever names and words people choose, selectors meet their pods and objects keep to the schemas."""
    mode = "bundled" if bundled else "external"
    objects = render({
        "fullnameOverride": name, "podLabels": labels, "replicaCount": replicas, "database": {"mode": mode},
    })  # fmt: skip
    for body in objects:
        if body["kind"] in {"Deployment", "StatefulSet"}:
            template = body["spec"]["template"]["metadata"]["labels"]
            assert body["spec"]["selector"]["matchLabels"].items() <= template.items()
            assert not any("version" in key or "chart" in key for key in template.keys() - labels.keys())
        if body["kind"] == "Deployment":
            assert labels.items() <= body["spec"]["template"]["metadata"]["labels"].items()
        if body["kind"] == "Service":
            assert len(body["metadata"]["name"]) <= 63
        if "AdmissionPolicy" not in body["kind"]:
            kubernetes_validate.validate(body, "1.37", strict=True)


def test_release_of_another_name() -> None:
    """Another release's objects have its name in theirs; the tenants' roles stay as they are, for there is one API."""
    done = subprocess.run([helm(), "template", "net", CHART], capture_output=True, text=True, check=True)
    names = {(body["kind"], body["metadata"]["name"]) for body in yaml.safe_load_all(done.stdout) if body}
    assert {
        ("Deployment", "net-ipam-operator"),
        ("ClusterRole", "net-ipam-operator"),
        ("ClusterRole", "ipam-edit"),
    } <= names


READ_OTHERWISE = ["1", "1e3", "true", "null", "0x1f", "2026-01-01", "no", "n1"]
"""Names that Kubernetes takes, and YAML for numbers, dates and truth."""
DNS_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def release(name: str, namespace: str, values: Json) -> list[Json]:
    """What Helm makes for a release of this name in this namespace."""
    command: list[str | Path] = [helm(), "template", name, CHART, "-n", namespace, "--kube-version=1.37.0", "-f-"]
    done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=True)
    return [body for body in yaml.safe_load_all(done.stdout) if body]


@pytest.mark.parametrize("word", READ_OTHERWISE)
def test_names_that_yaml_reads_otherwise(word: str) -> None:
    """Release, namespace, Secrets and accounts may be called so: they stay words, and each stays where it belongs."""
    of_others = {"existingSecret": word, "operatorSecret": word}
    external = {
        "existingSecret": word,
        "key": word,
        "ownerSecret": {"name": word, "key": word},
        "passwordSecret": {"name": word, "key": word},
        "tls": {"caSecret": word, "caKey": word, "clientSecret": word},
    }
    given = {
        "serviceAccount": {"create": False, "name": word},
        "priorityClassName": word,
        "podLabels": {"a": word},
        "podAnnotations": {"a": word},
        "networkPolicy": {"enabled": True},
        "admission": {"recordDeletions": {"enabled": True, "certificateSecret": word}},
    }
    for database in ({"mode": "bundled", "bundled": of_others}, {"mode": "external", "external": external}):
        objects = release(word, word, {**given, "database": database})
        for body in objects:
            if "Policy" not in body["kind"] or body["kind"] == "NetworkPolicy":
                kubernetes_validate.validate(body, "1.37", strict=True)
            assert body["metadata"].get("namespace", word) == word
            if body["kind"] == "Service":
                assert DNS_LABEL.fullmatch(body["metadata"]["name"])


def test_longest_names() -> None:
    """Services, StatefulSets, whose pods have the name and a hash in a label, and CloudNativePG's Clusters."""
    name = "n" * 53
    for values in ({}, {"fullnameOverride": "f" * 50}):
        objects = release(name, "n" * 63, {**values, "database": {"mode": "bundled"}})
        names = {body["metadata"]["name"] for body in objects if body["kind"] in {"Service", "StatefulSet"}}
        assert len(names) == 2
        assert all(DNS_LABEL.fullmatch(one) for one in names)
        (postgres,) = (body["metadata"]["name"] for body in objects if body["kind"] == "StatefulSet")
        assert len(postgres) <= 50


@pytest.mark.parametrize("name", ["1a", "true", "null", "no", "on"])
def test_a_name_that_no_service_may_have_is_refused(name: str) -> None:
    """Before the API server would."""
    with pytest.raises(RefusedError, match="fullnameOverride"):
        render({"fullnameOverride": name})


def test_labels_stand_once() -> None:
    """The label of a place wins over the common one; those by which the chart finds its own are refused."""
    objects = render(PROFILES["everything"])  # a key that stands twice is refused there
    pod = one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert (pod["team"], one(objects, "Deployment")["metadata"]["labels"]["team"]) == ("another", "network")
    assert one(objects, "ServiceMonitor")["metadata"]["labels"]["team"] == "another"
    for key in ("app.kubernetes.io/name", "app.kubernetes.io/component", "helm.sh/chart"):
        for where in ("podLabels", "commonLabels"):
            with pytest.raises(RefusedError, match=re.escape(key.replace("/", "~1"))):
                render({where: {key: "mine"}})


@pytest.mark.parametrize("name", ["POD_ID", "IPAM_HEALTH_PORT", "IPAM_LOG_LEVEL", "PGSSLMODE", "MINE"])
def test_variables_stand_once(name: str) -> None:
    """One that is set already is refused by name, whoever has set it: Helm 4's way to apply would fail for it."""
    others = [{"name": "MINE", "value": "a"}]
    given = {"settings": {"logLevel": "DEBUG"}, "database": {"external": {"tls": {"mode": "require"}}}}
    with pytest.raises(RefusedError, match=f"extraEnv sets {name}, which is set already"):
        render({**given, "extraEnv": [*others, {"name": name, "value": "b"}]})
    assert environment(render({**given, "extraEnv": others}))["MINE"] == "a"
    assert environment(render({"extraEnv": [{"name": "IPAM_LOG_LEVEL", "value": "INFO"}]}))["IPAM_LOG_LEVEL"] == "INFO"


def test_all_at_once_instead_of_one_by_one() -> None:
    """With `Recreate` the numbers of the other strategy go, which the API server would refuse beside it."""
    assert one(render({"updateStrategy": {"type": "Recreate"}}), "Deployment")["spec"]["strategy"] == {
        "type": "Recreate"
    }
    assert one(render({}), "Deployment")["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_what_cannot_be_is_refused_in_words() -> None:
    """More synchronous standbys than standbys, an authority that nobody has, and two listeners on one port."""
    few = {"mode": "cloudnativepg", "cloudnativepg": {"instances": 2, "synchronousReplicas": 2}}
    with pytest.raises(RefusedError, match="must be less than its instances"):
        render({"database": few})
    alone = {"mode": "cloudnativepg", "cloudnativepg": {"instances": 1}}
    assert "postgresql" not in one(render({"database": alone}), "Cluster", "ipam-operator-postgres")["spec"]
    verified: Json = {"database": {"external": {"tls": {"mode": "verify-full"}}}}
    with pytest.raises(RefusedError, match="verify-full needs caSecret"):
        render(verified)
    known = {"name": "PGSSLROOTCERT", "value": "/etc/ssl/certs/ca-certificates.crt"}
    assert environment(render({**verified, "extraEnv": [known]}))["PGSSLROOTCERT"] == known["value"]
    with pytest.raises(RefusedError, match="must be two ports"):
        render({"health": {"port": 9443}, "admission": {"recordDeletions": {"enabled": True}}})


def notes(values: Json) -> str:
    """What Helm 4 prints after an installation; Helm 3 would ask a cluster (test_installing.py)."""
    done = subprocess.run(
        [helm(4), "install", *RELEASE, CHART, "--dry-run=client", "-f", "-"],
        input=json.dumps(values), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.partition("NOTES:")[2]


def test_notes_say_what_comes_next() -> None:
    """After an installation people read what is missing, and the next commands."""
    assert "create secret generic ipam-database" in notes({})
    assert "no replica and no backup" in notes(PROFILES["development"])
    assert "EVERY IPNetwork" in notes({"crds": {"keep": False}})
    assert "One replica" in notes({"replicaCount": 1})
    for snippet in re.findall(r"<<'YAML'\n(.*?)\nYAML$", notes({}), re.MULTILINE | re.DOTALL):
        kinds = [body["kind"] for body in yaml.safe_load_all(snippet)]
        assert kinds == ["IPNetwork", "IPPool", "IPClaim"]


@pytest.mark.parametrize("profile", [profile for profile in PROFILES if profile != "cloudnativepg"])
def test_notes_of_every_profile_name_what_is_there(profile: str) -> None:
    """Deployment and Secrets are called as the objects are; what pods wait for is said, and nothing else."""
    values = {**PROFILES[profile], "fullnameOverride": "net"}
    said, objects = notes(values), render(values)
    assert "rollout status deployment/net\n" in said
    assert "<no value>" not in said
    assert "map[" not in said
    made = {body["metadata"]["name"] for body in objects if body["kind"] == "Secret"}
    deployment = json.dumps(one(objects, "Deployment", "net"))
    asked = set(re.findall(r"create secret generic (\S+)", said))
    named = set(re.findall(r"Secret (\S+?),? ", said))
    assert all(f'"{name}"' in deployment for name in asked | named)
    assert not asked & made
    if profile == "production":
        assert asked == {"ipam-database", "ipam-database-ca"}


def test_policies_of_the_network_name_pods_that_are_there() -> None:
    """Operator and database may speak with each other, in both policies and on the database's port."""
    objects = render({"networkPolicy": {"enabled": True}, "database": {"mode": "bundled"}})
    ours = one(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    database = one(objects, "StatefulSet", "ipam-operator-postgres")["spec"]["template"]["metadata"]["labels"]
    out = one(objects, "NetworkPolicy")["spec"]
    into = one(objects, "NetworkPolicy", "ipam-operator-postgres")["spec"]
    assert out["podSelector"]["matchLabels"].items() <= ours.items()
    assert into["podSelector"]["matchLabels"].items() <= database.items()
    assert out["egress"][-1]["to"][0]["podSelector"]["matchLabels"].items() <= database.items()
    assert into["ingress"][0]["from"][0]["podSelector"]["matchLabels"].items() <= ours.items()
    assert into["egress"] == []
    ports = {port["port"] for rule in out["egress"] for port in rule["ports"]}
    assert ports == {53, 443, 6443, 5432}


def test_generated_files_are_current() -> None:
    """manifests/install, the chart's CRDs and the tables are what `make manifests` makes."""
    stale = [str(path) for path, text in generator.generated() if not path.exists() or path.read_text() != text]
    assert stale == []


def test_every_value_is_described() -> None:
    """The table has each value of values.yaml, and what is not described itself stands below what is."""
    known = {path for path, _, _ in generator.described()}

    def missing(values: Json, *parents: str) -> Iterator[str]:
        for name, value in values.items():
            path = ".".join((*parents, name))
            if path in known:
                continue
            if isinstance(value, dict) and value:
                yield from missing(value, *parents, name)
            else:
                yield path

    assert list(missing(described())) == []

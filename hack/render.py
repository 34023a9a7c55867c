"""What is generated from the chart and for it: `python -m hack.render [--check]`, by `make manifests`.

The chart's templates are the one home of the permissions and the admission policies; manifests/install is what Helm
renders of them, without Helm's own labels. The CRDs go the other way: their home is the models.
"""

import argparse
import difflib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from hack.helm import helm
from hack.places import ROOT
from hack.render_dashboard import dashboard
from hack.render_schema import PREFIX, kubernetes_definitions
from ipam_operator.config import Settings
from ipam_operator.domain.rates import Operation

CHART = ROOT / "charts" / "ipam-operator"
INSTALL = ROOT / "manifests" / "install"
RELEASE = ("ipam-operator", "--namespace", "ipam-system")
HEADER = "# Rendered from charts/ipam-operator by `make manifests`: change its templates, not this.\n"
OF_HELM = re.compile(r"^ +(helm\.sh/[\w.-]+|app\.kubernetes\.io/(managed-by|version)): .*\n", re.MULTILINE)
QUOTED = re.compile(
    r'^( +(?:- )?(?:name|namespace|key|serviceAccountName|[\w./-]+/instance): )"([a-z][a-z-]+)"$', re.MULTILINE
)
MANIFESTS = {
    "cluster/rbac.yaml": ("serviceaccount.yaml", "rbac-operator.yaml", "rbac-tenants.yaml"),
    "operator/operator.yaml": ("deployment.yaml", "service.yaml", "pdb.yaml"),
    "admission/stamp-claims.yaml": ("admission-stamp-claims.yaml",),
    "admission/protect-stamps.yaml": ("admission-protect-stamps.yaml",),
    "admission/protect-rate-limits.yaml": ("admission-protect-rate-limits.yaml",),
    "admission/optional/protect-status.yaml": ("admission-protect-status.yaml",),
    "admission/optional/protect-deletion.yaml": ("admission-protect-deletion.yaml",),
}
"""Templates of the chart by the file that they are rendered to, in this order."""
CHARTS_OWN = frozenset(
    {
        "database_url",
        "owner_database_url",
        "health_host",
        "health_port",
        "health_port_file",
        "webhook_directory",
        "webhook_host",
        "webhook_port",
        "webhook_port_file",
    }
)
"""Settings that other values decide."""


def rendered(
    *templates: str, apis: tuple[str, ...] = ("admissionregistration.k8s.io/v1/MutatingAdmissionPolicy",)
) -> str:
    """What Helm makes of these templates with the chart's own values, as people would have written it."""
    show = [f"--show-only=templates/{template}" for template in templates]
    optional = [f"--set=admission.{name}=true" for name in ("protectStatus", "protectDeletion")]
    versions = [f"--api-versions={api}" for api in apis]
    done = subprocess.run(
        [helm(), "template", *RELEASE, CHART, *show, *versions, *optional], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"helm template: {done.stderr}")
    documents = re.split(r"^---\n# Source: \S+\n", done.stdout, flags=re.MULTILINE)[1:]
    by_source = dict.fromkeys(re.findall(r"^# Source: \S+/templates/(\S+)$", done.stdout, re.MULTILINE), "")
    for source, text in zip(
        re.findall(r"^# Source: \S+/templates/(\S+)$", done.stdout, re.MULTILINE), documents, strict=True
    ):
        plain = QUOTED.sub(r"\1\2", OF_HELM.sub("", text))
        by_source[source] += f"---\n{plain.strip()}\n"
    return HEADER + "".join(by_source[template] for template in templates).removeprefix("---\n")


def settings_schema() -> dict[str, Any]:
    """JSON schema of the chart's `settings`, from the operator's own."""
    properties: dict[str, Any] = {}
    for name, one in Settings.model_json_schema()["properties"].items():
        if name in CHARTS_OWN:
            continue
        camel = re.sub(r"_(\w)", lambda found: found[1].upper(), name)
        properties[camel] = {key: value for key, value in one.items() if key not in {"title", "default"}}
    kind = {
        "type": "object",
        "required": ["apiVersion", "kind"],
        "additionalProperties": False,
        "properties": {
            "apiVersion": {"type": "string", "pattern": "^([a-z0-9.-]+/)?v[0-9a-z]+$"},
            "kind": {"type": "string", "pattern": "^[A-Z][A-Za-z0-9]*$"},
            "resource": {"type": "string", "pattern": "^[a-z][a-z0-9]*$"},
        },
    }
    properties["renewKinds"] |= {"type": "array", "items": kind}
    entry = f"({'|'.join(Operation)})=([0-9]{{1,7}}/[0-9]{{1,7}}|unlimited)"
    properties["rateLimitDefaults"]["pattern"] = f"^({entry}(, *{entry})*)?$"
    properties["logLevel"]["enum"] = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    return {"type": "object", "additionalProperties": False, "properties": properties}


def values_schema() -> str:
    """values.schema.json: what is written there by hand, with the settings and Kubernetes' types as they are now."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    schema["properties"]["settings"] = settings_schema()
    of_kubernetes = dict(kubernetes_definitions())
    own = {name: one for name, one in schema["definitions"].items() if not name.startswith(PREFIX)}
    schema["definitions"] = own | dict.fromkeys(of_kubernetes, None)
    text = json.dumps(schema, indent=2)
    for name, one in of_kubernetes.items():  # a line each: nobody reads them
        text = text.replace(f'"{name}": null', f'"{name}": {json.dumps(one)}')
    return f"{text}\n"


def values_table() -> str:
    """docs/reference/values.md."""
    lines = [
        "# Values of the chart",
        "",
        "Generated from `charts/ipam-operator/values.yaml` by `make manifests`. A name that is not here is refused.",
        "",
        "| value | default | meaning |",
        "|---|---|---|",
    ]
    lines += [f"| `{path}` | `{json.dumps(default)}` | {text} |" for path, default, text in described()]
    return "\n".join(lines) + "\n"


def described() -> Iterator[tuple[str, Any, str]]:
    """Path, default and description of each value that has one, in the file's order."""
    text = (CHART / "values.yaml").read_text()
    values = yaml.safe_load(text)
    parents: list[tuple[int, str]] = []
    words: list[str] = []
    for line in text.splitlines():
        if comment := re.match(r" *# (-- )?(.*)", line):
            words = [comment[2]] if comment[1] else [*words, comment[2]] if words else []
        elif key := re.match(r"( *)(\w+):", line):
            parents = [parent for parent in parents if parent[0] < len(key[1])] + [(len(key[1]), key[2])]
            if words:
                path = [name for _, name in parents]
                default = values
                for name in path:
                    default = default[name]
                yield ".".join(path), default, " ".join(words).replace("|", "\\|")
            words = []


def generated() -> Iterator[tuple[Path, str]]:
    """Every generated file and its text."""
    for crd in sorted((ROOT / "crds").glob("ip*.yaml")):
        yield CHART / "files" / "crds" / crd.name, crd.read_text()
    yield CHART / "files" / "dashboard.json", dashboard()
    yield CHART / "values.schema.json", values_schema()
    yield ROOT / "docs" / "reference" / "values.md", values_table()
    for path, templates in MANIFESTS.items():
        yield INSTALL / path, rendered(*templates)


def main() -> int:
    """Write what is generated, or compare it with what is committed."""
    parser = argparse.ArgumentParser(prog="python -m hack.render", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and show what differs")
    options = parser.parse_args()
    stale = False
    for path, text in generated():  # in this order: Helm reads what was written before
        committed = path.read_text() if path.exists() else ""
        if not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            continue
        old, new = committed.splitlines(keepends=True), text.splitlines(keepends=True)
        for line in difflib.unified_diff(old, new, str(path.relative_to(ROOT)), "generated"):
            stale = True
            print(line, end="")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())

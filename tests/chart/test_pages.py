"""What the pages and samples on installation tell people to type is right."""

import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from hack.install import CRDS, GROUP
from hack.places import ROOT
from tests.chart.support import described, one, render

PAGES = [ROOT / "docs/operations" / f"{name}.md" for name in ("install", "upgrade", "runbooks", "history")]
CONSOLE = re.compile(r"^ *\$ (.*)$", re.MULTILINE)
GITOPS = ROOT / "manifests/gitops"


def commands(page: Path) -> list[list[str]]:
    """Each command of a page's console snippets, as a shell splits it."""
    return [shlex.split(line) for line in CONSOLE.findall(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_are_short(page: Path) -> None:
    """A page is read to its end: at most 130 lines."""
    assert len(page.read_text().splitlines()) <= 130


@pytest.mark.parametrize("page", PAGES[:2], ids=lambda page: page.stem)
def test_helm_commands_render(page: Path) -> None:
    """Each `helm install` and `helm upgrade` names a chart and files that are there, and values that it accepts."""
    found = [words for words in commands(page) if words[:2] in (["helm", "install"], ["helm", "upgrade"])]
    assert found
    for words in found:
        assert words[2:5] == ["ipam-operator", "charts/ipam-operator", "-n"]
        flags = [word for flag, word in pairwise(words) for word in (flag, word) if flag in {"-f", "--set"}]
        one(render({}, *(str(ROOT / word) if word.endswith(".yaml") else word for word in flags)), "Deployment")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_values_in_words_exist(page: Path) -> None:
    """Values that a page names in its text are values of the chart, and files are files."""
    text = page.read_text()
    values = described()
    for path in re.findall(
        r"[`\s]((?:database|metrics|networkPolicy|crds|rbac|probes|podSecurityContext)\.[\w.]+)", text
    ):
        place: Any = values
        for name in path.rstrip(".").split("."):
            assert isinstance(place, dict), path
            assert name in place, path
            place = place[name]
    for named in re.findall(r"`((?:manifests|charts)/[\w./-]+)`", text):
        assert (ROOT / named).exists(), named
    for folder in re.findall(r"-k (\S+)", text):
        assert (ROOT / folder / "kustomization.yaml").exists()


def test_values_for_deletions_are_taken() -> None:
    """The page on history: its values tell the operator of deletions, by a certificate of ours or of others."""
    page = (ROOT / "docs/operations/history.md").read_text()
    plain, given = [
        yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    ]
    name = "deletions.ipclaims.ipam.dotmac.io"
    assert one(render(plain), "ValidatingWebhookConfiguration", name)
    objects = render(given)
    annotations = one(objects, "ValidatingWebhookConfiguration", name)["metadata"]["annotations"]
    certificate = one(objects, "Certificate", "ipam-operator-webhook")["spec"]
    namespace, made = annotations["cert-manager.io/inject-ca-from"].split("/")
    service = one(objects, "Service")["metadata"]
    assert (namespace, made) == (service["namespace"], "ipam-operator-webhook")
    assert certificate["dnsNames"] == [f"{service['name']}.{service['namespace']}.svc"]
    assert certificate["secretName"] == given["admission"]["recordDeletions"]["certificateSecret"]


def test_kinds_to_remove_are_ours() -> None:
    """Whoever removes everything removes each of our kinds."""
    (words,) = (
        words for words in commands(ROOT / "docs/operations/uninstall.md") if words[:3] == ["kubectl", "delete", "crd"]
    )
    assert set(words[3:]) == {f"{path.stem}.{GROUP}" for path in CRDS.glob("ip*.yaml")}


def test_flux_installs_what_the_chart_takes() -> None:
    """The HelmRelease names files that are there, and values that the chart accepts; it never rolls back by itself."""
    text = (GITOPS / "flux/helmrelease.yaml").read_text()
    (release,) = (body for body in yaml.safe_load_all(text) if body["kind"] == "HelmRelease")
    chart = release["spec"]["chart"]["spec"]
    assert (ROOT / chart["chart"] / "Chart.yaml").exists()
    files = [flag for name in chart["valuesFiles"] for flag in ("-f", str(ROOT / name))]
    assert one(render(release["spec"]["values"], *files), "Deployment")["spec"]["replicas"] == 3
    assert release["spec"]["upgrade"]["remediation"]["remediateLastFailure"] is False
    namespace = next(yaml.safe_load_all(text))
    assert namespace["metadata"]["name"] == release["metadata"]["namespace"] == "ipam-system"


def test_argocd_installs_what_the_chart_takes() -> None:
    """So does the Application; it has no finalizer, which would delete all with it."""
    body = yaml.safe_load((GITOPS / "argocd-install/application.yaml").read_text())
    source = body["spec"]["source"]
    files = [flag for name in source["helm"]["valueFiles"] for flag in ("-f", str(ROOT / source["path"] / name))]
    assert one(render(source["helm"]["valuesObject"], *files), "Deployment")["spec"]["replicas"] == 3
    assert "finalizers" not in body["metadata"]
    assert "ServerSideApply=true" in body["spec"]["syncPolicy"]["syncOptions"]

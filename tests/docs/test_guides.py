"""Guides: short, and whatever they tell people to copy is right."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ipam_operator.domain.outcome import Refused
from ipam_operator.kube.resources import FINALIZER, GROUP, VERSION
from tests.contract.cases import ROOT, judge

pytestmark = pytest.mark.unit

GUIDES = sorted((ROOT / "docs/guides").glob("*.md"))
SNIPPET = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GITOPS = (ROOT / "docs/guides/gitops.md").read_text()


def objects(text: str) -> list[dict[str, Any]]:
    """Every object of every YAML snippet."""
    return [body for snippet in SNIPPET.findall(text) for body in yaml.safe_load_all(snippet)]


def of_kind(text: str, kind: str) -> list[dict[str, Any]]:
    return [body for body in objects(text) if body["kind"] == kind]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_snippets_can_be_applied(guide: Path) -> None:
    """Every YAML snippet holds whole objects, and those of our kinds pass our models."""
    found = objects(guide.read_text())
    assert found
    for body in found:
        assert {"apiVersion", "kind", "metadata"} <= body.keys()
        assert body.keys() & {"spec", "rules", "roleRef"} or body["kind"] == "Namespace"
        assert {"name"} <= body["metadata"].keys()
        if body["apiVersion"].startswith(GROUP):
            assert {"name", "namespace"} <= body["metadata"].keys()
            assert body["apiVersion"] == f"{GROUP}/{VERSION}"
            assert not isinstance(judge(body["kind"], body["spec"]), Refused)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_guides_are_short(guide: Path) -> None:
    """A guide is read to its end: at most 120 lines."""
    assert len(guide.read_text().splitlines()) <= 120


def test_gitops_names_what_exists() -> None:
    """Folders of this repository, other Kustomizations and our finalizer are called as they are."""
    install, addresses = of_kind(GITOPS, "Kustomization")
    assert (ROOT / install["spec"]["path"] / "kustomization.yaml").exists()
    assert addresses["spec"]["dependsOn"] == [{"name": install["metadata"]["name"]}]
    (kustomized,) = re.findall(r"^\$ kubectl apply .* -k (\S+)$", GITOPS, re.MULTILINE)
    assert (ROOT / kustomized / "kustomization.yaml").exists()
    assert set(re.findall(rf"`({re.escape(GROUP)}/[a-z]+)`", GITOPS)) == {FINALIZER}


def test_gitops_never_prunes_the_crds() -> None:
    """The CRDs' Kustomization does not prune, for with a CRD every object of its kind is deleted."""
    install, addresses = of_kind(GITOPS, "Kustomization")
    assert (install["spec"]["prune"], addresses["spec"]["prune"]) == (False, True)

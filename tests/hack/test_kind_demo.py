"""`make kind-demo` where there is no docker: what it would run, and that it leaves nothing."""

import json
from pathlib import Path
from typing import Final

import pytest
import yaml

from hack import kind_demo
from hack.places import ROOT
from hack.samples import EXPECTATION, SAMPLES, SETTINGS
from ipam_operator.config import load
from tests.chart.support import environment, one, render

LOG: Final = "log"
SAMPLE: Final = {
    "kind": "IPClaim",
    "metadata": {"namespace": "n", "name": "c", "annotations": {EXPECTATION: "Bound"}},
    "status": {"reason": "Bound"},
}
ANSWER: Final = json.dumps({"contexts": [{"context": {}}], "items": [SAMPLE]})


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory of programs. State lies beside it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("HELM_KUBEAPISERVER", "users")
    monkeypatch.delenv("KEEP", raising=False)
    monkeypatch.setattr(kind_demo, "STATE", tmp_path / "state")
    monkeypatch.setattr(kind_demo, "helm", lambda: programs / "helm")
    return programs


def programs(
    directory: Path, *, fails: str = "nothing", names: tuple[str, ...] = ("docker", "kind", "kubectl", "helm")
) -> None:
    """Programs that write down how they were called, and fail where their arguments match that pattern.

    They answer what is enough for kubectl: one context, one sample that ended as it says.
    """
    for name in names:
        program = directory / name
        program.write_text(
            f'#!/bin/sh\necho {name} "$@" {"$HELM_KUBEAPISERVER" * (name == "helm")} >> {directory.parent}/{LOG}\n'
            f'case "$*" in {fails}) echo no >&2; exit 1;; esac\n'
            f"echo '{ANSWER if name == 'kubectl' else ''}'\n"
        )
        program.chmod(0o755)


def called(directory: Path) -> list[str]:
    """The lines they wrote, without those that look whether docker answers."""
    lines = (directory.parent / LOG).read_text().splitlines()
    return [line for line in lines if line != "docker info"]


@pytest.mark.parametrize(
    "absent", [("docker", "kind", "kubectl"), ("docker",), ("kind",), ("kubectl",), ("docker", "kubectl")]
)
def test_what_is_missing_is_named(path: Path, capsys: pytest.CaptureFixture[str], absent: tuple[str, ...]) -> None:
    """In one line with where to get it, before anything is made."""
    programs(path, names=tuple(name for name in kind_demo.NEEDS if name not in absent))
    assert kind_demo.kind_demo() == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"missing {', '.join(f'{name} ({kind_demo.NEEDS[name]})' for name in absent)}: ")
    assert not (path.parent / "state").exists()


def test_docker_that_does_not_answer_is_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A program without its daemon is none."""
    programs(path, fails="info")
    assert kind_demo.kind_demo() == 2
    assert "docker does not answer" in capsys.readouterr().out


def commands(directory: Path) -> list[str]:
    """What a run that goes well calls, in this order, before it prints what there is."""
    own, pointed = (directory.parent / f"state/kind-demo/{name}.kubeconfig" for name in ("admin", "samples"))
    namespace = "--namespace ipam-system --create-namespace"
    return [
        f"docker build --tag {kind_demo.IMAGE} {ROOT}",
        f"kind delete cluster --name ipam-demo --kubeconfig {own}",
        f"kind create cluster --name ipam-demo --wait 120s --kubeconfig {own} --config {kind_demo.CONFIG}",
        f"kind load docker-image {kind_demo.IMAGE} --name ipam-demo",
        f"helm install ipam-operator {kind_demo.CHART} {namespace} -f - --kubeconfig {own} --wait",
        f"kubectl --kubeconfig={own} config view --minify --flatten -o json",
        f"kubectl --kubeconfig={own} create namespace ipam-samples",
        f"kubectl --kubeconfig={pointed} apply -f {SAMPLES}",
        f"kubectl --kubeconfig={pointed} get ipnetworks,ippools,ipclaims -A -o json",
        *(f"kubectl --kubeconfig={pointed} get {plural} -A" for plural in ("ipclaims", "ippools", "ipnetworks")),
    ]


@pytest.mark.parametrize("keep", [False, True])
def test_the_whole_of_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *, keep: bool
) -> None:
    """All by kubeconfigs of its own, which none of a user's settings replaces; deleted, unless kept and said so."""
    programs(path)
    if keep:
        monkeypatch.setenv("KEEP", "1")
    assert kind_demo.kind_demo() == 0
    every = commands(path)
    assert called(path) == every + ([] if keep else [every[1]])
    told = capsys.readouterr().out
    assert "$ kubectl get ipclaims -A" in told
    assert (f"export KUBECONFIG={path.parent}/state/kind-demo/admin.kubeconfig;" in told) is keep


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize(
    ("fails", "words", "last"),
    [
        ("load*", "kind failed", 3),
        ("install*", "helm failed", 4),
        ("*create?namespace?ipam*", "kubectl create namespace", 6),
        ("*apply?-f*", "kubectl apply", 7),
    ],
)
def test_a_cluster_that_fails_is_deleted(
    path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, words: str, last: int, *, keep: bool
) -> None:
    """At whatever step, and at once; unless it is to be kept."""
    programs(path, fails=fails)
    if keep:
        monkeypatch.setenv("KEEP", "1")
    with pytest.raises(RuntimeError, match=words):
        kind_demo.kind_demo()
    every = commands(path)
    assert called(path) == every[: last + 1] + ([] if keep else [every[1]])


def test_an_image_that_is_not_built_needs_no_cluster(path: Path) -> None:
    """Nor does anything of ours get deleted."""
    programs(path, fails="build*")
    with pytest.raises(RuntimeError, match="docker failed"):
        kind_demo.kind_demo()
    assert called(path) == commands(path)[:1]


def test_half_a_cluster_is_not_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is of no use: deleted, whatever KEEP says."""
    programs(path, fails="create?cluster*")
    monkeypatch.setenv("KEEP", "1")
    with pytest.raises(RuntimeError, match="kind could not create ipam-demo"):
        kind_demo.kind_demo()
    every = commands(path)
    assert called(path) == [*every[:3], every[1]]
    assert "kept" not in capsys.readouterr().out


def test_the_nodes() -> None:
    """Room for the two replicas, in kind's own words."""
    config = yaml.safe_load(kind_demo.CONFIG.read_text())
    assert (config["kind"], config["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")
    assert [node["role"] for node in config["nodes"]] == ["control-plane", "worker", "worker"]


def test_the_chart_takes_the_values() -> None:
    """The pod runs the image that is loaded, with the settings that the samples need."""
    objects = render(kind_demo.VALUES)
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == kind_demo.IMAGE
    given = environment(objects)
    found = load({**{name: given[name] for name in SETTINGS}, "IPAM_DATABASE_URL": "postgresql://h/d"})
    assert found == load({**SETTINGS, "IPAM_DATABASE_URL": "postgresql://h/d"})

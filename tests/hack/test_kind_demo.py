"""`make kind-demo` where there is no docker: what it would run, and that it leaves nothing."""

import json
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from hack import kind_demo
from hack.helm import helm
from hack.places import ROOT
from hack.samples import SETTINGS
from ipam_operator.config import load

LOG: Final = "log"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory of programs. State, and what a user's kubeconfig would be, lie beside it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "users"))
    monkeypatch.delenv("KEEP", raising=False)
    monkeypatch.setattr(kind_demo, "STATE", tmp_path / "state")
    return programs


def programs(
    directory: Path, *, fails: str = "nothing", names: tuple[str, ...] = ("docker", "kind", "kubectl")
) -> None:
    """Programs that write down how they were called; whatever has that word in its arguments fails."""
    for name in names:
        program = directory / name
        program.write_text(
            f'#!/bin/sh\necho {name} "$@" >> {directory.parent}/{LOG}\n'
            f'case "$*" in *{fails}*) echo no >&2; exit 1;; esac\n'
        )
        program.chmod(0o755)


def called(directory: Path) -> list[str]:
    """The lines they wrote, without those that look whether docker answers."""
    lines = (directory.parent / LOG).read_text().splitlines()
    return [line for line in lines if line != "docker info"]


@pytest.mark.parametrize(
    ("names", "lack"),
    [
        ((), "kind is not on PATH"),
        (("kind", "kubectl"), "docker does not answer"),
        (("kind", "docker"), "kubectl is not on PATH"),
    ],
)
def test_what_is_missing_is_named(
    path: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, ...], lack: str
) -> None:
    """In one line, before anything is made."""
    programs(path, names=names)
    assert kind_demo.kind_demo() == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{lack}: ")
    assert not (path.parent / "state").exists()


def test_docker_that_does_not_answer_is_named(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A program without its daemon is none."""
    programs(path, fails="info")
    assert kind_demo.kind_demo() == 2
    assert "docker does not answer" in capsys.readouterr().out


@pytest.mark.parametrize("keep", [False, True])
def test_a_cluster_that_fails_is_deleted(path: Path, monkeypatch: pytest.MonkeyPatch, *, keep: bool) -> None:
    """Unless it is to be kept. Its kubeconfig is its own."""
    programs(path, fails="load")
    if keep:
        monkeypatch.setenv("KEEP", "1")
    with pytest.raises(RuntimeError, match="kind failed"):
        kind_demo.kind_demo()
    own = path.parent / "state/kind-demo/admin.kubeconfig"
    deleted = f"kind delete cluster --name ipam-demo --kubeconfig {own}"
    assert called(path) == [
        f"docker build --tag {kind_demo.IMAGE} {ROOT}",
        deleted,
        f"kind create cluster --name ipam-demo --wait 120s --kubeconfig {own} --config {kind_demo.CONFIG}",
        f"kind load docker-image {kind_demo.IMAGE} --name ipam-demo",
        *([] if keep else [deleted]),
    ]
    assert not (path.parent / "users").exists()


def test_the_nodes() -> None:
    """Room for the two replicas, in kind's own words."""
    config = yaml.safe_load(kind_demo.CONFIG.read_text())
    assert (config["kind"], config["apiVersion"]) == ("Cluster", "kind.x-k8s.io/v1alpha4")
    assert [node["role"] for node in config["nodes"]] == ["control-plane", "worker", "worker"]


def test_the_chart_takes_the_values() -> None:
    """The pod runs the image that is loaded, with the settings that the samples need."""
    done = subprocess.run(
        [helm(), "template", "x", kind_demo.CHART, "-f", "-"],
        input=json.dumps(kind_demo.VALUES),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (deployment,) = (body for body in yaml.safe_load_all(done.stdout) if body and body["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == kind_demo.IMAGE
    given: dict[str, Any] = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    found = load({**{name: given[name] for name in SETTINGS}, "IPAM_DATABASE_URL": "postgresql://h/d"})
    assert found == load({**SETTINGS, "IPAM_DATABASE_URL": "postgresql://h/d"})

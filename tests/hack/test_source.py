"""Where a control plane comes from."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from hack import source
from hack.acquire import NODE_INPUTS, NODE_RECIPE
from hack.source import PROGRAMS, Facts, SourceError, Way, choose, lack_of_assets, lack_of_build, survey

HERE = Path("/somewhere")
LOOPBACK = "https://127.0.0.1:6443"
ALL = Facts(
    kubeconfig=HERE,
    server=LOOPBACK,
    assets=HERE,
    assets_lack="",
    cache=HERE,
    cache_lack="",
    kind_lack="",
    build_lack="",
)
CLOSED: dict[Way, dict[str, Any]] = {
    Way.KUBECONFIG: {"kubeconfig": None},
    Way.ASSETS: {"assets_lack": "empty"},
    Way.CACHE: {"cache_lack": "empty"},
    Way.KIND: {"kind_lack": "no docker"},
    Way.BUILD: {"build_lack": "no Go"},
}


def without(*ways: Way) -> Facts:
    """A machine on which these ways are closed."""
    changes = {name: value for way in ways for name, value in CLOSED[way].items()}
    return Facts(**{**ALL.__dict__, **changes})


@pytest.mark.parametrize("number", range(5))
def test_first_open_way_is_taken(number: int) -> None:
    """Of all that applies the first is taken, in the order: named, assets, cache, kind, build."""
    ways = list(Way)
    assert choose(without(*ways[:number])).way is ways[number]


def test_no_way_names_all_five() -> None:
    """Without any way the error has five lines, each naming one and why it is closed."""
    with pytest.raises(SourceError) as caught:
        choose(without(*Way))
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    for line, words in zip(lines, ("IPAM_TEST_KUBECONFIG", "KUBEBUILDER_ASSETS", "cache", "kind", "Go"), strict=True):
        assert words in line
    assert "no docker" in lines[3]


@pytest.mark.parametrize(
    "server", ["https://10.0.0.1:6443", "https://api.example.com", "", "https://127.0.0.1.evil.example"]
)
def test_remote_kubeconfig_is_refused(server: str) -> None:
    """A named kubeconfig that leads elsewhere is refused, and nothing else is tried instead."""
    with pytest.raises(SourceError, match="IPAM_TEST_ALLOW_REMOTE=1"):
        choose(Facts(**{**ALL.__dict__, "server": server}))


def test_remote_kubeconfig_with_consent() -> None:
    """With explicit consent a remote cluster is used."""
    facts = Facts(**{**ALL.__dict__, "server": "https://10.0.0.1:6443", "allow_remote": True})
    assert choose(facts).way is Way.KUBECONFIG


@pytest.mark.parametrize("server", ["https://localhost:1", "https://[::1]:6443", LOOPBACK])
def test_loopback_kubeconfig_is_used(server: str) -> None:
    """Every spelling of loopback counts as this machine."""
    assert choose(Facts(**{**ALL.__dict__, "server": server})).way is Way.KUBECONFIG


def look(
    environment: dict[str, str], programs: dict[str, str], *, docker: bool = False, go: tuple[int, ...] = ()
) -> Facts:
    return survey(
        environment,
        which=programs.get,
        answers=lambda *_: docker,
        go_version=lambda _: go,
        server_of=lambda _: LOOPBACK,
    )


def test_ambient_kubeconfig_is_never_used(tmp_path: Path) -> None:
    """KUBECONFIG, which may lead to production, plays no part."""
    facts = look({"KUBECONFIG": "/production", "IPAM_CACHE": str(tmp_path)}, {})
    assert facts.kubeconfig is None


def test_kind_needs_an_answering_docker(tmp_path: Path) -> None:
    """A docker client without a daemon is no way to a cluster."""
    environment = {"IPAM_CACHE": str(tmp_path)}
    programs = {"kind": "/bin/kind", "docker": "/bin/docker"}
    assert look(environment, programs).kind_lack == "docker does not answer"
    assert look(environment, programs, docker=True).kind_lack == ""


def test_old_go_is_passed_over(tmp_path: Path) -> None:
    """A Go older than go.mod asks for is replaced by the wheel."""
    environment = {"IPAM_CACHE": str(tmp_path)}
    assert look(environment, {"go": "/bin/go"}, go=(1, 19, 8)).go is None
    assert look(environment, {"go": "/bin/go"}, go=(1, 99, 0)).go == Path("/bin/go")


def test_incomplete_assets_are_named(tmp_path: Path) -> None:
    """Assets without a controller-manager, as envtest has them, say so and are passed over."""
    for program in PROGRAMS[:2]:
        (tmp_path / program).touch()
    assert "kube-controller-manager" in lack_of_assets(tmp_path)


def test_cache_is_verified(tmp_path: Path) -> None:
    """A cached build is used only while every checksum matches."""
    assert lack_of_build(tmp_path)
    sums = []
    for program in PROGRAMS:
        (tmp_path / program).write_text(program)
        sums.append(f"{hashlib.sha256(program.encode()).hexdigest()}  {program}")
    (tmp_path / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    (tmp_path / ".key").write_text("key")
    assert lack_of_build(tmp_path) == ""
    (tmp_path / "etcd").write_text("tampered")
    assert "etcd" in lack_of_build(tmp_path)


def test_key_depends_on_recipe_and_platform() -> None:
    """Another platform never gets this one's programs."""
    assert source.key(machine="Linux-x86_64") != source.key(machine="Linux-aarch64")


def test_node_and_control_plane_are_of_one_version() -> None:
    """A node's programs and its control plane are pinned to the same Kubernetes, and so tested as a pair."""
    versions = {
        line.split()[1]
        for recipe in (source.RECIPE, NODE_RECIPE)
        for line in (recipe / "go.mod").read_text().splitlines()
        if line.startswith("\tk8s.io/kubernetes v")
    }
    assert len(versions) == 1


def test_key_of_node_programs_covers_all_that_is_built(tmp_path: Path) -> None:
    """Every file of the recipe decides the name under which its programs are cached."""
    files = {str(path.relative_to(NODE_RECIPE)) for path in NODE_RECIPE.rglob("*") if path.is_file()}
    assert files == set(NODE_INPUTS)
    shutil.copytree(NODE_RECIPE, tmp_path, dirs_exist_ok=True)
    before = source.key(tmp_path, inputs=NODE_INPUTS)
    (tmp_path / "pause" / "main.go").write_text("package main")
    assert source.key(tmp_path, inputs=NODE_INPUTS) != before

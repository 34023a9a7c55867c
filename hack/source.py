"""Where a control plane comes from: a pure decision over what this machine offers."""

import hashlib
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from hack.places import ROOT, cache

RECIPE = ROOT / "hack" / "control-plane"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
INPUTS = ("go.mod", "go.sum", "build.sh")
#: Platforms that the pinned wheel of Go has.
WHEEL_PLATFORMS = {"Linux-x86_64", "Linux-aarch64", "Darwin-arm64", "Darwin-x86_64"}
LOOPBACK_NAMES = {"127.0.0.1", "::1", "localhost"}


class SourceError(RuntimeError):
    """No control plane, or one that was named must not be used."""


class Way(StrEnum):
    """The ways to a control plane, in the order in which they are tried."""

    KUBECONFIG = "kubeconfig"
    ASSETS = "assets"
    CACHE = "cache"
    KIND = "kind"
    BUILD = "build"


@dataclass(frozen=True)
class Facts:
    """What a machine offers; a sentence in `*_lack` says why a way is closed, empty if it is open."""

    kubeconfig: Path | None = None
    server: str = ""
    allow_remote: bool = False
    assets: Path | None = None
    assets_lack: str = "KUBEBUILDER_ASSETS is not set"
    cache: Path = Path()
    cache_lack: str = "nothing built yet"
    kind_lack: str = "kind is not on PATH"
    build_lack: str = "no Go, and no wheel of it for this platform"
    go: Path | None = None


@dataclass(frozen=True)
class Source:
    """The way that was chosen, and why."""

    way: Way
    why: str
    path: Path = field(default_factory=Path)


def is_loopback(server: str) -> bool:
    """Whether this URL leads to this machine."""
    return urlsplit(server).hostname in LOOPBACK_NAMES


def choose(facts: Facts) -> Source:
    """The first way that applies.

    Raises:
        SourceError: none does, in five lines; or the named kubeconfig leads elsewhere.
    """
    if facts.kubeconfig is not None:
        if not (facts.allow_remote or is_loopback(facts.server)):
            raise SourceError(
                f"IPAM_TEST_KUBECONFIG leads to {facts.server or 'no server'}, which is not this machine: "
                "tests create and delete; set IPAM_TEST_ALLOW_REMOTE=1 if you mean it"
            )
        return Source(Way.KUBECONFIG, f"IPAM_TEST_KUBECONFIG names {facts.kubeconfig}", facts.kubeconfig)
    if facts.assets is not None and not facts.assets_lack:
        return Source(Way.ASSETS, f"KUBEBUILDER_ASSETS names {facts.assets}", facts.assets)
    if not facts.cache_lack:
        return Source(Way.CACHE, f"built before, checksums match: {facts.cache}", facts.cache)
    if not facts.kind_lack:
        return Source(Way.KIND, "kind is on PATH and docker answers")
    if not facts.build_lack:
        return Source(Way.BUILD, f"with {facts.go or 'the pinned wheel of Go'}, into {facts.cache}", facts.cache)
    raise SourceError(none_possible(facts))


def none_possible(facts: Facts) -> str:
    """Five lines: each way, why it is closed, and so what would open it."""
    return "\n".join(
        (
            "no control plane: IPAM_TEST_KUBECONFIG=FILE names a cluster of yours (not set)",
            f"  or KUBEBUILDER_ASSETS=DIR holds {', '.join(PROGRAMS)} ({facts.assets_lack})",
            f"  or the cache {facts.cache} holds a build ({facts.cache_lack})",
            f"  or kind and docker make a cluster ({facts.kind_lack})",
            f"  or Go builds one from hack/control-plane ({facts.build_lack})",
        )
    )


def key(recipe: Path = RECIPE, machine: str = "", inputs: Sequence[str] = INPUTS) -> str:
    """Name of what this recipe builds from these files of its own on this platform."""
    digest = hashlib.sha256((machine or f"{platform.system()}-{platform.machine()}").encode())
    for name in inputs:
        digest.update((recipe / name).read_bytes())
    return digest.hexdigest()[:16]


def lack_of_assets(directory: Path) -> str:
    """Which programs are not there; empty if none is missing."""
    absent = [program for program in PROGRAMS if not (directory / program).is_file()]
    return f"{directory} lacks {', '.join(absent)}" if absent else ""


def lack_of_build(directory: Path, programs: Sequence[str] = PROGRAMS) -> str:
    """Why this cache entry cannot be used; empty if its checksums match."""
    if not (directory / ".key").exists():
        return "nothing built yet"
    rows = [line.split() for line in (directory / "SHA256SUMS").read_text().splitlines()]
    sums = {name: checksum for checksum, name in rows}
    for program in programs:
        file = directory / program
        if not file.exists():
            return f"{program} is gone"
        with file.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != sums.get(program):
                return f"{program} does not match its checksum"
    return ""


def lack_of_kind(which: Callable[[str], str | None], answers: Callable[..., bool]) -> str:
    """Why kind cannot make a cluster here; empty where it can."""
    if not which("kind"):
        return "kind is not on PATH"
    return "" if which("docker") and answers("docker", "info") else "docker does not answer"


def survey(
    environment: Mapping[str, str],
    *,
    which: Callable[[str], str | None],
    answers: Callable[..., bool],
    go_version: Callable[[str], tuple[int, ...]],
    server_of: Callable[[Path], str],
) -> Facts:
    """Look at what is there; the ambient KUBECONFIG is never looked at.

    Args:
        environment: variables.
        which: finds a program.
        answers: whether a command succeeds.
        go_version: of a program, as numbers.
        server_of: URL that a kubeconfig leads to.
    """
    named = environment.get("IPAM_TEST_KUBECONFIG")
    assets = environment.get("KUBEBUILDER_ASSETS")
    entry = cache(environment) / "control-plane" / key()
    go = which("go")
    if go and go_version(go) < needed_go():
        go = None
    wheel = f"{platform.system()}-{platform.machine()}" in WHEEL_PLATFORMS
    return Facts(
        kubeconfig=Path(named) if named else None,
        server=server_of(Path(named)) if named else "",
        allow_remote=environment.get("IPAM_TEST_ALLOW_REMOTE") == "1",
        assets=Path(assets) if assets else None,
        assets_lack=lack_of_assets(Path(assets)) if assets else "KUBEBUILDER_ASSETS is not set",
        cache=entry,
        cache_lack=lack_of_build(entry),
        kind_lack=lack_of_kind(which, answers),
        build_lack="" if go or wheel else "no Go, and no wheel of it for this platform",
        go=Path(go) if go else None,
    )


def needed_go(recipe: Path = RECIPE) -> tuple[int, ...]:
    """The version that go.mod asks for."""
    lines = (recipe / "go.mod").read_text().splitlines()
    return tuple(int(part) for part in next(line for line in lines if line.startswith("go ")).split()[1].split("."))

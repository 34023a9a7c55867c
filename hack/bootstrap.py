#!/usr/bin/env python3
"""Make `.venv` hold exactly what `hack/requirements.txt` pins, and the project itself.

Runs with the system's Python and nothing else. A second run compares one hash and ends.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "hack" / "requirements.txt"
#: Programs that pip cannot install, and the package that holds each.
PROGRAMS = {"openssl": "openssl", "setpriv": "util-linux"}
MINIMUM = (3, 11)


def missing(
    version: tuple[int, int] = (sys.version_info[0], sys.version_info[1]),
    which: Callable[[str], str | None] = shutil.which,
    find_module: Callable[[str], object] = importlib.util.find_spec,
    *,
    venv_ready: bool = False,
) -> str:
    """One line that names what is missing and the command that installs it; empty if nothing is."""
    if version < MINIMUM:
        wanted = ".".join(map(str, MINIMUM))
        found = ".".join(map(str, version))
        return f"Python {wanted} or newer is needed, this is {found}: make PYTHON=/path/to/python{wanted} ..."
    packages = [package for program, package in PROGRAMS.items() if which(program) is None]
    if not venv_ready and not (find_module("ensurepip") and find_module("venv")):
        packages.append("python3-venv")
    if not packages:
        return ""
    sudo = "" if os.geteuid() == 0 else "sudo "
    return f"missing {', '.join(packages)}: {sudo}apt-get install -y {' '.join(packages)}"


def fingerprint(root: Path = ROOT) -> str:
    """Hash of all that decides what the environment holds."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {root}".encode())
    for name in ("pyproject.toml", "hack/requirements.txt"):
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def runs(python: Path) -> bool:
    """Whether this interpreter starts, is new enough, and has pip."""
    check = f"import sys, pip; sys.exit(sys.version_info < {MINIMUM})"
    return python.exists() and subprocess.run([python, "-c", check], capture_output=True, check=False).returncode == 0


def step(title: str, command: Sequence[str | Path]) -> None:
    """Run one command quietly, and loudly when it fails.

    Raises:
        SystemExit: with the command's own words.
    """
    print(f"==> {title}", flush=True)
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{done.stdout.decode(errors='replace')}\nbootstrap: {title} failed (exit {done.returncode})")
    print(f"    {title}: {time.monotonic() - began:.1f} s", flush=True)


def create(venv: Path) -> None:
    """Make an empty environment, unless a working one stands there."""
    if not runs(venv / "bin" / "python"):
        step("virtual environment", [sys.executable, "-m", "venv", "--clear", venv])


def install(venv: Path) -> None:
    """Fill the environment, unless its stamp says that it holds all this already."""
    stamp = venv / ".stamp"
    if stamp.exists() and stamp.read_text() == fingerprint():
        return
    stamp.unlink(missing_ok=True)
    pip: list[str | Path] = [venv / "bin" / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    step(
        "pinned requirements",
        [*pip, "--require-hashes", "--no-deps", "--no-compile", "--only-binary", ":all:", "-r", REQUIREMENTS],
    )
    step("the project, editable", [*pip, "--no-deps", "--no-build-isolation", "--no-index", "--editable", "."])
    stamp.write_text(fingerprint())


def main() -> None:
    """Check, create, install; one at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bare", action="store_true", help="only create the environment, install nothing")
    options = parser.parse_args()
    venv = ROOT / ".venv"
    if lack := missing(venv_ready=runs(venv / "bin" / "python")):
        sys.exit(lack)
    lock_file = ROOT / ".local" / "bootstrap.lock"
    lock_file.parent.mkdir(exist_ok=True)
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        create(venv)
        if not options.bare:
            install(venv)


if __name__ == "__main__":
    main()

"""Programs that only Debian packages bring: installed when we may, named when we may not."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping

from hack.places import is_root
from hack.steps import step

PAUSES = (2.0, 5.0, 15.0)
"""Seconds between tries: a name that is not found now often is soon, and apt-get does not tell that from what lasts."""
APT = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300")


def need(programs: Mapping[str, str]) -> None:
    """Have these programs, whose packages are given, on PATH.

    Raises:
        RuntimeError: they are missing and we are not root, or apt-get failed; one line with the command that helps.
    """
    absent = {program: package for program, package in programs.items() if not _installed(program)}
    if not absent:
        return
    install(set(absent.values()), absent)


def install_command(*packages: str) -> str:
    """What a person types to have these packages."""
    return f"apt-get install -y --no-install-recommends {' '.join(packages)}"


def install(names: Iterable[str], missing: Iterable[str]) -> None:
    """Install these packages, for what is missing without them.

    Raises:
        RuntimeError: we are not root, or apt-get failed; one line with the command that helps.
    """
    packages, lack = sorted(names), f"missing {', '.join(missing)}"
    command = install_command(*packages)
    if not (is_root() and shutil.which("apt-get")):
        raise RuntimeError(f"{lack}: sudo {command}")
    with step(f"apt-get install {' '.join(packages)}"):
        # First as it is: most machines have lists of packages, and fetching them again takes longer than the rest.
        if _apt("install", packages) and not any(_refreshed(packages, pause) for pause in (0.0, *PAUSES)):
            raise RuntimeError(f"{lack}, and this failed: {command}")


def _refreshed(packages: list[str], pause: float) -> bool:
    time.sleep(pause)
    return not (_apt("update", ()) or _apt("install", packages))


def _installed(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/sbin") is not None


def _apt(verb: str, packages: list[str] | tuple[()]) -> int:
    options = ("-y", "--no-install-recommends") if packages else ()
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = [*APT, verb, *options, *packages]
    return subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode

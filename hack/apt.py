"""Programs that only Debian packages bring: installed when we may, named when we may not."""

import os
import shutil
import subprocess
from collections.abc import Mapping

from hack.places import is_root
from hack.steps import step

APT = ("apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300")


def need(programs: Mapping[str, str]) -> None:
    """Have these programs, whose packages are given, on PATH.

    Raises:
        RuntimeError: they are missing and we are not root, or apt-get failed; one line with the command that helps.
    """
    absent = {program: package for program, package in programs.items() if not _installed(program)}
    if not absent:
        return
    packages = sorted(set(absent.values()))
    command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
    if not (is_root() and shutil.which("apt-get")):
        raise RuntimeError(f"missing {', '.join(absent)}: sudo {command}")
    with step(f"apt-get install {' '.join(packages)}"):
        # First as it is: most machines have lists of packages, and fetching them again takes longer than the rest.
        if _apt("install", packages) and (_apt("update", ()) or _apt("install", packages)):
            raise RuntimeError(f"missing {', '.join(absent)}, and this failed: {command}")


def _installed(program: str) -> bool:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/sbin") is not None


def _apt(verb: str, packages: list[str] | tuple[()]) -> int:
    options = ("-y", "--no-install-recommends") if packages else ()
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = [*APT, verb, *options, *packages]
    return subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode

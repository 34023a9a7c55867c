"""Debian's packages unpacked beside the system: for what should not be installed, or may not be."""

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from hack.apt import install_command
from hack.places import cache, is_root, locked, open_ground
from hack.steps import step


def unpacked(package: str, works: Callable[[Path], bool], libraries: str = "") -> Path:
    """Directory with the package's files as below /, kept in the cache.

    Args:
        package: its name.
        works: whether what lies in the directory can be used.
        libraries: pattern of the packages it depends on that few machines have, and that are unpacked with it.

    Raises:
        RuntimeError: there is none, or it does not work here; with the command that installs it.
    """
    home = (open_ground() / "cache" if is_root() else cache()) / package
    with locked(home):
        if not works(home):
            with step(f"{package}: none on this machine, unpacking Debian's"):
                shutil.rmtree(home, ignore_errors=True)
                _download(package, libraries, home)
    if not works(home):
        raise RuntimeError(f"no {package}: {install_command(package)}")
    return home


def _download(package: str, libraries: str, home: Path) -> None:
    home.mkdir()
    try:
        if is_root():  # an image's package lists are often empty
            _quietly("apt-get", "update", directory=home)
        needs = _quietly("apt-cache", "depends", package, directory=home)
        wanted = re.findall(rf"Depends: ({libraries})$", needs, re.MULTILINE) if libraries else []
        unconfined = ("-o", "APT::Sandbox::User=root") if is_root() else ()
        _quietly("apt-get", *unconfined, "download", package, *wanted, directory=home)
        for file in sorted(home.glob("*.deb")):
            _quietly("dpkg-deb", "--extract", str(file), ".", directory=home)
            file.unlink()
    except (OSError, subprocess.CalledProcessError) as failure:
        words = getattr(failure, "stderr", "") or str(failure)
        raise RuntimeError(f"no {package}: {install_command(package)} (and no package: {words.strip()})") from failure


def _quietly(*command: str, directory: Path) -> str:
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout

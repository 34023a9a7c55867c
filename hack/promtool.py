"""promtool, which checks and tests alerts: on PATH, else out of the Debian package `prometheus`, in our cache."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from hack.places import cache, locked
from hack.steps import step

PACKAGE = "prometheus"


def promtool() -> Path:
    """The program.

    Raises:
        RuntimeError: it is not on PATH, and there is no apt to ask; one line.
    """
    if found := shutil.which("promtool"):
        return Path(found)
    home = cache() / "promtool"
    program = home / "promtool"
    with locked(home):
        if not program.exists():
            with step(f"promtool: unpacking Debian's package {PACKAGE}"):
                _unpack(program)
    return program


def _unpack(program: Path) -> None:
    # Not installed: the package would start a server of its own. apt checks its signature.
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        try:
            subprocess.run(["apt-get", "download", PACKAGE], cwd=directory, capture_output=True, check=True)
            (package,) = Path(directory).glob("*.deb")
            subprocess.run(["dpkg", "-x", package, directory], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError, ValueError) as failure:
            raise RuntimeError(f"no promtool: apt-get install {PACKAGE} ({failure})") from failure
        program.parent.mkdir(exist_ok=True)
        draft = program.with_suffix(".part")
        shutil.copy2(Path(directory) / "usr" / "bin" / "promtool", draft)
        draft.replace(program)

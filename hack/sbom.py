"""`make sbom`: what the image's locked requirements are, whose, and under which licences, as CycloneDX."""

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from hack.image import run
from hack.places import ROOT, cache, locked
from hack.steps import say, step

SBOM = ROOT / ".local" / "sbom.cdx.json"
LOCK = ROOT / "hack" / "requirements-image.txt"
TOOL = ROOT / "hack" / "requirements-sbom.txt"
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
PINNED = ("--no-deps", "--no-compile", "--require-hashes", "--only-binary", ":all:", "-r")


def make() -> int:
    """Write it: the same bytes for the same lock."""
    SBOM.parent.mkdir(exist_ok=True)
    generator = have_generator()
    with step("software bill of materials"), tempfile.TemporaryDirectory() as scratch:
        # Installed, since only an installed package tells its licence and what it needs.
        subject = installed(LOCK, Path(scratch) / "venv")
        options = ("--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "application", "--output-reproducible")
        command = [str(generator), "-W", "ignore", "-m", "cyclonedx_py", "environment", *options]
        draft = SBOM.with_suffix(f".{os.getpid()}")  # whoever reads it meanwhile finds all of the one before
        run([*command, "--output-file", str(draft), str(subject)])
        draft.replace(SBOM)
    say(f"    {SBOM.relative_to(ROOT)}")
    return 0


def have_generator() -> Path:
    """The Python that has the pinned generator, in a cache of ours: its thirty packages would only be in the way."""
    key = hashlib.sha256(TOOL.read_bytes() + sys.version.encode()).hexdigest()[:12]
    venv = cache() / f"sbom-{key}"
    with locked(venv):
        if not venv.is_dir():
            with step("cyclonedx-bom: installing the pinned wheels"):
                draft = venv.with_suffix(".new")
                shutil.rmtree(draft, ignore_errors=True)
                installed(TOOL, draft)
                draft.rename(venv)
    return venv / "bin" / "python"


def installed(requirements: Path, venv: Path) -> Path:
    """The Python of a new environment that holds this lock file and nothing else, not even pip."""
    python = venv / "bin" / "python"
    run([sys.executable, "-m", "venv", "--without-pip", str(venv)])
    run([*PIP, "--python", str(python), "install", *PINNED, str(requirements)])
    return python

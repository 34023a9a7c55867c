"""An image's archive, read as a runtime reads it, and its programs, run as a pod runs them."""

import json
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

WORK = "/mnt"
"""The one place in which a program may write; both images have it, empty."""
POD = ("--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--pdeathsig=KILL")
"""Options for setpriv: all that a restricted pod takes away, and an end together with us."""
MOUNTS = """set -e
mount --bind "$1" "$1"
mount --rbind /proc "$1/proc"
mount --rbind /dev "$1/dev"
mount --bind "$2" "$1/mnt"
mount -o remount,bind,ro "$1"
root=$1; shift 2
exec chroot "$root" "$@"
"""


@dataclass(frozen=True)
class Archive:
    """A docker archive."""

    path: Path

    def _read(self, name: str) -> Any:
        with tarfile.open(self.path) as outer:
            member = outer.extractfile(name)
            assert member is not None, name
            return json.load(member)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Names and layers."""
        (only,) = self._read("manifest.json")
        return dict(only)

    @cached_property
    def config(self) -> dict[str, Any]:
        """`created`, `config`, `history`."""
        return dict(self._read(self.manifest["Config"]))

    @property
    def environment(self) -> dict[str, str]:
        """What its programs see."""
        return dict(row.split("=", 1) for row in self.config["config"]["Env"])

    def sizes(self) -> list[int]:
        """Bytes of each layer, unpacked, the base's first."""
        with tarfile.open(self.path) as outer:
            return [outer.getmember(name).size for name in self.manifest["Layers"]]

    def last_layer(self) -> list[tarfile.TarInfo]:
        """What the image adds to its base."""
        with (
            tarfile.open(self.path) as outer,
            tarfile.open(fileobj=outer.extractfile(self.manifest["Layers"][-1])) as it,
        ):
            return it.getmembers()

    def unpack(self, root: Path) -> None:
        """Lay all layers over each other, as root."""
        for name in self.manifest["Layers"]:
            unpack = 'tar -xOf "$1" "$2" | tar -x --numeric-owner --same-owner -C "$3"'
            subprocess.run(["bash", "-o", "pipefail", "-c", unpack, "-", self.path, name, root], check=True)


@dataclass(frozen=True)
class Pod:
    """A read-only root file system and a user who can do nothing."""

    root: Path
    work: Path
    environment: Mapping[str, str]
    user: int = 65532
    group: int = 65532

    def command(self, *arguments: str) -> list[str]:
        """What runs a program of the image, without a shell in between."""
        identity = (f"--reuid={self.user}", f"--regid={self.group}")
        inside = ("/usr/bin/setpriv", *identity, *POD, "--", *arguments)
        return ["unshare", "--mount", "--", "bash", "-c", MOUNTS, "-", str(self.root), str(self.work), *inside]

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self.command(*arguments),
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

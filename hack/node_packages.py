"""What a node needs of the system: Debian packages, installed by us where we are root."""

import shutil
from collections.abc import Callable
from pathlib import Path

from hack import apt
from hack.places import is_root

CNI = Path("/usr/lib/cni")
PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "mount": "mount",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "openssl": "openssl",
}


def missing(which: Callable[[str], str | None] = shutil.which, plugins: Path = CNI) -> list[str]:
    """Packages that hold what is not there."""
    found = [package for program, package in PROGRAMS.items() if which(program) is None]
    if not (plugins / "bridge").exists() or not (plugins / "host-local").exists():
        found.append("containernetworking-plugins")
    return sorted(set(found))


def lack(packages: list[str], *, root: bool | None = None, which: Callable[[str], str | None] = shutil.which) -> str:
    """One line that says why there can be no node here and what would help; empty if we can help ourselves."""
    root = is_root() if root is None else root
    if not root:
        return "a node needs root, for its namespaces: sudo make e2e"
    if packages and which("apt-get") is None:
        return f"a node needs {', '.join(packages)} (Debian's names), and there is no apt-get to install them"
    return ""


def install() -> None:
    """Install what is missing.

    Raises:
        RuntimeError: one line, with the command that would do it.
    """
    packages = missing()
    if problem := lack(packages):
        raise RuntimeError(problem)
    if not packages:
        return
    apt.install(packages, packages)
    if rest := missing():
        raise RuntimeError(f"missing {', '.join(rest)}, though apt-get has installed them")

"""Where things lie: the clone, its state, the cache, and ground that every user can read."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "dotmac-ipam"
#: Ground that an unprivileged user can read; a clone or a home often is not.
OPEN_GROUND = Path("/var/lib") / NAME
MEMORY = Path("/dev/shm")
MEMORY_BYTES = 3 << 30
"""Room for the data, the write-ahead log and etcd of a run, with much to spare."""


def is_root() -> bool:
    """Whether servers that refuse root must be given another user."""
    return os.geteuid() == 0


def cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Where what was built or downloaded stays from run to run."""
    base = environment.get("IPAM_CACHE") or environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / NAME


def open_ground() -> Path:
    """A directory of ours that the unprivileged user of a root's server can enter."""
    OPEN_GROUND.mkdir(mode=0o755, exist_ok=True)
    return OPEN_GROUND


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """One at a time makes this file or directory, whose parent is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f"{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def clone_key(root: Path = ROOT) -> str:
    """Short name of this clone, so that two clones never share state."""
    return hashlib.sha256(str(root).encode()).hexdigest()[:10]


def server_state(state: Path) -> Path:
    """Where PostgreSQL keeps what belongs to `state`: there, or outside the clone for root."""
    if not is_root():
        return state / "postgres"
    return open_ground() / clone_key(state.resolve())


def temporary_ground() -> Path | None:
    """Where files of one run lie: in memory, where creating a database takes a tenth of the time, if there is room.

    Returns:
        None: the system's own temporary directory.
    """
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES:
        return MEMORY
    return open_ground() if is_root() else None


def make_temporary(prefix: str) -> Path:
    """A new directory, readable for root's unprivileged servers, that goes at the latest with the next run's first."""
    ground = temporary_ground()
    _sweep(ground or Path(tempfile.gettempdir()))
    directory = Path(tempfile.mkdtemp(prefix=f"{NAME}-{prefix}-{os.getpid()}-", dir=ground))
    if is_root():
        directory.chmod(0o755)
    return directory


def _sweep(ground: Path) -> None:
    """Remove what runs left behind that were killed."""
    for directory in ground.glob(f"{NAME}-*-*-*"):
        pid = directory.name.removeprefix(f"{NAME}-").split("-")[1]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def temporary(prefix: str) -> Iterator[Path]:
    """A directory for one run, removed afterwards; readable for root's unprivileged servers."""
    directory = make_temporary(prefix)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)

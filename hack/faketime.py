"""libfaketime: a process whose wall clock is wrong by a given time. Debian's, unpacked: nothing else here needs it."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from hack.debian import unpacked

LIBRARY = "usr/lib/*/faketime/libfaketime.so.1"


def _library(home: Path) -> Path | None:
    return next(iter(home.glob(LIBRARY)), None)


def shifted(by: timedelta) -> Mapping[str, str]:
    """Environment in which a program's wall clock is wrong by so much; its monotonic one, and files' times, are right.

    Raises:
        RuntimeError: there is no such library; with the command that installs it.
    """
    library = _library(unpacked("libfaketime", lambda home: _library(home) is not None))
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{by.total_seconds():+.0f}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }

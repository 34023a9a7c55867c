"""Progress lines with the seconds since the start."""

import sys
import time

_BEGAN = time.monotonic()


def say(text: str) -> None:
    """Print a line at once, also into a pipe."""
    sys.stdout.write(f"{elapsed():7.1f} s  {text}\n")
    sys.stdout.flush()


def elapsed() -> float:
    """Seconds since the benchmark began."""
    return time.monotonic() - _BEGAN

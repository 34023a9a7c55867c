"""The background process of `make up`: holds the stack until it is told to go, or a part of it dies."""

import argparse
import os
import sys
import time
from pathlib import Path

from hack.processes import Register, exit_on_signals
from hack.stack import Stack
from hack.steps import say

CHECK_SECONDS = 1.0
SUPERVISOR = "supervisor"


def main() -> None:
    """Start the stack, say so in a file, wait for the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("state", type=Path)
    state: Path = parser.parse_args().state
    exit_on_signals()
    ready = state / "ready"
    register = Register(state / "processes.json")
    register.add(SUPERVISOR, os.getpid())
    try:
        with Stack(state, started=register.add) as stack:
            ready.touch()
            while True:
                time.sleep(CHECK_SECONDS)
                stack.check()
    except RuntimeError as failure:
        say(f"{time.strftime('%F %T')} {failure}")
        sys.exit(1)
    finally:
        ready.unlink(missing_ok=True)


if __name__ == "__main__":
    main()

"""`python -m hack COMMAND`: what the Makefile calls."""

import argparse
import sys
from collections.abc import Callable

from hack import commands, image, kind_demo, sbom
from hack.background import Background
from hack.processes import exit_on_signals
from hack.source import SourceError

COMMANDS = ("up", "down", "status", "demo", "test", "e2e", "check", "bench", "image", "sbom", "kind-demo")


def main() -> int:
    """Run one command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m hack", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    options, rest = parser.parse_known_args()
    exit_on_signals()
    background = Background()
    work: dict[str, Callable[[], int | None]] = {
        "up": background.up,
        "down": background.down,
        "status": lambda: 0 if background.status() else 3,
        "demo": commands.demo,
        "test": lambda: commands.test(rest),
        "e2e": lambda: commands.e2e(rest),
        "check": commands.check,
        "bench": lambda: commands.bench(rest),
        "image": image.make,
        "sbom": sbom.make,
        "kind-demo": kind_demo.kind_demo,
    }
    try:
        return work[options.command]() or 0
    except (SourceError, RuntimeError) as failure:
        print(failure, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

"""`python -m hack COMMAND`: what the Makefile calls."""

import argparse
import sys

from hack import commands, image
from hack.background import Background
from hack.processes import exit_on_signals
from hack.source import SourceError


def main() -> int:
    """Run one command; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m hack", description=__doc__)
    names = ("up", "down", "status", "demo", "test", "e2e", "check", "bench", "image")
    parser.add_argument("command", choices=names)
    options, rest = parser.parse_known_args()
    exit_on_signals()
    background = Background()
    try:
        match options.command:
            case "up":
                background.up()
            case "down":
                background.down()
            case "status":
                return 0 if background.status() else 3
            case "demo":
                return commands.demo()
            case "image":
                return image.make()
            case "test":
                return commands.test(rest)
            case "e2e":
                return commands.e2e(rest)
            case "bench":
                return commands.bench(rest)
            case _:
                return commands.check()
    except (SourceError, RuntimeError) as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`ipam-operator`, `kubectl-ipam` and `python -m ipam_operator`."""

import signal
import sys


def main() -> int:
    """The command line, which one may end while it loads; returns the exit code."""
    # The first process of a pod is not ended by a signal that it does not handle, and loading takes a second: whoever
    # has just begun would be killed 30 s later.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    from ipam_operator.cli.main import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.bench`, which `make bench` runs on a stack of its own: every figure beside its limit."""

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from hack.places import ROOT
from hack.processes import exit_on_signals
from tests.bench import claims, prefixes, queues, restores, store, terms
from tests.bench.figures import Figure, table
from tests.bench.progress import elapsed, say
from tests.bench.sides import Sides

RESULTS = ROOT / ".local" / "bench.json"
NEEDED = ("IPAM_DATABASE_URL", "KUBECONFIG", "IPAM_TEST_OPERATOR_KUBECONFIG")


def main() -> int:
    """Measure, print, write; 0 also when a figure is over its goal: this is a measurement, no test."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=...", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 claims and few rounds: less than 3 minutes")
    parser.add_argument("--only", choices=("store", "claims"), help="one half of it")
    options = parser.parse_args()
    if lacking := [name for name in NEEDED if name not in os.environ]:
        sys.exit(f"not set: {', '.join(lacking)}; `make bench` sets them")
    exit_on_signals()
    figures = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.only != "claims":
            figures += runner.run(store.run(os.environ["IPAM_DATABASE_URL"], quick=options.quick))
            figures += runner.run(prefixes.run(os.environ["IPAM_DATABASE_URL"], quick=options.quick))
            figures += runner.run(queues.run(os.environ["IPAM_DATABASE_URL"], quick=options.quick))
            figures += runner.run(terms.run(os.environ["IPAM_DATABASE_URL"], quick=options.quick))
            figures += runner.run(restores.run(os.environ["IPAM_DATABASE_URL"], quick=options.quick))
        if options.only != "store":
            figures += runner.run(_claims(quick=options.quick))
    sys.stdout.write(f"\n{table(figures)}\n\n")
    _write(figures, quick=options.quick)
    over = sum(figure.verdict == "over" for figure in figures)
    say(f"{sum(figure.verdict == 'ok' for figure in figures)} ok, {over} over; {RESULTS.relative_to(ROOT)}")
    return 0


async def _claims(*, quick: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="ipam-bench-") as directory:
        operator = Path(os.environ["IPAM_TEST_OPERATOR_KUBECONFIG"])
        sides = Sides(Path(directory), operator, os.environ["IPAM_DATABASE_URL"])
        return await claims.run(Path(os.environ["KUBECONFIG"]), sides, quick=quick)


def _write(figures: Sequence[Figure], *, quick: bool) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    about = {
        "at": time.strftime("%FT%TZ", time.gmtime()),
        "seconds": round(elapsed()),
        "quick": quick,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load": os.getloadavg(),
    }
    RESULTS.write_text(json.dumps({**about, "figures": [figure.as_json() for figure in figures]}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())

"""What a command loads before it begins."""

import os
import subprocess
import sys

from hack.places import ROOT

HEAVY = {"kopf", "aiohttp", "kubernetes"}


def loaded(module: str) -> set[str]:
    """Top-level modules of a process that has loaded this one."""
    program = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return set(done.stdout.split())


def test_what_needs_no_cluster_does_not_wait_for_kopf() -> None:
    """`history`, `retained`, `confirm`, `migrate`, `--help`: people and init containers wait for them."""
    assert not loaded("ipam_operator.cli.main") & HEAVY
    assert loaded("ipam_operator.cli.serving") >= {"kopf", "aiohttp"}

"""`make demo`, `make test`, `make e2e`, `make check`, `make bench`: run something, stop everything, tell."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hack.acquire import acquire, acquired_meanwhile
from hack.background import STATE
from hack.image import make_operator, make_postgres
from hack.node import acquire_node, lack_of_node
from hack.places import ROOT, server_state
from hack.samples import samples_namespace, show_samples
from hack.source import Source, Way
from hack.stack import Stack
from hack.steps import say, step

TIERS = {
    "unit": "unit",
    "db": "db and not adversarial",
    "apiserver": "apiserver and not adversarial",
    "adversarial": "adversarial",
    "image": "image",
}
WITHOUT_API_SERVER = frozenset({"unit", "db"})
"""They run while a control plane is built."""
WORKERS: Sequence[str] = ("-n", "3", "--dist", "loadscope")
"""For two cores, since tests wait half of the time; each starts servers of its own. A module stays together, since its
tests share what is dear to set up."""
CHECKS: dict[str, Sequence[str]] = {
    "format": ("ruff", "format", "--check", "--quiet"),
    "lint": ("ruff", "check", "--quiet"),
    "types": ("mypy",),
    "import contracts": ("lint-imports",),
    "dependencies": ("deptry", "operator"),
    "Dockerfile": ("hadolint", "Dockerfile"),
    "generated CRDs": ("python", "-m", "ipam_operator.api.crd", "--check"),
    "generated manifests": ("python", "-m", "hack.render", "--check"),
}


@contextmanager
def throw_away(name: str) -> Iterator[Path]:
    """A state directory for one run, at a known place, so that a crashed run leaves nothing that adds up."""
    state = STATE / name
    STATE.mkdir(exist_ok=True)
    with (STATE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        owned = (state, server_state(state))
        for directory in owned:
            shutil.rmtree(directory, ignore_errors=True)
        state.mkdir()
        try:
            yield state
        finally:
            for directory in owned:
                shutil.rmtree(directory, ignore_errors=True)


def demo() -> int:
    """The samples on a stack of their own."""
    with throw_away("demo") as state:
        with Stack(state, durable=False) as stack, samples_namespace(stack.cluster, state) as cluster:
            show_samples(cluster)
        say("==> all stopped")
    return 0


def test(arguments: Sequence[str]) -> int:
    """All tiers, each with its time; a tier without tests is a failure. With arguments: one run of what they choose."""
    pytest = ("-m", "pytest", "-q", "-m")
    if arguments:
        with step("control plane: choose"):
            environment = _environment(acquire())
        return run("python", *pytest, "not performance", *arguments, environment=environment)
    failed = []
    STATE.mkdir(exist_ok=True)
    with acquired_meanwhile(STATE / "control-plane.log") as acquired:
        for tier, expression in TIERS.items():
            environment, workers = dict(os.environ), WORKERS
            if tier not in WITHOUT_API_SERVER:
                with step("control plane: choose"):
                    source = acquired()
                environment = _environment(source)
                workers = () if source.way is Way.KUBECONFIG else WORKERS  # two operators would share the one cluster
            with step(f"tests: {tier}"):
                if run("python", *pytest, expression, *workers, environment=environment) != 0:
                    failed.append(tier)
    lack = lack_of_node()
    if not lack or os.environ.get("CI"):  # a tier that CI cannot run is no success
        with step("tests: node"):
            if e2e(()) != 0:
                failed.append("node")
    say(f"FAILED: {', '.join(failed)}" if failed else "all tiers passed" + (f"; NOT RUN: node, {lack}" if lack else ""))
    return int(bool(failed))


def _environment(source: Source) -> dict[str, str]:
    found = dict(os.environ)
    if source.way in {Way.ASSETS, Way.CACHE}:
        found["KUBEBUILDER_ASSETS"] = str(source.path.resolve())
    return found


def e2e(arguments: Sequence[str]) -> int:
    """The node tier alone, which makes its own cluster; arguments go to pytest."""
    if lack := lack_of_node():
        say(lack)
        return 1
    with step("what a cluster is made of"):  # built here where it is not there yet: it takes longer than a test may
        acquire_node()
        make_operator()
        make_postgres()
    return run("python", "-m", "pytest", "-q", "-m", "node", *arguments)


def check() -> int:
    """Whatever can be told without running the program."""
    failed = []
    for title, command in CHECKS.items():
        with step(title):
            if run(*command) != 0:
                failed.append(title)
    say(f"FAILED: {', '.join(failed)}" if failed else "all checks passed")
    return int(bool(failed))


def bench(arguments: Sequence[str]) -> int:
    """The benchmarks, on a stack of their own without an operator: they start theirs."""
    with throw_away("bench") as state, Stack(state, operator=False) as stack:
        shown = stack.environment()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("IPAM_")},
            **shown,
            "IPAM_DATABASE_URL": stack.owner_database_url,
            "PATH": f"{shown['PATH']}{os.pathsep}{os.environ.get('PATH', '')}",
            "IPAM_TEST_OPERATOR_KUBECONFIG": str(stack.operator_kubeconfig),
        }
        with step("benchmarks"):
            return run("python", "-m", "tests.bench", *arguments, environment=environment)


def run(program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> int:
    """Run a program of our virtual environment from the clone; its exit code."""
    command = [str(Path(sys.executable).parent / program), *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=False).returncode

"""`operator run`: an operator outside of the cluster, for the context of a kubeconfig."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import pytest

from hack.cluster import Cluster
from hack.places import ROOT
from tests.apiserver.support import Launch, Tenant, eventually
from tests.conftest import ToStore
from tests.support.operator_process import OperatorProcess
from tests.support.walkthrough import Command, section, steps

BRISK = {"IPAM_LEADER_SECONDS": "3", "IPAM_POOL_TIMER_SECONDS": "1"}
PAGE = ROOT / "docs/operations/install.md"
*MAKE, EXPORT, RUN = [step.line for step in steps(section(PAGE, "From a laptop")) if isinstance(step, Command)]
MADE = "laptop.kubeconfig"
DEAD = "https://127.0.0.1:1"


class Laptop(Protocol):
    """Runs `kubectl-ipam` with these words, on a machine whose KUBECONFIG names a file that is not there."""

    def __call__(self, words: Sequence[str], **settings: str) -> OperatorProcess: ...


@pytest.fixture
def laptop(database_url: str, to_store: ToStore, tmp_path: Path) -> Laptop:
    url, way = to_store.lead(database_url)

    def start(words: Sequence[str], **settings: str) -> OperatorProcess:
        return OperatorProcess(url, tmp_path / "absent", tmp_path / "laptop", {**BRISK, **way, **settings}, words)

    return start


async def test_it_serves_as_the_page_says(
    place: Tenant, control_plane: Cluster, database_url: str, laptop: Laptop, tmp_path: Path
) -> None:
    """By the page's commands it says whom it serves, gives a claim its address, and ends on Ctrl-C with 0."""
    tools = f"{control_plane.kubectl.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": tools, "KUBECONFIG": str(control_plane.kubeconfig)}
    for line in MAKE:
        subprocess.run(["bash", "-euc", line], cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert EXPORT.startswith("export IPAM_DATABASE_URL=postgresql://")
    program, *words = shlex.split(RUN)
    assert program == "kubectl-ipam"
    made = str(tmp_path / MADE)
    with closing(laptop([made if word == MADE else word for word in words])) as process:
        process.wait_ready()
        await place.space()
        await place.claim()
        assert await place.address() == "10.0.0.1"
        assert process.interrupt() == 0
    log, name = process.log(), urlsplit(database_url).path[1:]
    first = rf"serving cluster https://[\w.:]+ \(context laptop\) from database {name} on 127[\d.:]+"
    assert re.fullmatch(first, log.splitlines()[0]), "and nothing of the login"
    assert "Traceback" not in log


async def test_it_waits_for_an_operator_in_the_cluster(
    place: Tenant, launch: Launch, operator_kubeconfig: Path, database_url: str, to_store: ToStore, laptop: Laptop
) -> None:
    """While another leads it says who, serves nothing, and takes over when that one ends.

    It serves the context and the store of its options, not the current context, nor the store of the variable.
    """
    content = json.loads(operator_kubeconfig.read_text())
    content["clusters"].append({"name": "dead", "cluster": {"server": DEAD}})
    content["contexts"].append({"name": "dead", "context": {"cluster": "dead", "user": "local"}})
    kubeconfig = operator_kubeconfig.with_name("of-two-clusters")
    kubeconfig.write_text(json.dumps({**content, "current-context": "dead"}))
    first = launch({**BRISK, "POD_NAME": "ipam-operator-0"})
    url, _ = to_store.lead(database_url)
    words = ("operator", "run", "--kubeconfig", str(kubeconfig), "--context", "local", "--database-url", url)
    with closing(laptop(words, IPAM_DATABASE_URL="postgresql://nobody@127.0.0.1:1/x")) as second:

        async def told() -> bool:
            return "standby: ipam-operator-0/" in second.log()

        await eventually(told, "it says who leads")
        await place.space()
        assert second.metrics().total("ipam_leader") == 0
        assert first.terminate() == 0
        await place.claim()
        await place.bound("claim")
        assert second.metrics().total("ipam_leader") == 1
        assert second.interrupt() == 0
    assert DEAD not in second.log()

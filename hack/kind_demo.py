"""`make kind-demo`: the samples on a cluster that kind makes in docker, with the chart and its bundled database.

Docker pulls the images of the nodes, of Python and of PostgreSQL. CI has no docker and does not run this.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from hack.acquire import answers
from hack.background import STATE
from hack.cluster import KindCluster
from hack.helm import helm
from hack.image import REPOSITORY
from hack.install import NAMESPACE
from hack.places import ROOT
from hack.samples import samples_namespace, show_samples
from hack.source import lack_of_kind
from hack.steps import say, step
from ipam_operator import __version__

NAME: Final = "ipam-demo"
CONFIG: Final = ROOT / "hack" / "kind.yaml"
CHART: Final = ROOT / "charts" / "ipam-operator"
IMAGE: Final = f"{REPOSITORY}:{__version__}"
VALUES: Final[dict[str, Any]] = {
    "database": {"mode": "bundled"},
    "image": {"registry": "", "repository": REPOSITORY, "tag": __version__},
    "settings": {
        "renewKinds": [{"apiVersion": "v1", "kind": "Service"}],
        "rateLimits": True,
        "rateLimitDefaults": "",
    },
}
"""Of the chart: what the samples need of an operator (`hack.samples.SETTINGS`), and the image that is built here."""


def kind_demo() -> int:
    """Make a cluster, install, show the samples, delete the cluster unless KEEP=1. The user's kubeconfig is left alone.

    Raises:
        RuntimeError: a step failed.
    """
    lack = lack_of_kind(shutil.which, answers) or ("" if shutil.which("kubectl") else "kubectl is not on PATH")
    if lack:
        say(f"{lack}: kind-demo needs docker, kind and kubectl; `make demo` needs none of them")
        return 2
    state = STATE / "kind-demo"
    state.mkdir(parents=True, exist_ok=True)
    with step("image: docker build"):
        _run("docker", "build", "--tag", IMAGE, ROOT)
    cluster = KindCluster(state, NAME, CONFIG)
    kept = os.environ.get("KEEP") == "1"
    try:
        with step("cluster: kind create"):
            cluster.start()
        with step("image: kind load"):
            _run("kind", "load", "docker-image", IMAGE, "--name", NAME)
        with step("operator and database: helm install"):
            install = ("install", "ipam-operator", CHART, "--namespace", NAMESPACE, "--create-namespace", "-f", "-")
            _run(helm(), *install, "--kubeconfig", cluster.kubeconfig, "--wait", text=json.dumps(VALUES))
        with samples_namespace(cluster, state) as pointed:
            show_samples(pointed)
    finally:
        if not kept:
            cluster.stop()
    say(
        f"==> kept: export KUBECONFIG={cluster.kubeconfig}; kind delete cluster --name {NAME}"
        if kept
        else "==> deleted"
    )
    return 0


def _run(*command: str | Path, text: str | None = None) -> None:
    given = subprocess.DEVNULL if text is None else None
    done = subprocess.run(list(map(str, command)), stdin=given, input=text, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} failed (exit {done.returncode})")

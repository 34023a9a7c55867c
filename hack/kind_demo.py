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
NEEDS: Final = {
    "docker": "https://docs.docker.com/get-started/get-docker",
    "kind": "https://kind.sigs.k8s.io",
    "kubectl": "https://kubernetes.io/docs/tasks/tools",
}
"""Programs, and where to get them. Helm is ours."""
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
    absent = [f"{name} ({where})" for name, where in NEEDS.items() if not shutil.which(name)]
    if lack := f"missing {', '.join(absent)}" if absent else lack_of_kind(shutil.which, answers):
        say(f"{lack}: kind-demo needs docker, kind and kubectl; `make demo` needs none of them")
        return 2
    state = STATE / "kind-demo"
    state.mkdir(parents=True, exist_ok=True)
    with step("image: docker build"):
        _run("docker", "build", "--tag", IMAGE, ROOT)
    cluster = KindCluster(state, NAME, CONFIG)
    with step("cluster: kind create"):
        cluster.start()
    kept = os.environ.get("KEEP") == "1"
    try:
        with step("image: kind load"):
            _run("kind", "load", "docker-image", IMAGE, "--name", NAME)
        with step("operator and database: helm install"):
            install = ("install", "ipam-operator", CHART, "--namespace", NAMESPACE, "--create-namespace", "-f", "-")
            _run(helm(), *install, "--kubeconfig", cluster.kubeconfig, "--wait", text=json.dumps(VALUES))
        with samples_namespace(cluster, state) as pointed:
            show_samples(pointed)
    finally:
        if kept:
            say(f"==> kept: export KUBECONFIG={cluster.kubeconfig}; kind delete cluster --name {NAME}")
        else:
            with step("cluster: kind delete"):
                cluster.stop()
    return 0


def _run(*command: str | Path, text: str | None = None) -> None:
    given = subprocess.DEVNULL if text is None else None
    # Helm obeys HELM_KUBEAPISERVER and its like even beside --kubeconfig: they would lead to a cluster of the user's.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HELM_KUBE")}
    done = subprocess.run(list(map(str, command)), env=environment, stdin=given, input=text, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{Path(command[0]).name} failed (exit {done.returncode})")

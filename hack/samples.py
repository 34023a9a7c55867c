"""The samples on a cluster: what they need, where they go, and whether each ends as it says."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from hack.cluster import Cluster, ExternalCluster
from hack.install import PLURALS
from hack.places import ROOT
from hack.steps import say, step

SAMPLES: Final = ROOT / "manifests" / "samples"
NAMESPACE: Final = "ipam-samples"
"""Of those that name none; the others have theirs with them."""
EXPECTATION: Final = "ipam.dotmac.io/sample-expects"
SETTINGS: Final = {"IPAM_RENEW_KINDS": "v1/Service", "IPAM_RATE_LIMITS": "true", "IPAM_RATE_LIMIT_DEFAULTS": ""}
"""What some of them need of an operator. No default limits: only the namespace that names some has any."""
ROLE: Final = ROOT / "manifests" / "examples" / "renew-for-services.yaml"
"""What goes with IPAM_RENEW_KINDS."""
SECONDS: Final = 60.0


@contextmanager
def samples_namespace(cluster: Cluster, state: Path) -> Iterator[Cluster]:
    """The cluster for a kubectl that points at an empty namespace; a cluster that outlives us keeps no samples.

    Some of them have a namespace of their own, so `--namespace` would be refused.
    """
    pointed = cluster.within(NAMESPACE, state / "samples.kubeconfig")
    stays = isinstance(cluster, ExternalCluster)
    if stays:
        _remove(pointed)
    cluster.run_kubectl("create", "namespace", NAMESPACE)
    try:
        yield pointed
    finally:
        if stays:
            with step("samples: kubectl delete"):
                _remove(pointed)


def await_samples(cluster: Cluster, seconds: float = SECONDS) -> None:
    """Wait until every sample's status has the reason that its annotation names.

    Raises:
        RuntimeError: one does not; with its words.
    """
    limit = time.monotonic() + seconds
    while others := _not_as_expected(cluster):
        if time.monotonic() > limit:
            raise RuntimeError(f"not as expected after {seconds:.0f} s:\n" + "\n".join(others))
        time.sleep(0.1)


def show_samples(cluster: Cluster) -> None:
    """Apply them, wait until each is as it says, and print what there is then.

    Raises:
        RuntimeError: as `await_samples` does.
    """
    with step("samples: kubectl apply -f manifests/samples"):
        cluster.run_kubectl("apply", "-f", SAMPLES)
    with step("samples: every one as expected"):
        await_samples(cluster)
    for plural in reversed(PLURALS):
        say(f"\n$ kubectl get {plural} -A")
        say(cluster.run_kubectl("get", plural, "-A").rstrip())
    say("")


def expected(body: Mapping[str, Any]) -> str | None:
    """The reason that a sample is to end in; None for what is none of ours."""
    reason: str | None = body["metadata"].get("annotations", {}).get(EXPECTATION)
    return reason


def _not_as_expected(cluster: Cluster) -> list[str]:
    items = json.loads(cluster.run_kubectl("get", ",".join(PLURALS), "-A", "-o", "json"))["items"]
    samples = [item for item in items if expected(item) is not None]
    return [
        f"{item['kind']} {item['metadata']['namespace']}/{item['metadata']['name']}: {expected(item)} expected, "
        + json.dumps(item.get("status", {}).get("conditions", "no status"))
        for item in samples
        if item.get("status", {}).get("reason") != expected(item)
    ] or ([] if samples else ["there are no samples"])


def _remove(cluster: Cluster) -> None:
    gone = ("--ignore-not-found", f"--timeout={SECONDS:.0f}s")
    cluster.run_kubectl("delete", "-f", SAMPLES, *gone)
    cluster.run_kubectl("delete", "namespace", NAMESPACE, *gone)

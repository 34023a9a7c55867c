"""Make a cluster know our kinds: CRDs, permissions, admission policies."""

import json
import time
from typing import Any

from hack.cluster import Cluster
from hack.places import ROOT

GROUP = "ipam.dotmac.io"
FINALIZER = f"{GROUP}/release"
PLURALS = ("ipnetworks", "ippools", "ipclaims")
NAMESPACE, SERVICE_ACCOUNT = "ipam-system", "ipam-operator"
CRDS = ROOT / "crds"
MANIFESTS = ROOT / "manifests" / "install" / "cluster"
"""Without the operator's Deployment: ours runs from the checkout."""
ADMISSION = MANIFESTS.parent / "admission"
PROTECTION = (ADMISSION / "protect-stamps.yaml", ADMISSION / "protect-rate-limits.yaml")
#: The least that each kind takes.
SPECS: dict[str, dict[str, Any]] = {
    "IPNetwork": {"cidr": "192.0.2.0/24"},
    "IPPool": {"networkRef": {"name": "probe"}},
    "IPClaim": {"poolRef": {"name": "probe"}},
}
SERVED_SECONDS = 90.0
"""Admission forgets which kinds exist every 30 s only: a start or restart may need two rounds."""


def install(cluster: Cluster) -> None:
    """Apply the manifests and wait until the API server acts on them."""
    apply = ("apply", "--server-side", "--force-conflicts", "-k")
    cluster.run_kubectl(*apply, MANIFESTS)
    kinds = [f"crd/{plural}.{GROUP}" for plural in PLURALS]
    cluster.run_kubectl("wait", "--for=condition=Established", "--timeout=60s", *kinds)
    if stamps(cluster):
        cluster.run_kubectl(*apply, ADMISSION)
    else:
        cluster.run_kubectl("apply", "--server-side", "--force-conflicts", *(f"--filename={one}" for one in PROTECTION))
    await_served(cluster)


def stamps(cluster: Cluster) -> bool:
    """Whether claims are born with our finalizer: the manifests say so and the API can do it."""
    return ADMISSION.is_dir() and cluster.has_resource("admissionregistration.k8s.io", "mutatingadmissionpolicies")


def await_served(cluster: Cluster) -> None:
    """Wait until a dry run of each kind passes, and of a claim comes back with our finalizer where it should.

    A restarted API server, too, refuses claims for some seconds: its policies look for their kinds anew.

    Raises:
        RuntimeError: it does not; with the server's words.
    """
    stamped = stamps(cluster)
    limit = time.monotonic() + SERVED_SECONDS
    for kind in SPECS:
        while problem := _problem(cluster, kind, stamped=stamped and kind == "IPClaim"):
            if time.monotonic() > limit:
                raise RuntimeError(f"{kind} is not served after {SERVED_SECONDS:.0f} s: {problem}")
            time.sleep(0.1)


def _problem(cluster: Cluster, kind: str, *, stamped: bool) -> str:
    metadata = {"name": "probe", "namespace": NAMESPACE}
    body = {"apiVersion": f"{GROUP}/v1alpha1", "kind": kind, "metadata": metadata, "spec": SPECS[kind]}
    try:
        told = cluster.run_kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", text=json.dumps(body))
    except RuntimeError as refusal:
        return str(refusal)
    if stamped and FINALIZER not in json.loads(told)["metadata"].get("finalizers", []):
        return "the admission policy does not act yet"
    return ""

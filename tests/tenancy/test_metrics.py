"""What /metrics tells: it is for who runs the operator, of the whole cluster, and has no user's words but two."""

import urllib.request
from typing import Final

from ipam_operator import telemetry
from tests.apiserver.support import eventually
from tests.support.operator_process import OperatorProcess
from tests.tenancy.people import Person

LABELS: Final = {"namespace", "pool"}
"""Those whose values users choose: names of their namespaces, and of pools."""
OURS: Final = {
    "operation",
    "result",
    "cause",
    "kind",
    "write",
    "code",
    "state",
    "finding",
    "loop",
    "version",
    "le",
    "quantile",
}
"""Those whose values are in this program, and few."""
SECRETS: Final = {
    "hostname": "secret-host.example.com",
    "assignedTo": "secret-customer",
    "description": "secret-purpose",
    "stickyKey": "secret-key",
    "macAddress": "02:00:5e:00:00:aa",
}


def scrape(service: OperatorProcess) -> str:
    """The page as it is."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{service.url}/metrics", timeout=10) as response:
        return str(response.read().decode())


async def test_nothing_of_claims(owner: Person, stranger: Person, service: OperatorProcess) -> None:
    """Pools by name and namespace are there; no claim, address, MAC address, host, user or key is."""
    await owner.claim("secret-claim", address="10.0.0.33", **SECRETS)
    await owner.bound("secret-claim")
    await stranger.ask("secret-guest", poolRef={"name": "secret-pool", "namespace": owner.namespace})
    await stranger.reason("IPClaim", "secret-guest", "TenantIsolation")
    await owner.claim("secret-wish", address="10.0.0.33")
    await owner.reason("IPClaim", "secret-wish", "AddressConflict")

    async def counted() -> bool:
        return (
            service.metrics().total("ipam_pool_addresses", namespace=owner.namespace, pool="pool", state="allocated")
            == 2
        )

    await eventually(counted, "the positive control: the pool is there by name")
    text = scrape(service)
    for secret in ("secret", "10.0.0.", "02:00:5e", owner.name, "system:serviceaccount"):
        assert secret not in text, secret


async def test_labels_are_bounded(owner: Person, service: OperatorProcess) -> None:
    """Every label of every metric is of a kind that cannot grow with claims, new metrics included."""
    assert await owner.get("IPPool", "pool")
    declared = {
        label for metric in telemetry.REGISTRY.collect() for sample in metric.samples for label in sample.labels
    }
    shown = {label for _, labels, _ in service.metrics() for label in labels}
    assert {"namespace", "pool"} <= shown
    assert shown | declared <= LABELS | OURS

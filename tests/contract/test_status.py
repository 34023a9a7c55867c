"""Statuses: whatever the operator writes must be in the CRD, because the API server prunes the rest silently."""

from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

import pytest

from ipam_operator.api.status import NEVER_ANSWERED
from ipam_operator.domain.capacity import NetworkCount, PoolCount
from ipam_operator.domain.findings import SEVERITY, Finding, FindingType
from ipam_operator.domain.model import Identity, ObjectRef
from ipam_operator.domain.outcome import Accepted, Block, Granted, Held, Reason, Refused
from ipam_operator.kube import status
from ipam_operator.net.ranges import Range
from tests.contract.server import Server

pytestmark = pytest.mark.apiserver

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
POOL = ObjectRef("contract", "pool")
ME = Identity(UUID(int=1), ObjectRef("contract", "claim"), 2)


def granted(*addresses: str) -> Granted:
    ips = tuple(ip_address(address) for address in addresses)
    servers = (ip_address("10.0.0.2"), ip_address("2001:db8::53"))
    block = Block(ips[0].version, 24 if ips[0].version == 4 else 64, ip_address("10.0.0.1"), servers)
    return Granted(ME, POOL, ips, 2**40, NOW, block)


CLAIMS: dict[str, Any] = {
    "one": status.for_claim(granted("10.0.0.5"), now=NOW),
    "ipv6": status.for_claim(granted("2001:db8::5", "2001:db8::6"), now=NOW),
    "most": status.for_claim(granted(*(str(ip_address(0x0A000000 + n)) for n in range(1024))), now=NOW),
    "queued": status.for_claim(Refused(ME, Reason.QUEUED, "behind 3 others", queue_position=4), now=NOW),
    "long": status.for_claim(Refused(ME, Reason.INVALID_SPEC, "ü" * 5000), now=NOW),
    "store": status.store_unavailable(generation=2, now=NOW),
}
PARENTS: dict[str, Any] = {
    "accepted": status.for_parent(Accepted(ME), now=NOW, previous=(), serving=False),
    "refused": status.for_parent(Refused(ME, Reason.SHRINK_REFUSED, "no"), now=NOW, previous=(), serving=True),
    "held": status.for_parent(Held(ME, 12, (POOL,)), now=NOW, previous=(), serving=False),
}
EVERYTHING = Range.of(ip_network("::/0"))
FOUND = [
    Finding(kind, ME.uid, POOL, f"2001:db8::{number:x}", ME.uid, ME.ref, 3)
    for number, kind in enumerate(kind for kind in FindingType if kind in SEVERITY)
]
NETWORK: dict[str, Any] = {
    **status.network_counters(
        NetworkCount(ME.uid, ip_network("::/0"), "contract/default", pools=2, pool_size=2**127, free=2**126, cooling=3)
    ),
    **status.conflicts({one: status.rfc3339(NOW) for one in FOUND * 20}),
}
POOL_STATUS: dict[str, Any] = status.pool_counters(
    PoolCount(
        ME.uid,
        POOL,
        "network",
        paused=False,
        size=2**128,
        free=1,
        cooling=5,
        waiting=100_000,
        largest=(EVERYTHING,),
        ranges=(str(EVERYTHING),) * 64,
    )
)


@pytest.mark.parametrize("document", CLAIMS.values(), ids=CLAIMS)
def test_claim_status_is_kept(server: Server, document: dict[str, Any]) -> None:
    """Every status of a claim comes back as it was written."""
    assert document == written(server, "IPClaim", {"poolRef": {"name": "pool"}}, document)


@pytest.mark.parametrize("document", PARENTS.values(), ids=PARENTS)
def test_network_status_is_kept(server: Server, document: dict[str, Any]) -> None:
    """Conditions and counters of a network come back as they were written."""
    assert {**document, **NETWORK} == written(server, "IPNetwork", {"cidr": "::/0"}, {**document, **NETWORK})


@pytest.mark.parametrize("document", PARENTS.values(), ids=PARENTS)
def test_pool_status_is_kept(server: Server, document: dict[str, Any]) -> None:
    """Conditions and counters of a pool come back as they were written."""
    whole = {**document, **POOL_STATUS}
    assert whole == written(server, "IPPool", {"networkRef": {"name": "net"}}, whole)


def written(server: Server, kind: str, spec: dict[str, Any], document: dict[str, Any]) -> Any:
    return server.replace_status({**server.made(kind, "status", spec), "status": document})["status"]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("IPNetwork", {"cidr": "10.9.0.0/24"}),
        ("IPPool", {"networkRef": {"name": "net"}}),
        ("IPClaim", {"poolRef": {"name": "pool"}}),
    ],
)
def test_an_unanswered_object_says_so(server: Server, kind: str, spec: dict[str, Any]) -> None:
    """Before the operator has seen it, an object shows a generation that is never current: nobody takes it for done."""
    assert server.made(kind, "unanswered", spec)["status"] == NEVER_ANSWERED

"""What is wrong is refused at apply, or by a condition, in words that show the right form; nothing is stored (B6)."""

from typing import Any

import pytest

from tests.apiserver.support import Ledger, Tenant
from tests.support.cluster import ApiError, condition

NETWORKS = [
    ({"cidr": "10.0.0.7/24"}, "10.0.0.0/24"),
    ({"cidr": "2001:db8::1/64"}, "2001:db8::/64"),
    ({"cidr": "2001:DB8::/64"}, "2001:db8::/64"),
    ({"cidr": "::ffff:10.0.0.0/120"}, "must be a CIDR"),
    ({"cidr": "fe80::%eth0/64"}, "must be a CIDR"),
    ({"cidr": "10.0.00.0/24"}, "must be a CIDR"),
    ({"cidr": "10.0.0.0/24", "gateway": "10.0.1.1"}, "must be an address inside 10.0.0.0/24"),
    ({"cidr": "10.0.0.0/24", "gateway": "2001:db8::1"}, "must be an address inside 10.0.0.0/24"),
    ({"cidr": "10.0.0.0/24", "gateway": "10.0.0.01"}, "must be an IP address"),
    ({"cidr": "10.0.0.0/24", "dnsServers": ["fe80::1%eth0"]}, "must be an IP address"),
    ({"cidr": "10.0.0.0/24", "reserved": ["10.0.0.9-2001:db8::1"]}, "of one family"),
]
POOLS = [
    ({"ranges": ["10.0.0.10-::1"]}, "of one family"),
    ({"ranges": ["10.0.0.10/28"]}, "10.0.0.0/28"),
    ({"ranges": ["::ffff:10.0.0.1"]}, "must be"),
    ({"exclude": ["10.0.0.010"]}, "must be an address"),
    ({"coolDown": "7 minutes"}, "must be a duration"),
]
CLAIMS = [
    ({"address": "10.0.0.010"}, "must be an IP address"),
    ({"address": "10.0.0.10/24"}, "must be an IP address"),
    ({"address": "::ffff:10.0.0.10"}, "must be"),
    ({"address": "fe80::1%eth0"}, "must be an IP address"),
    ({"address": "2001:DB8::1"}, "2001:db8::1"),
    ({"address": "10.0.0.10", "count": 2}, "must be 1"),
    ({"count": 0}, "greater than or equal to 1"),
    ({"count": 1025}, "less than or equal to 1024"),
]


AT_APPLY = [
    *(("network", spec, words) for spec, words in NETWORKS),
    *(("pool", spec, words) for spec, words in POOLS),
    *(("claim", spec, words) for spec, words in CLAIMS),
]


@pytest.mark.parametrize(("kind", "spec", "words"), AT_APPLY)
async def test_refused_at_apply(tenant: Tenant, kind: str, spec: dict[str, Any], words: str) -> None:
    """The API server refuses the object and shows the right form."""
    create = {"network": tenant.network, "pool": tenant.pool, "claim": tenant.claim}[kind]
    with pytest.raises(ApiError) as refused:
        await create(**spec)
    assert refused.value.code == 422
    assert words in str(refused.value)


CONDITIONS = [
    ("IPNetwork", {"gateway": "10.0.0.255"}, "GatewayConflict", "10.0.0.1 to 10.0.0.254"),
    ("IPNetwork", {"reserved": ["10.0.1.1"]}, "InvalidSpec", "10.0.0.0/24"),
    ("IPNetwork", {"reserved": ["10.0.0.9-10.0.0.5"]}, "InvalidSpec", "10.0.0.5-10.0.0.9"),
    ("IPPool", {"ranges": ["10.0.0.20-10.0.0.10"]}, "InvalidSpec", "10.0.0.10-10.0.0.20"),
    ("IPPool", {"ranges": ["10.0.0.10-10.0.1.10"]}, "InvalidSpec", "inside 10.0.0.0/24"),
    ("IPPool", {"ranges": ["10.0.0.10", "2001:db8::1"]}, "InvalidSpec", "must be IPv4, as the rest of the pool"),
    ("IPPool", {"ranges": ["2001:db8::1"]}, "InvalidSpec", "IPv4"),
]


@pytest.mark.parametrize(("kind", "spec", "reason", "words"), CONDITIONS)
async def test_refused_by_condition(
    tenant: Tenant, ledger: Ledger, kind: str, spec: dict[str, Any], reason: str, words: str
) -> None:
    """What the API server cannot judge is refused by a condition and an Event, is not stored, and can be mended."""
    if kind == "IPPool":
        await tenant.network()
    name = "net" if kind == "IPNetwork" else "pool"
    await (tenant.network(**spec) if kind == "IPNetwork" else tenant.pool(**spec))
    seen = await tenant.reason(kind, name, reason)
    ready, stalled = condition(seen, "Ready"), condition(seen, "Stalled")
    assert ready is not None
    assert ready["status"] == "False"
    assert stalled is not None
    assert words in stalled["message"]
    (event,) = await tenant.events(name, reason)
    assert event["message"] == stalled["message"]
    table = "network" if kind == "IPNetwork" else "pool"
    stored = f"select count(*) from ipam.{table} where namespace = $1 and name = $2"
    assert await ledger.value(stored, tenant.namespace, name) == 0
    await tenant.edit(kind, name, **dict.fromkeys(spec))
    await tenant.reason(kind, name, "Ready")


async def test_networks_do_not_overlap(tenant: Tenant, ledger: Ledger) -> None:
    """Of overlapping networks of one address space one serves; the other names it, and comes in when it leaves."""
    await tenant.network("10.0.0.0/16", "large")
    await tenant.reason("IPNetwork", "large", "Ready")
    await tenant.network("10.0.7.0/24", "small")
    small = await tenant.reason("IPNetwork", "small", "NetworkOverlap")
    assert "network large has 10.0.0.0" in str(small["status"]["conditions"])
    assert await tenant.events("small", "NetworkOverlap")
    assert await ledger.value("select count(*) from ipam.network where namespace = $1", tenant.namespace) == 1
    await tenant.network("10.0.7.0/24", "elsewhere", vrf="blue")
    await tenant.reason("IPNetwork", "elsewhere", "Ready")
    await tenant.pool(network="small")
    await tenant.reason("IPPool", "pool", "NetworkNotFound")
    await tenant.claim()
    await tenant.reason("IPClaim", "claim", "NetworkNotFound")
    await tenant.delete("IPNetwork", "large")
    await tenant.reason("IPNetwork", "small", "Ready")
    assert await tenant.address() == "10.0.7.1"


async def test_pools_do_not_overlap(tenant: Tenant) -> None:
    """Of overlapping pools one serves; the other is Invalid, names it, and comes in when it shrinks."""
    await tenant.space(ranges=["10.0.0.0/25"])
    await tenant.pool("other", ranges=["10.0.0.64-10.0.0.200"])
    other = await tenant.reason("IPPool", "other", "NetworkOverlap")
    assert other["status"]["state"] == "Invalid"
    assert "pool pool has 10.0.0.0" in str(other["status"]["conditions"])
    await tenant.claim(pool="other")
    claim = await tenant.reason("IPClaim", "claim", "PoolNotFound")
    assert "NetworkOverlap" in str(claim["status"]["conditions"])
    await tenant.edit("IPPool", "pool", ranges=["10.0.0.0/26"])
    await tenant.reason("IPPool", "other", "Ready")
    assert await tenant.address() == "10.0.0.64"


async def test_success_is_no_event(tenant: Tenant) -> None:
    """Events tell what needs a person: what was served, changed, renewed and released leaves none."""
    await tenant.space("10.0.0.0/28", coolDown="1h")
    await tenant.claims(["one", "two"])
    await tenant.claim("many", count=3, lease="24h", reclaimPolicy="Retain")
    await tenant.bound("one", "two", "many")
    await tenant.edit("IPClaim", "many", renewedAt="2026-01-31T12:00:00Z", hostname="db.example")
    await tenant.edit("IPPool", "pool", strategy="Random")
    await tenant.delete("IPClaim", "one", "many")
    await tenant.gone("IPClaim", "one", "many")
    await tenant.claim("many")
    await tenant.bound("many")
    await tenant.claim("refused", address=(await tenant.address("two")))
    await tenant.events("refused", "AddressConflict")  # Events are posted in turn: none that came before is to come
    assert {event["involvedObject"]["name"] for event in (await tenant.all("Event")).values()} == {"refused"}

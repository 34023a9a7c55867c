"""Counters in statuses and metrics come by timer, coalesced, and with bounded labels (B8)."""

from ipam_operator import telemetry
from tests.apiserver.support import Tenant, Writes, eventually
from tests.support.operator_process import OperatorProcess

OPERATOR = {"IPAM_AUDIT_TIMER_SECONDS": "3600"}  # a first audit is a write


async def test_counters_of_pool_and_network(tenant: Tenant) -> None:
    """A pool tells sizes by state, the largest free block and who waits; its network sums up over all pools."""
    await tenant.network("10.0.0.0/28", gateway="10.0.0.1", reserved=["10.0.0.2"])
    await tenant.pool(ranges=["10.0.0.0/29"], coolDown="1h")  # .3 to .7
    await tenant.pool("other", ranges=["10.0.0.8/29"])  # .8 to .14
    await tenant.reason("IPPool", "other", "Ready")
    await tenant.claims(["one", "two"])
    await tenant.bound("one", "two")
    await tenant.delete("IPClaim", "one")
    status = await tenant.capacity(usable="5", allocated="1", cooling="1", free="3")
    assert status["utilizationPercent"] == "20"
    assert status["state"] == "Ready"
    assert status["largestFreeBlock"] == "10.0.0.6/31"
    assert status["network"] == "net"
    assert status["family"] == 4
    assert status["effectiveRanges"] == ["10.0.0.3-10.0.0.7"]
    status = await tenant.capacity("IPNetwork", "net", usable="14", allocated="1", cooling="1", reserved="2", free="10")
    assert status["utilizationPercent"] == "21.42"
    assert status["pools"] == 2
    assert status["cidr"] == "10.0.0.0/28"
    assert status["addressSpace"].startswith(f"{tenant.namespace}/")


async def test_full_pool_is_exhausted(tenant: Tenant) -> None:
    """A pool without free addresses says so, with the number of those that wait, and 100 percent is reached exactly."""
    await tenant.space(ranges=["10.0.0.1-10.0.0.3"])
    await tenant.claim("first", count=3)
    await tenant.bound("first")
    await tenant.claims(["second", "third"])
    await tenant.api.wait_for(
        "IPPool",
        tenant.namespace,
        "pool",
        lambda seen: (
            seen is not None and (seen["status"].get("state"), seen["status"].get("waiting")) == ("Exhausted", 2)
        ),
    )
    status = await tenant.capacity(free="0")
    assert status["utilizationPercent"] == "100"
    assert "largestFreeBlock" not in status


async def test_huge_pools_are_counted_exactly(tenant: Tenant) -> None:
    """The counters of an IPv6 network are exact strings."""
    await tenant.space("2001:db8::/48")
    await tenant.claim()
    await tenant.bound("claim")
    status = await tenant.capacity(usable=str(2**80 - 1), allocated="1", free=str(2**80 - 2))
    assert status["utilizationPercent"] == "0"


async def test_counters_are_written_only_when_they_change(tenant: Tenant, service: OperatorProcess) -> None:
    """Three rounds of the timer over a pool where nothing happens write nothing."""
    await tenant.space()
    await tenant.claim()
    await tenant.bound("claim")
    await tenant.capacity(allocated="1")
    await tenant.capacity("IPNetwork", "net", allocated="1")
    writes = await Writes.begin(tenant.api)
    before = service.metrics().total("ipam_store_statements_total", operation="pool_counters")

    async def three_more() -> bool:
        return service.metrics().total("ipam_store_statements_total", operation="pool_counters") >= before + 3

    await eventually(three_more, "three rounds of counters")
    assert await writes.now() == {}


async def test_metrics(tenant: Tenant, service: OperatorProcess) -> None:
    """All families are exported, no label names a claim or an address, and the gauges of a pool go with it."""
    await tenant.space()
    await tenant.claim("let-go-before")
    await tenant.bound("let-go-before")
    await tenant.delete("IPClaim", "let-go-before")
    await tenant.gone("IPClaim", "let-go-before")
    await tenant.claim("a-claim-of-this-name")
    address = await tenant.address("a-claim-of-this-name")
    await tenant.capacity(allocated="1")
    samples = service.metrics()
    names = {sample.name for sample in samples}
    for family in telemetry.REGISTRY.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        assert all(family.name + suffix in names or f"{family.name}_created" in names for suffix in suffixes) or (
            family.name
            in {
                "ipam_store_faults",
                "ipam_conflicts",
                "ipam_rate_limited",
                "ipam_deletions",
            }  # labelled by what has not happened
        ), family.name
    pool = {"namespace": tenant.namespace, "pool": "pool"}
    assert samples.total("ipam_pool_addresses", **pool, state="allocated") == 1
    assert samples.total("ipam_pool_addresses", **pool, state="free") == 253
    assert samples.total("ipam_leader") == 1
    values = {value for sample in samples for value in sample.labels.values()}
    assert not values & {address, "a-claim-of-this-name"}
    assert len([sample for sample in samples if tenant.namespace in sample.labels.values()]) == 4
    for kind in ("IPClaim", "IPPool", "IPNetwork"):
        await tenant.delete_all(kind)
        await tenant.gone(kind)

    async def forgotten() -> bool:
        return not any(tenant.namespace in sample.labels.values() for sample in service.metrics())

    await eventually(forgotten, "the metrics of the pool are gone")

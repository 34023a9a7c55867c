"""A claim's life: granted, refused, shown, released (B1, B3)."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from hack.cluster import Cluster
from tests.apiserver.support import Ledger, Tenant, addresses, eventually
from tests.support.cluster import ApiError, condition


async def test_claim_is_answered_in_full(tenant: Tenant, ledger: Ledger) -> None:
    """A claim becomes Ready with its address, pool, time, prefix, gateway, servers, and the generation it answers."""
    await tenant.network("10.1.0.0/24", gateway="10.1.0.1", dnsServers=["10.1.0.2"], reserved=["10.1.0.2"])
    await tenant.pool()
    before = datetime.now(UTC) - timedelta(seconds=2)
    await tenant.claim(hostname="web.example")
    seen = (await tenant.bound("claim"))["claim"]
    status = seen["status"]
    assert status["address"] == "10.1.0.3"
    assert status["addresses"] == ["10.1.0.3"]
    assert status["pool"] == "pool"
    assert status["reason"] == "Allocated"
    assert status["observedGeneration"] == seen["metadata"]["generation"] == 1
    assert status["leaseGeneration"] > 0
    assert before <= datetime.fromisoformat(status["allocatedAt"]) <= datetime.now(UTC) + timedelta(seconds=2)
    assert status["blocks"] == [
        {"family": 4, "pool": "pool", "prefixLength": 24, "gateway": "10.1.0.1", "dnsServers": ["10.1.0.2"]}
    ]
    assert [(one["type"], one["status"]) for one in status["conditions"]] == [("Ready", "True")]
    assert await ledger.held(tenant.namespace) == {"claim": ["10.1.0.3"]}


async def test_ipv6_claims_show_their_family(tenant: Tenant) -> None:
    """The first address of an IPv6 network is not handed out; what is stands in status.addressIPv6 too."""
    await tenant.space("2001:db8:1::/64")
    await tenant.claim()
    status = (await tenant.bound("claim"))["claim"]["status"]
    assert status["address"] == status["addressIPv6"] == "2001:db8:1::1"
    assert status["blocks"][0]["family"] == 6


async def test_twenty_or_none(tenant: Tenant, ledger: Ledger) -> None:
    """A claim for twenty gets twenty, and the next one, for which there are not twenty left, gets none."""
    await tenant.space("10.0.0.0/27")  # 30 usable
    await tenant.claim("first", count=20)
    assert len(addresses((await tenant.bound("first"))["first"])) == 20
    await tenant.claim("second", count=20)
    second = await tenant.reason("IPClaim", "second", "PoolExhausted")
    assert "addresses" not in second["status"]
    assert {name: len(owned) for name, owned in (await ledger.held(tenant.namespace)).items()} == {"first": 20}


async def test_named_address(tenant: Tenant) -> None:
    """A named address is the one that is granted; when it is taken, the refusal names holder and neighbours."""
    await tenant.space()
    await tenant.claim("first", address="10.0.0.9")
    assert await tenant.address("first") == "10.0.0.9"
    await tenant.claim("second", address="10.0.0.9")
    second = await tenant.reason("IPClaim", "second", "AddressConflict")
    stalled = condition(second, "Stalled")
    assert stalled is not None
    assert stalled["status"] == "True"
    assert "IPClaim first" in stalled["message"]
    assert "10.0.0.8, 10.0.0.10" in stalled["message"]
    assert await tenant.events("second", "AddressConflict")
    await tenant.delete("IPClaim", "first")
    assert await tenant.address("second") == "10.0.0.9"


async def test_named_address_outside_of_the_pool(tenant: Tenant) -> None:
    """An address that the pool does not hand out is refused with those that it does; the mended claim is bound."""
    await tenant.space(ranges=["10.0.0.20-10.0.0.29"])
    await tenant.claim(address="10.0.0.30")
    seen = await tenant.reason("IPClaim", "claim", "OutsidePool")
    ready = condition(seen, "Ready")
    assert ready is not None
    assert ready["status"] == "False"
    assert "10.0.0.29" in ready["message"]
    await tenant.edit("IPClaim", "claim", address="10.0.0.29")
    assert await tenant.address() == "10.0.0.29"


async def test_release_and_cooling(tenant: Tenant, ledger: Ledger) -> None:
    """A deleted claim is gone and its address cools; only when that is over does the next claim get it."""
    await tenant.space(ranges=["10.0.0.5"], coolDown="3s")
    await tenant.claim("first")
    await tenant.bound("first")
    await tenant.delete("IPClaim", "first")
    await tenant.gone("IPClaim", "first")
    cooling = "select reusable_at - released_at from ipam.lease where pool_id = $1 and addr = '10.0.0.5'"
    assert await ledger.value(cooling, await ledger.pool_id(tenant.namespace)) == timedelta(seconds=3)
    await tenant.claim("second")
    await tenant.reason("IPClaim", "second", "PoolExhausted")
    assert await tenant.address("second") == "10.0.0.5"
    waited = "select allocated_at - $2::timestamptz from ipam.lease where pool_id = $1"
    released = await ledger.value(
        "select at from ipam.history where action = 'R' and namespace = $1 and name = 'first'", tenant.namespace
    )
    assert await ledger.value(waited, await ledger.pool_id(tenant.namespace), released) >= timedelta(seconds=3)


async def test_cooled_addresses_become_free_by_themselves(tenant: Tenant) -> None:
    """On an idle pool a released address counts as cooling, then as free."""
    await tenant.space(ranges=["10.0.0.5"], coolDown="2s")
    await tenant.claim()
    await tenant.bound("claim")

    await tenant.capacity(allocated="1", cooling="0", free="0")
    await tenant.delete("IPClaim", "claim")
    await tenant.capacity(allocated="0", cooling="1", free="0")
    await tenant.capacity(allocated="0", cooling="0", free="1")


async def test_kubectl(tenant: Tenant, control_plane: Cluster) -> None:
    """`kubectl wait`, field selectors and printer columns tell what people ask first."""

    def kubectl(*arguments: str) -> str:
        return control_plane.run_kubectl("-n", tenant.namespace, *arguments)

    await tenant.space()
    await tenant.claims(["one", "two"])
    kubectl("wait", "--for=condition=Ready", "--timeout=60s", "ipc/one", "ipc/two", "ippool/pool", "ipnet/net")
    address = await tenant.address("two")
    assert kubectl("get", "ipc", f"--field-selector=status.address={address}", "-o", "name").split() == [
        "ipclaim.ipam.dotmac.io/two"
    ]
    await tenant.capacity(allocated="2")
    head, row = kubectl("get", "ipc", "two").splitlines()
    assert head.split() == ["NAME", "ADDRESS", "POOL", "READY", "REASON", "AGE"]
    assert row.split()[:5] == ["two", address, "pool", "True", "Allocated"]
    head, row = kubectl("get", "ippool").splitlines()
    assert head.split() == ["NAME", "NETWORK", "TYPE", "USED", "%", "FREE", "WAITING", "STATE", "AGE"]
    assert row.split()[:7] == ["pool", "net", "Dynamic", "0.78", "252", "0", "Ready"]
    head, row = kubectl("get", "ipnet").splitlines()
    assert head.split() == ["NAME", "CIDR", "TYPE", "USED", "%", "READY", "REASON", "AGE"]
    assert row.split()[:3] == ["net", "10.0.0.0/24", "Customer"]


@pytest.mark.parametrize("cidr", ["10.0.0.0/16", "2001:db8:1234:5678::/64"])
async def test_the_largest_claim_stays_small(tenant: Tenant, cidr: str) -> None:
    """A claim of 1,024 addresses, as long as they get, is below 64 KiB."""
    await tenant.space(cidr, strategy="Random")
    await tenant.claim(count=1024)
    seen = (await tenant.bound("claim"))["claim"]
    assert len(set(addresses(seen))) == 1024
    assert len(json.dumps(seen, separators=(",", ":"))) < 64 * 1024


async def test_bound_claims_are_fixed_and_labels_are_free(tenant: Tenant, ledger: Ledger) -> None:
    """Where and what cannot change once bound, hostname can, and neither changes the address."""
    await tenant.space()
    await tenant.claim()
    address = await tenant.address()
    with pytest.raises(ApiError, match="must stay as they are"):
        await tenant.edit("IPClaim", "claim", count=2)
    await tenant.edit("IPClaim", "claim", hostname="db.example")
    seen = await tenant.reason("IPClaim", "claim", "Allocated")
    assert seen["status"]["observedGeneration"] == 2
    assert seen["status"]["address"] == address

    async def found() -> bool:
        return bool(
            await ledger.value(
                "select true from ipam.claim_detail where hostname = 'db.example' and claim_uid = $1",
                seen["metadata"]["uid"],
            )
        )

    await eventually(found, "the host name is in the store")

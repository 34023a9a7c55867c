"""Specs on their way into the domain."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipam_operator.api import v1alpha1
from ipam_operator.api.fields import parse_duration
from ipam_operator.domain.model import (
    ClaimDetail,
    ClaimRequest,
    Identity,
    NetworkRequest,
    ObjectRef,
    PoolRequest,
    Strategy,
    Term,
)
from ipam_operator.domain.outcome import Reason, Refused
from ipam_operator.net.ranges import parse_range

pytestmark = pytest.mark.unit

ME = Identity(UUID(int=7), ObjectRef("tenant", "thing"), 1)
FULL_NETWORK = {
    "cidr": "10.0.0.0/24",
    "vrf": "blue",
    "type": "Management",
    "gateway": "10.0.0.1",
    "dnsServers": ["2001:db8::53", "10.0.0.2"],
    "vlanId": 20,
    "siteId": "fra-2",
    "location": "Frankfurt",
    "description": "d",
    "reserved": ["10.0.0.2", "10.0.0.8/29"],
}
FULL_POOL = {
    "networkRef": {"name": "net"},
    "type": "VIP",
    "ranges": ["10.0.0.0/26", "10.0.0.100-10.0.0.199"],
    "exclude": ["10.0.0.5"],
    "strategy": "Random",
    "coolDown": "1h30m",
    "paused": True,
    "defaultLease": "24h",
    "maxLease": "720h",
}
FULL_CLAIM = {
    "poolRef": {"name": "pool"},
    "count": 1,
    "address": "10.0.0.5",
    "hostname": "web-1",
    "description": "d",
    "assignedTo": "a",
    "stickyKey": "web/1",
    "reclaimPolicy": "Retain",
    "priority": 7,
    "lease": "36h",
    "renewedAt": "2026-01-31T12:00:00Z",
}


def test_network_in_full() -> None:
    """Every field that matters to the store arrives as a typed value."""
    expected = NetworkRequest(
        identity=ME,
        vrf="blue",
        cidr=ip_network("10.0.0.0/24"),
        type="Management",
        gateway=ip_address("10.0.0.1"),
        dns_servers=(ip_address("2001:db8::53"), ip_address("10.0.0.2")),
        reserved=(parse_range("10.0.0.2"), parse_range("10.0.0.8/29")),
    )
    assert expected == v1alpha1.network_request(ME, FULL_NETWORK)


def test_network_at_least() -> None:
    """What is left out has the schema's defaults, also in an object older than them."""
    expected = NetworkRequest(ME, "default", ip_network("2001:db8::/64"), "Customer")
    assert expected == v1alpha1.network_request(ME, {"cidr": "2001:db8::/64"})


def test_pool_in_full() -> None:
    """References become names in the pool's own namespace."""
    expected = PoolRequest(
        identity=ME,
        network=ObjectRef("tenant", "net"),
        type="VIP",
        ranges=(parse_range("10.0.0.0/26"), parse_range("10.0.0.100-10.0.0.199")),
        exclude=(parse_range("10.0.0.5"),),
        strategy=Strategy.RANDOM,
        cool_down=timedelta(minutes=90),
        paused=True,
        default_lease=timedelta(days=1),
        max_lease=timedelta(days=30),
    )
    assert expected == v1alpha1.pool_request(ME, FULL_POOL, {})


def test_pool_at_least() -> None:
    """What is left out has the schema's defaults."""
    expected = PoolRequest(ME, ObjectRef("tenant", "net"), "Dynamic")
    assert expected == v1alpha1.pool_request(ME, {"networkRef": {"name": "net"}}, {})


def test_claim_in_full() -> None:
    """A claim carries its wish, its details and its actor."""
    detail = ClaimDetail(
        hostname="web-1", assigned_to="a", description="d", sticky_key="web/1", priority=7, retain=True
    )
    term = Term(timedelta(hours=36), datetime(2026, 1, 31, 12, tzinfo=UTC))
    expected = ClaimRequest(ME, ObjectRef("tenant", "pool"), 1, ip_address("10.0.0.5"), detail, "alice", term)
    assert expected == v1alpha1.claim_request(ME, FULL_CLAIM, actor="alice")


def test_a_reservation() -> None:
    """It has a term of its own, an hour unless it says; `lease` is for later."""
    spec = {"poolRef": {"name": "pool"}, "mode": "Reserve", "lease": "36h"}
    hour = v1alpha1.claim_request(ME, spec, actor="bob")
    assert isinstance(hour, ClaimRequest)
    assert hour.term == Term(timedelta(hours=1), reserved=True)
    day = v1alpha1.claim_request(ME, spec | {"reserveFor": "24h"}, actor="bob")
    assert isinstance(day, ClaimRequest)
    assert day.term == Term(timedelta(hours=24), reserved=True)
    confirmed = v1alpha1.claim_request(ME, spec | {"mode": "Allocate", "reserveFor": "24h"}, actor="bob")
    assert isinstance(confirmed, ClaimRequest)
    assert confirmed.term == Term(timedelta(hours=36))
    taking = v1alpha1.claim_request(ME, {"poolRef": {"name": "p"}, "reservationRef": {"name": "held"}}, actor="bob")
    assert isinstance(taking, ClaimRequest)
    assert taking.reservation == "held"
    both = v1alpha1.claim_request(ME, spec | {"reservationRef": {"name": "held"}}, actor="bob")
    assert isinstance(both, Refused)
    assert "take one of them away" in both.message


def test_claim_at_least() -> None:
    """A bare claim is for one address of any kind, without details."""
    expected = ClaimRequest(ME, ObjectRef("tenant", "pool"), 1, None, None, "bob")
    assert expected == v1alpha1.claim_request(ME, {"poolRef": {"name": "pool"}}, actor="bob")


def test_an_edited_claim_may_have_lost_details_and_lease() -> None:
    """From its second generation on a claim says that it has none: the store may remember earlier ones."""
    edited = replace(ME, generation=2)
    expected = ClaimRequest(edited, ObjectRef("tenant", "pool"), detail=ClaimDetail(), actor="bob", term=Term())
    assert expected == v1alpha1.claim_request(edited, {"poolRef": {"name": "pool"}}, actor="bob")


def test_null_is_absent_and_unknown_is_ignored() -> None:
    """What the API server prunes has no meaning to us either."""
    spec = {"poolRef": {"name": "pool", "nameSpace": "other"}, "address": None, "colour": "blue"}
    expected = ClaimRequest(ME, ObjectRef("tenant", "pool"), actor="bob")
    assert expected == v1alpha1.claim_request(ME, spec, actor="bob")


@pytest.mark.parametrize(
    ("cidr", "gateway"),
    [
        ("10.0.0.0/31", "10.0.0.0"),
        ("10.0.0.0/31", "10.0.0.1"),
        ("10.0.0.0/32", "10.0.0.0"),
        ("10.0.0.0/24", "10.0.0.254"),
        ("2001:db8::/64", "2001:db8::"),
        ("2001:db8::/64", "2001:db8::ffff:ffff:ffff:ffff"),
    ],
)
def test_gateway_may_be_any_host(cidr: str, gateway: str) -> None:
    """Every host may be the gateway, and in IPv6 the routers' anycast address as well."""
    assert isinstance(v1alpha1.network_request(ME, {"cidr": cidr, "gateway": gateway}), NetworkRequest)


@pytest.mark.parametrize(
    ("cidr", "gateway"),
    [("10.0.0.0/24", "10.0.1.1"), ("10.0.0.0/24", "10.0.0.0"), ("10.0.0.0/24", "10.0.0.255"), ("::/64", "10.0.0.1")],
)
def test_gateway_outside_is_a_conflict(cidr: str, gateway: str) -> None:
    """A gateway that is no host of its network has a reason of its own."""
    refused = v1alpha1.network_request(ME, {"cidr": cidr, "gateway": gateway})
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.GATEWAY_CONFLICT
    assert refused.message.startswith("spec.gateway: ")
    assert refused.subject == ME


def test_message_is_bounded() -> None:
    """A message names the first few fields, with their paths, and how many more there are."""
    bad = {"networkRef": {"name": "net"}, "ranges": ["x"] * 64, "paused": "no"}
    refused = v1alpha1.pool_request(ME, bad, {})
    assert isinstance(refused, Refused)
    assert refused.message.startswith("spec.ranges[0]: 'x' must be an IP address")
    assert refused.message.endswith("; and 62 more")
    assert len(refused.message) < 1024


@pytest.mark.parametrize(
    "value", ["x" * 10_000, "\ud800", "\0", "10.0.0.1\n", "\uff110.0.0.1", "0x0a.0.0.1", 0, [], {}, True]
)
def test_odd_addresses_are_refused(value: Any) -> None:
    """Whatever stands where an address should stand is refused, briefly, and never raised."""
    refused = v1alpha1.claim_request(ME, {"poolRef": {"name": "pool"}, "address": value}, actor="bob")
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.INVALID_SPEC
    assert refused.message.startswith("spec.address: ")
    assert len(refused.message) < 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(sorted(FULL_NETWORK)), JSON)
def test_network_never_raises(field: str, value: Any) -> None:
    """Any JSON in any field of a network is a request or a refusal."""
    found = v1alpha1.network_request(ME, {**FULL_NETWORK, field: value})
    assert isinstance(found, NetworkRequest) or "must" in found.message


@given(st.sampled_from(sorted(FULL_POOL)), JSON)
def test_pool_never_raises(field: str, value: Any) -> None:
    """Any JSON in any field of a pool is a request or a refusal."""
    found = v1alpha1.pool_request(ME, {**FULL_POOL, field: value}, {})
    assert isinstance(found, PoolRequest) or "must" in found.message


@given(st.sampled_from(sorted(FULL_CLAIM)), JSON)
def test_claim_never_raises(field: str, value: Any) -> None:
    """Any JSON in any field of a claim is a request or a refusal."""
    found = v1alpha1.claim_request(ME, {**FULL_CLAIM, field: value}, actor="alice")
    assert isinstance(found, ClaimRequest) or "must" in found.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0s", timedelta()),
        ("200ms", timedelta(milliseconds=200)),
        ("1m200ms", timedelta(minutes=1, milliseconds=200)),
        ("1.5h", timedelta(minutes=90)),
        ("24h", timedelta(days=1)),
        ("720h", timedelta(days=30)),
    ],
)
def test_durations(text: str, expected: timedelta) -> None:
    """Durations are read as Go reads them."""
    assert expected == parse_duration(text)

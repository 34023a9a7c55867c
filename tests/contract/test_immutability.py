"""What may change in an object, and what may not: transition rules, which only an API server runs."""

import re
from typing import Any

import pytest
from kubernetes.client import ApiException

from tests.contract.server import Server

pytestmark = pytest.mark.apiserver


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cidr": "10.9.1.0/24"}, "must stay 10.9.0.0/24: make another network instead"),
        ({"vrf": "green"}, "spec.vrf: Invalid value"),
        ({"vrf": None}, "must stay as it is: make another network instead"),
    ],
)
def test_network_stays_where_it_is(server: Server, change: dict[str, Any], words: str) -> None:
    """CIDR and VRF of a network are immutable, also against removal."""
    body = server.made("IPNetwork", "fixed", {"cidr": "10.9.0.0/24", "vrf": "blue"})
    with pytest.raises(ApiException, match=re.escape(words)):
        server.edit(body, **change)


def test_network_gets_no_vrf_later(server: Server) -> None:
    """A network without VRF cannot move into one."""
    body = server.made("IPNetwork", "no-vrf", {"cidr": "10.9.0.0/24"})
    with pytest.raises(ApiException, match="make another network instead"):
        server.edit(body, vrf="blue")


def test_network_rest_changes(server: Server) -> None:
    """Everything else of a network may change."""
    body = server.made("IPNetwork", "changing", {"cidr": "10.9.0.0/24"})
    body = server.edit(body, gateway="10.9.0.1", type="Service", vlanId=7, reserved=["10.9.0.2"])
    server.edit(body, gateway=None, vlanId=None, reserved=None)


def test_pool_stays_in_its_network(server: Server) -> None:
    """A pool cannot move to another network; the rest may change."""
    body = server.made("IPPool", "fixed", {"networkRef": {"name": "a"}})
    with pytest.raises(ApiException, match="must stay as it is: make another pool instead"):
        server.edit(body, networkRef={"name": "b"})
    server.edit(body, ranges=["10.0.0.0/25"], exclude=["10.0.0.9"], paused=True, coolDown="1m", strategy="Random")


BOUND_EDITS = [{"poolRef": {"name": "b"}}, {"count": 2}, {"address": "10.0.0.6"}, {"address": None}]


@pytest.mark.parametrize("change", [*BOUND_EDITS, {"address": None, "count": 2}], ids=str)
def test_bound_claim_stays(server: Server, change: dict[str, Any]) -> None:
    """Where and what of a claim are immutable once it has its addresses, also against removal."""
    spec = {"poolRef": {"name": "a"}, "count": 1, "address": "10.0.0.5"}
    body = bound(server, server.made("IPClaim", "bound", spec))
    with pytest.raises(ApiException, match=r"must stay as they are once the claim has its addresses|must be 1 when"):
        server.edit(body, **change)


def test_bound_claim_gets_no_wish(server: Server) -> None:
    """A claim that took any address cannot wish for one afterwards."""
    body = bound(server, server.made("IPClaim", "wishless", {"poolRef": {"name": "a"}}))
    with pytest.raises(ApiException, match="must stay as they are once the claim has its addresses"):
        server.edit(body, address="10.0.0.6")


def test_bound_claim_takes_over_no_reservation(server: Server) -> None:
    """A claim that has its addresses cannot ask for reserved ones; what it took them over from may be forgotten."""
    body = bound(server, server.made("IPClaim", "rich", {"poolRef": {"name": "a"}}))
    with pytest.raises(ApiException, match="reservationRef may only be taken away: make another claim instead"):
        server.edit(body, reservationRef={"name": "held"})
    spec = {"poolRef": {"name": "a"}, "reservationRef": {"name": "held"}}
    heir = bound(server, server.made("IPClaim", "heir", spec))
    with pytest.raises(ApiException, match="may only be taken away"):
        server.edit(heir, reservationRef={"name": "other"})
    server.edit(heir, reservationRef=None)


def test_bound_claim_detail_changes(server: Server) -> None:
    """What people find an address by may change on a live claim."""
    body = bound(server, server.made("IPClaim", "live", {"poolRef": {"name": "a"}}))
    body = server.edit(body, hostname="a.example", assignedTo="b", description="c")
    server.edit(body, hostname=None)


@pytest.mark.parametrize("change", BOUND_EDITS[:1] + BOUND_EDITS[2:], ids=str)
def test_waiting_claim_is_mended_in_place(server: Server, change: dict[str, Any]) -> None:
    """A claim that waits, say on a mistyped pool, may still change in every field."""
    body = server.made("IPClaim", "waiting", {"poolRef": {"name": "a"}, "address": "10.0.0.5"})
    status = {"observedGeneration": 1, "reason": "PoolNotFound", "conditions": []}
    server.edit(server.replace_status({**body, "status": status}), **change)


def bound(server: Server, body: dict[str, Any]) -> dict[str, Any]:
    status = {"observedGeneration": 1, "reason": "Allocated", "address": "10.0.0.5", "conditions": []}
    return server.replace_status({**body, "status": status})

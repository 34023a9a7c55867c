"""Counts and percentages."""

from ipaddress import ip_address, ip_network
from uuid import UUID

import pytest

from ipam_operator.domain.capacity import NetworkCount, percent


def count(cidr: str, *, pool_size: int, free: int = 0, gateway: str | None = None) -> NetworkCount:
    return NetworkCount(
        uid=UUID(int=1),
        cidr=ip_network(cidr),
        address_space="team",
        pools=1,
        pool_size=pool_size,
        free=free,
        cooling=0,
        gateway=None if gateway is None else ip_address(gateway),
    )


@pytest.mark.parametrize(
    ("used", "total", "expected"),
    [(0, 0, "0"), (0, 6, "0"), (1, 3, "33.33"), (1, 2, "50"), (2**64 - 1, 2**64, "99.99"), (2**64, 2**64, "100")],
)
def test_percent_is_rounded_down(used: int, total: int, expected: str) -> None:
    """100 means all of it, and nothing is lost beyond 2^53."""
    assert percent(used, total) == expected


def test_a_network_whose_pools_are_hosts_counts_hosts() -> None:
    """Of a /29 six addresses are usable, whatever its pools have of them."""
    assert count("10.0.0.0/29", pool_size=3).usable == 6


def test_ends_that_a_nat_pool_hands_out_are_usable() -> None:
    """A network is never more than full, also when a NAT pool hands out its first and last address."""
    full = count("10.0.0.0/29", pool_size=7, gateway="10.0.0.1")
    assert (full.usable, full.allocated, full.reserved_size, full.unassigned) == (8, 7, 1, 0)
    assert percent(full.allocated + full.reserved_size, full.usable) == "100"

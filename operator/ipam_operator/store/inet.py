"""What the driver makes of PostgreSQL's inet, in our terms."""

from ipaddress import IPv4Interface, IPv6Interface, ip_network

from ipam_operator.net.cidr import Address, AddressOrPrefix, Network


def as_address_or_prefix(value: Address) -> AddressOrPrefix:
    """A prefix where the driver says that there is a shorter mask than that of a single address."""
    return as_prefix(value) if isinstance(value, IPv4Interface | IPv6Interface) else value


def as_prefix(value: Address) -> Network:
    """The prefix; of a single address the one that it is all of."""
    return ip_network(value) if not isinstance(value, IPv4Interface | IPv6Interface) else value.network

"""Addresses and networks: canonical parsing, and which addresses of a network hosts may use.

Canonical means what RFC 5952 and RFC 4632 print: no leading zeros, no zone, no host bits, lower case, and no
IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2), which names an IPv4 host by a second key.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
AddressOrPrefix = Address | Network
"""What a claim holds: an address, or a prefix."""

IPV4_MAPPED: Final = IPv6Network("::ffff:0:0/96")
"""IPv4 hosts by a second key."""


def parse_address(text: str) -> Address:
    """The address that `text` spells canonically.

    Raises:
        ValueError: not an address, or not spelled canonically; the message shows the right form.
    """
    if "%" in text:
        raise ValueError(f"{text!r} must be an address without a zone, such as {text.split('%', maxsplit=1)[0]}")
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} must be an IP address, such as 10.0.0.1 or 2001:db8::1{_unpadded(text)}") from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError(f"{text!r} must be written as IPv4: {address.ipv4_mapped}")
    if str(address) != text:
        raise ValueError(f"{text!r} must be written as {address}")
    return address


def _unpadded(text: str) -> str:
    octets = text.split(".")
    if len(octets) == 4 and all(octet.isascii() and octet.isdigit() and int(octet) < 256 for octet in octets):
        return f" (no leading zeros: {'.'.join(str(int(octet)) for octet in octets)})"
    return ""


def parse_address_or_prefix(text: str) -> AddressOrPrefix:
    """The address or prefix that `text` spells canonically.

    Raises:
        ValueError: neither; the message shows the right form.
    """
    return parse_network(text) if "/" in text else parse_address(text)


def parse_network(text: str) -> Network:
    """The network that `text` spells canonically.

    Raises:
        ValueError: not a network, host bits set, or not spelled canonically; the message shows the right form.
    """
    host, slash, length = text.partition("/")
    if "%" in text or not slash or not (length.isascii() and length.isdigit()):
        raise ValueError(f"{text!r} must be a CIDR, such as 10.0.0.0/24 or 2001:db8::/64")
    try:
        interface = ip_interface(text)
    except ValueError:
        raise ValueError(f"{text!r} must be a CIDR, such as 10.0.0.0/24 or 2001:db8::/64{_unpadded(host)}") from None
    network = interface.network
    if isinstance(interface.ip, IPv6Address) and interface.ip.ipv4_mapped is not None:
        raise ValueError(f"{text!r} must be written as IPv4: {interface.ip.ipv4_mapped}/{max(int(length) - 96, 0)}")
    if str(network) != text:
        raise ValueError(f"{text!r} must be written as {network}")
    return network


def address(value: int, version: int) -> Address:
    """The address with this number; `version` is 4 or 6."""
    return IPv4Address(value) if version == 4 else IPv6Address(value)


def usable_hosts(network: Network) -> tuple[Address, Address]:
    """First and last address that a host of this network may use, both included.

    IPv4 keeps back the network and broadcast addresses (RFC 1122), except in a /31 (RFC 3021) and a /32.
    IPv6 keeps back the subnet-router anycast address (RFC 4291 section 2.6.1), except in a /127 (RFC 6164)
    and a /128.
    """
    first, last = network.network_address, network.broadcast_address
    if network.prefixlen >= network.max_prefixlen - 1:
        return first, last
    if network.version == 4:
        return first + 1, last - 1
    return first + 1, last

"""IPNetwork: a range of addresses that pools divide among themselves."""

from typing import Annotated, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from ipam_operator.api.base import Document, rules
from ipam_operator.api.fields import VRF, IPAddress, Line100, Line200, NetworkCIDR, Prose
from ipam_operator.api.ranges import Ranges, to_ranges
from ipam_operator.api.status import ATOMIC, NEVER_ANSWERED, IPNetworkStatus
from ipam_operator.domain.model import Identity, NetworkRequest
from ipam_operator.domain.outcome import Reason, Refused
from ipam_operator.net.cidr import Address, Network, usable_hosts
from ipam_operator.net.ranges import Range

DEFAULT_VRF: Final = "default"
"""The effective VRF of a network that names none. No schema default: it would freeze into every object."""
GATEWAY_OUTSIDE: Final = "gateway_outside"
"""The type of the shape's error that becomes `GatewayConflict`."""

NetworkType = Literal["Customer", "Infrastructure", "Management", "Service", "Transit", "Loopback", "PointToPoint"]


class IPNetworkSpec(Document):
    """What is wanted of the network."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            {
                "rule": (
                    "!has(self.gateway) || !isCIDR(self.cidr) || !isIP(self.gateway)"
                    " || cidr(self.cidr).containsIP(self.gateway)"
                ),
                "fieldPath": ".gateway",
                "message": "must be an address inside spec.cidr",
                "messageExpression": "'must be an address inside %s'.format([self.cidr])",
            },
            {
                "rule": "has(self.vrf) == has(oldSelf.vrf) && (!has(self.vrf) || self.vrf == oldSelf.vrf)",
                "fieldPath": ".vrf",
                "message": "must stay as it is: make another network instead",
            },
        )
    )

    cidr: NetworkCIDR = Field(
        description=(
            "The addresses of the network, IPv4 or IPv6, as a canonical CIDR without host bits: 10.20.0.0/24,"
            " 2001:db8:20::/64. Immutable. Networks of one address space (namespace and vrf) must not overlap."
        )
    )
    vrf: VRF | None = Field(
        default=None,
        description=(
            "Routing instance within the namespace: the same CIDR may be used once in each. A name or a route"
            f" distinguisher: mpls-blue, 65000:100. Absent means `{DEFAULT_VRF}`. Immutable."
        ),
    )
    type: NetworkType = Field(default="Customer", description="What the network is for; default Customer.")
    gateway: IPAddress | None = Field(
        default=None,
        description=(
            "Default gateway, an address of the network: 10.20.0.1. Told to every claim, never handed out to one."
        ),
    )
    dns_servers: list[IPAddress] = Field(
        default_factory=list,
        max_length=8,
        description="DNS servers told to every claim, in order of preference: [10.20.0.2, 2001:db8::53].",
        json_schema_extra=ATOMIC,
    )
    vlan_id: Annotated[int, Field(ge=1, le=4094)] | None = Field(
        default=None, description="IEEE 802.1Q VLAN, 1 to 4094. Documentation: not configured anywhere."
    )
    site_id: Line100 | None = Field(default=None, description="Your identifier of the site: fra-2.")
    location: Line200 | None = Field(default=None, description="Where it is, for people: Frankfurt, hall 3, row B.")
    description: Prose | None = Field(default=None, description="Anything worth knowing, for people.")
    reserved: Ranges = Field(
        default_factory=list,
        description=(
            "Addresses of the network that no pool ever hands out: an address, a range with both ends included, or"
            " a CIDR. Example: [10.20.0.2, 10.20.0.10-10.20.0.19, 10.20.0.240/28]."
        ),
    )

    @model_validator(mode="after")
    def _gateway_inside(self) -> Self:
        if self.gateway is not None and self.gateway not in self.cidr:
            raise PydanticCustomError(
                GATEWAY_OUTSIDE, "must be an address inside {cidr}", {"cidr": str(self.cidr), "field": "gateway"}
            )
        return self

    def to_domain(self, identity: Identity) -> NetworkRequest | Refused:
        """The request, or what to change."""
        if self.gateway is not None and (words := _no_gateway(self.gateway, self.cidr)):
            return Refused(identity, Reason.GATEWAY_CONFLICT, f"spec.gateway: {words}")
        reserved = to_ranges("reserved", self.reserved)
        if isinstance(reserved, str):
            return Refused(identity, Reason.INVALID_SPEC, reserved)
        whole = Range.of(self.cidr)
        for index, one in enumerate(reserved):
            if not whole.covers(one):
                words = f"spec.reserved[{index}]: {one} must lie inside {self.cidr}, which is {whole}"
                return Refused(identity, Reason.INVALID_SPEC, words)
        return NetworkRequest(
            identity=identity,
            vrf=self.vrf or DEFAULT_VRF,
            cidr=self.cidr,
            type=self.type,
            gateway=self.gateway,
            dns_servers=tuple(self.dns_servers),
            reserved=reserved,
        )


class IPNetwork(Document):
    """A range of addresses that pools hand out, with what its hosts need to know: gateway and DNS servers."""

    spec: IPNetworkSpec = Field(description="What is wanted of the network.")
    status: IPNetworkStatus | None = Field(
        default=None,
        description="What the operator says about the network. Written by the operator only.",
        json_schema_extra={"default": NEVER_ANSWERED},
    )


def _no_gateway(gateway: Address, network: Network) -> str:
    """Why this address of the network cannot be its gateway; empty when it can.

    An IPv6 network's first address is its routers' anycast address (RFC 4291 section 2.6.1): fit for a gateway.
    """
    first, last = usable_hosts(network)
    if network.version == 6 or gateway in Range(first, last):
        return ""
    return f"{gateway} must be an address that hosts may use: {first} to {last}"

"""Objects as users write them, and their way into the domain.

Two stages. The *shape* (the models) equals the CRD. `to_domain` then judges what a CRD cannot: its refusals
become conditions. Both run on every object, because one that is older than its CRD arrives all the same.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ipam_operator.api import base
from ipam_operator.api.claims import IPClaimSpec
from ipam_operator.api.networks import GATEWAY_OUTSIDE, IPNetworkSpec
from ipam_operator.api.pools import IPPoolSpec
from ipam_operator.domain.model import ClaimRequest, Identity, NetworkRequest, ObjectRef, PoolRequest
from ipam_operator.domain.outcome import Reason, Refused


def network_request(identity: Identity, spec: Mapping[str, Any]) -> NetworkRequest | Refused:
    """An IPNetwork's spec in our words, or the refusal that its status will show."""
    try:
        return IPNetworkSpec.model_validate(dict(spec)).to_domain(identity)
    except ValidationError as error:
        if base.kind_of(error) == GATEWAY_OUTSIDE:
            reason = Reason.GATEWAY_CONFLICT
        else:
            reason = Reason.INVALID_NETWORK if base.place_of(error) == "cidr" else Reason.INVALID_SPEC
        return Refused(identity, reason, base.explain(error))


def pool_request(identity: Identity, spec: Mapping[str, Any], labels: Mapping[str, str]) -> PoolRequest | Refused:
    """An IPPool's spec and labels in our words, or the refusal that its status will show."""
    try:
        return IPPoolSpec.model_validate(dict(spec)).to_domain(identity, labels)
    except ValidationError as error:
        return Refused(identity, Reason.INVALID_SPEC, base.explain(error))


def claim_place(ref: ObjectRef, spec: Mapping[str, Any]) -> ObjectRef:
    """The pool that a claim names, or where claims of its selector queue; a name that no object has if it is broken."""
    try:
        return IPClaimSpec.model_validate(dict(spec)).place(ref.namespace)
    except ValidationError:
        return ObjectRef(ref.namespace, "")


def claim_request(identity: Identity, spec: Mapping[str, Any], *, actor: str) -> ClaimRequest | Refused:
    """An IPClaim's spec in our words, or the refusal that its status will show."""
    try:
        return IPClaimSpec.model_validate(dict(spec)).to_domain(identity, actor=actor)
    except ValidationError as error:
        return Refused(identity, Reason.INVALID_SPEC, base.explain(error))

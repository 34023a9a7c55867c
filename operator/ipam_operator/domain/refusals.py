"""Refusals of networks and pools, with the words that a user reads. Pure."""

from collections.abc import Sequence

from ipam_operator.domain import layout
from ipam_operator.domain.layout import NetworkFacts
from ipam_operator.domain.model import Identity, ObjectRef, PoolRequest
from ipam_operator.domain.outcome import Held, Reason, Refused
from ipam_operator.net.cidr import AddressOrPrefix
from ipam_operator.net.ranges import Range


def overlap(subject: Identity, taken: Sequence[tuple[str, ObjectRef, Range]]) -> Refused:
    """Others have what is asked for; names only those in the reader's namespace."""
    who = ", ".join(
        f"{kind} {ref.name} has {space}" if ref.namespace == subject.ref.namespace else f"another {kind} has {space}"
        for kind, ref, space in taken
    )
    message = f"the address space is taken: {who}; choose space outside of it, or delete what has it"
    return Refused(subject, Reason.NETWORK_OVERLAP, message)


def immutable(subject: Identity, field: str, value: str) -> Refused:
    """A field that cannot change on a live object was changed (an API server without our rules)."""
    return Refused(
        subject,
        Reason.INVALID_SPEC,
        f"{field} must stay {value}; delete the object and create another to change it",
    )


def namesake(subject: Identity, held: Held) -> Refused:
    """An earlier object of the same name is still in use."""
    return Refused(
        subject,
        Reason.DELETING,
        f"an earlier object of this name still has {held.total} in use: "
        f"{held.words}; this one comes into service when they are gone",
    )


def no_network(subject: Identity, network: ObjectRef, refusal: tuple[str, str] | None) -> Refused:
    """The pool's network is not in service."""
    if refusal is None:
        message = f"there is no IPNetwork {network.name} in namespace {network.namespace}"
    else:
        message = f"network {network.name} is not in service ({refusal[0]}): {refusal[1]}"
    return Refused(subject, Reason.NETWORK_NOT_FOUND, message)


def misplaced(subject: Identity, network: NetworkFacts, pool: PoolRequest) -> Refused | None:
    """The pool asks for what its network does not have."""
    strangers = [one for one in (*pool.ranges, *pool.exclude) if one.version != network.cidr.version]
    if strangers:
        message = f"{strangers[0]} must be IPv{network.cidr.version}, as its network {network.cidr} is"
        return Refused(subject, Reason.INVALID_SPEC, message)
    beyond = layout.outside(network, pool.ranges)
    if beyond:
        message = f"spec.ranges must lie inside {network.cidr}: {', '.join(str(one) for one in beyond[:5])} does not"
        return Refused(subject, Reason.INVALID_SPEC, message)
    for length in pool.prefixes.lengths if pool.prefixes is not None else ():
        if not network.cidr.prefixlen <= length <= network.cidr.max_prefixlen:
            message = (
                f"spec.prefixes.lengths: {length} must be from {network.cidr.prefixlen} to"
                f" {network.cidr.max_prefixlen}, as its network is {network.cidr}"
            )
            return Refused(subject, Reason.INVALID_SPEC, message)
    return None


def shrink(
    subject: Identity, total: int, sample: Sequence[tuple[AddressOrPrefix, ObjectRef]], gateway: object
) -> Refused:
    """An edit would take away addresses that are held; everything stays as it was."""
    names = ", ".join(
        f"{address} (IPClaim {ref.name})" if ref.namespace == subject.ref.namespace else str(address)
        for address, ref in sample
    )
    more = f" and {total - len(sample)} more" if total > len(sample) else ""
    if any(address == gateway for address, _ in sample):
        reason, what = Reason.GATEWAY_CONFLICT, f"the gateway {gateway} is held"
    else:
        reason, what = Reason.SHRINK_REFUSED, f"{total} held addresses would be outside"
    return Refused(
        subject, reason, f"{what}: {names}{more}; release them first. The last accepted spec stays in service"
    )

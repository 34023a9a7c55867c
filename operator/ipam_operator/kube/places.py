"""Which pool a claim object is about."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from ipam_operator.api import v1alpha1
from ipam_operator.domain.model import ObjectRef
from ipam_operator.kube.inbox import Item
from ipam_operator.net.cidr import AddressOrPrefix, parse_address_or_prefix


def asked(item: Item) -> ObjectRef:
    """The pool that the claim names, or where claims of its selector queue."""
    return v1alpha1.claim_place(item.identity.ref, item.spec)


def shown(item: Item) -> ObjectRef:
    """The pool that the claim's addresses are from by its status; without any, the one that it names."""
    text = str(item.status.get("pool") or "")
    return ObjectRef.read(text, item.identity.ref.namespace) if text else asked(item)


def addresses(item: Item) -> tuple[AddressOrPrefix, ...]:
    """The addresses in the claim's status; none when they cannot be read."""
    try:
        return tuple(parse_address_or_prefix(text) for text in item.status.get("addresses") or ())
    except ValueError:
        return ()


def homes(item: Item, addresses: Sequence[AddressOrPrefix]) -> set[ObjectRef]:
    """The pools that the addresses in the claim's status are from, or the one that it names."""
    return {home for home, _ in parts(item, addresses)} or {shown(item)}


def parts(item: Item, addresses: Sequence[AddressOrPrefix]) -> Iterator[tuple[ObjectRef, tuple[AddressOrPrefix, ...]]]:
    """The addresses in the claim's status by the pools that they are from, one for each family."""
    pools = {block["family"]: block.get("pool") for block in item.status.get("blocks") or ()}
    for family, some in groupby(sorted(addresses, key=_version), _version):
        text = pools.get(family)
        yield ObjectRef.read(text, item.identity.ref.namespace) if text else shown(item), tuple(some)


def _version(address: AddressOrPrefix) -> int:
    return address.version

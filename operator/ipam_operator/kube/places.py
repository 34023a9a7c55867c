"""Which pool a claim object is about."""

from ipam_operator.api import v1alpha1
from ipam_operator.domain.model import ObjectRef
from ipam_operator.kube.inbox import Item


def asked(item: Item) -> ObjectRef:
    """The pool that the claim names, or where claims of its selector queue."""
    return v1alpha1.claim_place(item.identity.ref, item.spec)


def shown(item: Item) -> ObjectRef:
    """The pool that the claim's addresses are from by its status; without any, the one that it names."""
    text = str(item.status.get("pool") or "")
    return ObjectRef.read(text, item.identity.ref.namespace) if text else asked(item)

"""All claims of the cluster, as briefly as a comparison needs them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from ipam_operator.domain.model import ObjectRef
from ipam_operator.kube import places
from ipam_operator.kube.apiserver import ApiServer
from ipam_operator.kube.inbox import Item
from ipam_operator.kube.resources import Kind


@dataclass(slots=True)
class Census:
    """One consistent list."""

    shown: dict[UUID, str] = field(default_factory=dict)
    """Claim -> the addresses in its status, joined by commas; '' without any."""
    ends: dict[UUID, datetime] = field(default_factory=dict)
    """Claim -> when its lease ends, of those whose status says so."""
    generation: int = 0
    """The highest that a lease has by any status."""
    pools: dict[UUID, ObjectRef] = field(default_factory=dict)
    """Claim -> the pool it is about."""


async def census(api: ApiServer, visit: Callable[[Item], None] = lambda _item: None) -> Census:
    """List all claims, page by page.

    Raises:
        ClusterUnavailableError: the list is not complete, so nothing may be concluded.
    """
    found = Census()
    async for body in api.objects(Kind.CLAIM):
        item = Item.of(Kind.CLAIM, body)
        found.shown[item.uid] = ",".join(item.status.get("addresses") or ())
        found.pools[item.uid] = places.shown(item)
        found.generation = max(found.generation, item.lease_generation)
        if item.expires_at is not None:
            found.ends[item.uid] = item.expires_at
        visit(item)
    return found

"""What claims show goes before all that is asked for: it is taken into the store, or handed over by the dead."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final
from uuid import UUID

from ipam_operator.domain.answers import Served
from ipam_operator.domain.findings import Finding
from ipam_operator.domain.model import ClaimRequest, ObjectRef, Release
from ipam_operator.domain.outcome import Reason, Refused
from ipam_operator.kube import places
from ipam_operator.kube.inbox import Item
from ipam_operator.net.cidr import AddressOrPrefix
from ipam_operator.services.claims import Claims

_ACTOR: Final = "ipam-operator:resync"
_NOT_YET: Final = {Reason.POOL_NOT_FOUND, Reason.NETWORK_NOT_FOUND}
Asked = tuple[ClaimRequest, Item]


class Adoption:
    """Remembers what the last comparison of cluster and store has found, no more."""

    def __init__(self, claims: Claims, actor: Callable[[Item], str]) -> None:
        self._claims, self._actor = claims, actor
        self._orphans: dict[ObjectRef, Release] = {}
        self._lost: dict[ObjectRef, list[Asked]] = {}

    async def adopt(self, asked: Iterable[Asked], gone: Collection[UUID] = ()) -> list[Served]:
        """Take what these show into the store, where that is free or held by claims that are `gone`.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        showing: defaultdict[ObjectRef, list[tuple[ClaimRequest, tuple[AddressOrPrefix, ...]]]] = defaultdict(list)
        for request, item in asked:
            for home, some in places.parts(item, places.addresses(item)):
                showing[home].append((request, some))
        return [await self._claims.adopt(home, some, gone=gone) for home, some in showing.items()]

    async def adopt_found(self, items: Iterable[Item], orphans: Iterable[Finding]) -> None:
        """What a comparison has found; what became of the claims is told when they are looked at again.

        Args:
            items: claims that have to be looked at again.
            orphans: leases whose claims do not exist.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        asked = [(ClaimRequest(item.identity, places.shown(item), actor=self._actor(item)), item) for item in items]
        # Of two that show the same, the one that got it last is right.
        asked.sort(key=lambda one: -one[1].lease_generation)
        early = _too_early(await self.adopt(asked, frozenset(one.claim_uid for one in orphans if one.claim_uid)))
        self._lost = {}
        for request, item in asked:
            for home in places.homes(item, places.addresses(item)) if item.uid in early else ():
                self._lost.setdefault(home, []).append((request, item))

    async def adopt_lost(self, pool: ObjectRef) -> list[Item]:
        """Before the pool gives anything: it may come into service only now, after those who show it were looked at.

        Returns those that have to be looked at again, for what became of them.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        asked = self._lost.get(pool)
        if asked is None:
            return []
        if _too_early(await self.adopt(asked)):
            return []
        self._lost.pop(pool, None)
        return [item for _, item in asked]

    def remember_orphans(self, orphans: Iterable[Finding]) -> None:
        """Leases whose claims do not exist, by the names of those: whoever is called so now is their heir."""
        self._orphans = {
            one.claim: Release(one.claim_uid, one.generation, _ACTOR, retain=True)
            for one in orphans
            if one.claim is not None and one.claim_uid is not None
        }

    async def make_way(self, asked: Sequence[Asked]) -> None:
        """What claims hold that are gone is kept for those that have their names now.

        There are no two of a name: the cluster was made anew, or lost who came late.
        """
        if not self._orphans:
            return
        heirs = [
            request for request, item in asked if request.identity.ref in self._orphans and not places.addresses(item)
        ]
        if heirs:
            await self._claims.release([(self._orphans[heir.identity.ref], heir.pool) for heir in heirs])
            for heir in heirs:
                self._orphans.pop(heir.identity.ref, None)


def _too_early(answers: Iterable[Served]) -> set[UUID]:
    """Claims that a pool could not take in because it is not in service."""
    outcomes = (outcome for served in answers for outcome in served.outcomes)
    return {one.subject.uid for one in outcomes if isinstance(one, Refused) and one.reason in _NOT_YET}

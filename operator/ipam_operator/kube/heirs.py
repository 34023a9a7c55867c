"""Claims that name a reservation which is not there: one that comes wakes them."""

from collections.abc import Sequence
from uuid import UUID

from ipam_operator.domain.model import ObjectRef
from ipam_operator.domain.outcome import Reason
from ipam_operator.kube.inbox import Item


class Heirs:
    """Filled by what the cluster shows: a lost entry costs the time until the resync.

    Only statuses count. Whichever is seen second, the reservation or who was refused, the store knows both by then:
    answers of two pools' queues may cross, what they have written does not.
    """

    def __init__(self) -> None:
        self._reserved: dict[ObjectRef, UUID] = {}
        self._refused: dict[ObjectRef, dict[UUID, Item]] = {}
        self._named: dict[UUID, ObjectRef] = {}

    def see(self, item: Item) -> Sequence[Item]:
        """Take note of a claim; those that are to ask again, each as last seen."""
        reason = item.status.get("reason") if item.answered and not item.dying else None
        came = self._reservation(item, held=reason == Reason.RESERVED)
        named = _named(item) if reason == Reason.RESERVATION_NOT_FOUND else None
        refused = self._refusal(item, named)
        if came:
            return tuple(self._refused.get(item.identity.ref, {}).values())
        return (item,) if refused and named in self._reserved else ()

    def _reservation(self, item: Item, *, held: bool) -> bool:
        ref = item.identity.ref
        known = self._reserved.get(ref) == item.uid
        if held:
            self._reserved[ref] = item.uid
        elif known:
            del self._reserved[ref]
        return held and not known

    def _refusal(self, item: Item, named: ObjectRef | None) -> bool:
        before = self._named.pop(item.uid, None)
        if before is not None and before != named:
            self._refused[before].pop(item.uid)
            if not self._refused[before]:
                del self._refused[before]
        if named is None:
            return False
        self._named[item.uid] = named
        self._refused.setdefault(named, {})[item.uid] = item
        return before != named


def _named(item: Item) -> ObjectRef | None:
    reservation = item.spec.get("reservationRef")
    return None if reservation is None else ObjectRef(item.identity.ref.namespace, reservation["name"])

"""What waiting claims show of how they stand, so that it is written again only when it has changed."""

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from ipam_operator.domain.model import ObjectRef
from ipam_operator.domain.outcome import ClaimOutcome, Granted, Reason, Refused, Vanished
from ipam_operator.kube.inbox import Item
from ipam_operator.kube.status import Conditions
from ipam_operator.services.claims import PLACES_LIMIT

_GRANTS: Final = 10_000
"""Grants that are remembered: more than are written while one statement runs."""


class Standing:
    """Filled by what the cluster shows: a lost entry costs one write."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._shown: dict[UUID, tuple[int, Conditions]] = {}
        self._looked: dict[ObjectRef, float] = {}
        self._due: set[ObjectRef] = set()
        self._granted: OrderedDict[UUID, float] = OrderedDict()
        self._isolated: set[UUID] = set()

    def see(self, item: Item) -> None:
        """Take note of a claim."""
        if not item.dying and item.answered and item.status.get("reason") == Reason.TENANT_ISOLATION:
            self._isolated.add(item.uid)
        else:
            self._isolated.discard(item.uid)
        self.show(item.uid, {} if item.dying or item.gone else item.status)

    def show(self, uid: UUID, status: Mapping[str, Any]) -> None:
        """The claim shows this, or will once it is written: whoever looks in between is not to write it anew."""
        place = status.get("queuePosition")
        if place is None or place > PLACES_LIMIT:
            self._shown.pop(uid, None)
        else:
            self._shown[uid] = place, status.get("conditions") or ()

    def due(self, pool: ObjectRef) -> bool:
        """Whether it is time to look at the pool's queues again; if so, until `take`."""
        now = time.monotonic()
        if now - self._looked.get(pool, -self._seconds) < self._seconds:
            return False
        self._looked[pool] = now
        self._due.add(pool)
        return True

    def take(self, pool: ObjectRef) -> bool:
        """Whether the pool is due, once."""
        if pool not in self._due:
            return False
        self._due.discard(pool)
        return True

    def news(self, outcome: Refused) -> Conditions | None:
        """The conditions that the claim shows, () when unknown; None when it shows this very place, or will soon."""
        place = outcome.queue_position
        before, conditions = self._shown.get(outcome.subject.uid, (None, ()))
        return None if place is None or place == before else conditions

    def isolated(self, outcome: ClaimOutcome) -> bool:
        """Whether the claim is told that the pool is not for its namespace, and shows that already.

        The same words with a new time would tell strangers that there is such a pool, and when it changes.
        """
        return (
            isinstance(outcome, Refused)
            and outcome.reason is Reason.TENANT_ISOLATION
            and outcome.subject.uid in self._isolated
        )

    def answer(self, outcome: ClaimOutcome) -> None:
        """The claim is told this now."""
        if isinstance(outcome, Refused) and outcome.reason is not Reason.TENANT_ISOLATION:
            self._isolated.discard(outcome.subject.uid)
        elif isinstance(outcome, Granted | Vanished):
            self._isolated.discard(outcome.claim.uid)

    def granted(self, outcome: Granted) -> None:
        """From now on the claim holds."""
        self._granted[outcome.claim.uid] = time.monotonic()
        self._granted.move_to_end(outcome.claim.uid)
        if len(self._granted) > _GRANTS:
            self._granted.popitem(last=False)

    def overtaken(self, outcome: Refused, began: float) -> bool:
        """Whether the claim was granted after a statement began (`time.monotonic()`) that says that it waits.

        The claims of a selector are served from several pools at a time, and answers cross.
        """
        return self._granted.get(outcome.subject.uid, began - 1) >= began

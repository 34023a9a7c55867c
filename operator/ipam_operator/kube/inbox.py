"""The newest version of every object that needs work, by UID; level-triggered and without duplicates."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from ipam_operator import telemetry
from ipam_operator.api.status import NEVER_ANSWERED
from ipam_operator.domain.model import Identity, ObjectRef
from ipam_operator.kube.apiserver import Target
from ipam_operator.kube.resources import FINALIZER, Kind

Json = dict[str, Any]

_NEWS_SECONDS: Final = 1.0
"""So long the event of a change may take of which the API server has told us by a refusal."""
_GONE: Final = 10_000
"""Ends that are remembered: more than come while one list is read."""


@dataclass(frozen=True, slots=True)
class Item:
    """One object as last seen."""

    kind: Kind
    identity: Identity
    meta: Mapping[str, Any]
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    gone: bool = False
    """A DELETED event: nobody is left to write to, but what it held must be released."""
    manager: str = ""
    """The field manager that wrote to the spec last; '' when the object does not say."""
    seen: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, kind: Kind, body: Mapping[str, Any], *, gone: bool = False) -> "Item":
        """From the raw object; of `managedFields`, half of its size, only who managed its spec last is kept."""
        meta = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
        ref = ObjectRef(meta["namespace"], meta["name"])
        identity = Identity(UUID(meta["uid"]), ref, meta["generation"])
        status = body.get("status") or {}
        manager = _manager(body["metadata"].get("managedFields") or ())
        return cls(
            kind, identity, meta, body.get("spec") or {}, {} if status == NEVER_ANSWERED else status, gone, manager
        )

    @property
    def uid(self) -> UUID:
        """The owner's key."""
        return self.identity.uid

    @property
    def dying(self) -> bool:
        """Deleted, or about to be."""
        return self.gone or "deletionTimestamp" in self.meta

    @property
    def held(self) -> bool:
        """Carries our finalizer, so it cannot vanish without us."""
        return FINALIZER in (self.meta.get("finalizers") or ())

    @property
    def answered(self) -> bool:
        """The status speaks about this very spec."""
        return bool(self.status.get("observedGeneration") == self.identity.generation)

    @property
    def labels(self) -> Mapping[str, str]:
        """The object's labels."""
        return self.meta.get("labels") or {}

    @property
    def expires_at(self) -> datetime | None:
        """When the lease ends, as the status says; in whole seconds."""
        if "expiresAt" in self.status:
            with suppress(ValueError):  # not ours: we write what can be read
                return datetime.fromisoformat(self.status["expiresAt"])
        return None

    @property
    def lease_generation(self) -> int:
        """Of the lease that the status shows; 0: of none."""
        return int(self.status.get("leaseGeneration") or 0)

    @property
    def target(self) -> Target:
        """Where writes go."""
        return Target(self.kind, self.identity.ref, self.uid)


class Inbox:
    """Items in order of arrival. An item taken is busy until `done`; what arrives meanwhile waits its turn.

    `done(uid, answered=generation)` makes the inbox ignore echoes of our own writes up to that generation, and pages of
    a list that were read before them. A list is older than what happens while it is read: who is in work, or was
    answered or went since it began, needs no second look, whatever the list shows.
    """

    def __init__(self, kind: Kind) -> None:
        self._length = telemetry.inbox_length.labels(kind.value)
        self._pending: dict[UUID, Item] = {}
        self._busy: set[UUID] = set()
        self._parked: dict[UUID, Item] = {}
        self._forced: set[UUID] = set()
        self._awaited: dict[UUID, asyncio.Event] = {}
        self._answered: dict[UUID, tuple[int, float]] = {}
        self._let_go: set[UUID] = set()
        self._gone: OrderedDict[UUID, float] = OrderedDict()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, item: Item, *, force: bool = False, listed: float | None = None) -> None:
        """Take note of an object.

        Args:
            item: as it was seen.
            force: work on it even when its status says that it is answered.
            listed: when the list began (`time.monotonic()`) that shows it; None: an event does.
        """
        uid, generation = item.uid, item.identity.generation
        if item.gone:
            self._forget(uid)
        if listed is not None:
            if self._gone.get(uid, listed - 1) >= listed:
                return
            force = force and not self._dealt_with(uid, listed)
        if not (force or self._needs_work(item)):
            return
        for waiting in (self._pending, self._parked):
            older = waiting.get(uid)
            if older is not None and (older.gone or older.identity.generation >= generation + (listed is None)):
                return
        if uid in self._busy:
            self._parked[uid] = item
            if uid in self._awaited:
                self._awaited[uid].set()
            if force:  # a nudge for what is in work may come too late for it: look once more afterwards
                self._forced.add(uid)
            return
        older = self._pending.get(uid)
        self._pending[uid] = item if older is None else _first_seen(item, older)
        self._note()

    def _forget(self, uid: UUID) -> None:
        self._answered.pop(uid, None)
        self._gone[uid] = time.monotonic()
        if len(self._gone) > _GONE:
            self._gone.popitem(last=False)

    def _dealt_with(self, uid: UUID, since: float) -> bool:
        return uid in self._pending or uid in self._busy or self._answered_as(uid)[1] >= since

    def _answered_as(self, uid: UUID) -> tuple[int, float]:
        return self._answered.get(uid, (0, float("-inf")))

    def _needs_work(self, item: Item) -> bool:
        if item.gone:
            expected = item.uid in self._let_go
            self._let_go.discard(item.uid)
            return not expected
        if item.dying:
            return item.held and item.uid not in self._let_go
        return not item.answered and self._answered_as(item.uid)[0] < item.identity.generation

    async def newer(self, uid: UUID) -> Item | None:
        """What has arrived, or arrives soon, of an object in work: it is in work now instead; None: nothing does."""
        arrival = self._awaited.setdefault(uid, asyncio.Event())
        try:
            if uid not in self._parked:
                async with asyncio.timeout(_NEWS_SECONDS):
                    await arrival.wait()
        except TimeoutError:
            return None
        finally:
            self._awaited.pop(uid, None)
        self._forced.discard(uid)
        return self._parked.pop(uid, None)

    async def settled(self) -> None:
        """Return when nothing waits and nothing is in work."""
        await self._idle.wait()

    def beyond(self, identity: Identity) -> bool:
        """Whether the object is in work, or was answered in a later generation than this."""
        uid = identity.uid
        return uid in self._pending or uid in self._busy or self._answered_as(uid)[0] > identity.generation

    async def take(self, limit: int) -> list[Item]:
        """At least one item, at most `limit`; each is busy until `done`."""
        while not self._pending:
            self._wake.clear()
            await self._wake.wait()
        batch = [self._pending.pop(uid) for uid in list(self._pending)[:limit]]
        self._busy.update(item.uid for item in batch)
        self._note()
        return batch

    def done(self, uid: UUID, *, answered: int | None = None, let_go: bool = False) -> None:
        """The item is dealt with; what arrived meanwhile becomes pending if it still needs work.

        `let_go` says that our finalizer is off: the DELETED event that follows is no news.
        """
        self._busy.discard(uid)
        if let_go:
            self._let_go.add(uid)
        if answered is not None:
            self._answered[uid] = answered, time.monotonic()
        parked, forced = self._parked.pop(uid, None), uid in self._forced
        self._forced.discard(uid)
        if parked is not None:
            self.put(parked, force=forced)
        self._note()

    def _note(self) -> None:
        self._length.set(len(self._pending) + len(self._parked))
        if self._pending:
            self._wake.set()
        if self._pending or self._busy or self._parked:
            self._idle.clear()
        else:
            self._idle.set()


def _first_seen(newer: Item, older: Item) -> Item:
    return replace(newer, seen=min(newer.seen, older.seen))


def _manager(fields: Sequence[Mapping[str, Any]]) -> str:
    # A set of its fields is text with a key for each, "f:spec" among them where it has any of those.
    specs = [one for one in fields if not one.get("subresource") and "f:spec" in (one.get("fieldsV1") or ())]
    return str(max(specs, key=lambda one: str(one.get("time", "")))["manager"]) if specs else ""

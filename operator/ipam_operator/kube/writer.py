"""Status writes and finalizers: bounded connections, endless back-off, the newest answer wins."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from uuid import UUID

from ipam_operator.errors import ClusterUnavailableError
from ipam_operator.kube.apiserver import ApiServer, Reply, Target
from ipam_operator.kube.backoff import CappedBackoff
from ipam_operator.kube.inbox import Item
from ipam_operator.kube.resources import FINALIZER

Json = dict[str, Any]
Done = Callable[[Reply], None]

_BUSY_SHARE: Final = 8
"""Answers on one in so many connections keep the API server busy enough: a further statement for few claims would only
compete with it for the processor."""
_MOMENT_SECONDS: Final = 0.1
"""So long a batch waits for more to join it: one slow write must hold up nobody, and no storm of answers, which go
before finalizers, may keep addresses from being freed."""
_log = logging.getLogger(__name__)
_RETRY: Final = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,  # a missing RBAC rule is mended without restarting us
}


@dataclass(slots=True)
class _Write:
    target: Target
    operations: list[Json]
    subresource: str
    done: list[Done] = field(default_factory=list)
    late: bool = False
    leaves: bool = False
    delays: Any = field(default_factory=lambda: iter(CappedBackoff()))


class _Room:
    """There is some while fewer than `size` are in it."""

    def __init__(self, size: int) -> None:
        self._size, self._inside = size, 0
        self._free = asyncio.Event()
        self._free.set()

    def add(self, more: int) -> None:
        """So many more are in it now than before."""
        self._inside += more
        if self._inside < self._size:
            self._free.set()
        else:
            self._free.clear()

    async def wait(self) -> None:
        """Until there is some."""
        await self._free.wait()

    async def wait_a_moment(self) -> None:
        """Until there is some, but not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_MOMENT_SECONDS):
                await self._free.wait()


class Writer:
    """`workers` writes in flight. Answers go before finalizers: what is begun is finished first.

    Late answers, which nobody waits for, go when there is nothing else.
    """

    def __init__(self, api: ApiServer, workers: int) -> None:
        self._api, self._workers = api, workers
        self._statuses: deque[UUID] = deque()
        self._late: deque[UUID] = deque()
        self._status: dict[UUID, _Write] = {}
        self._writing: set[UUID] = set()
        self._newest: dict[UUID, _Write] = {}
        self._others: deque[_Write] = deque()
        self._wake = asyncio.Semaphore(0)
        self._room, self._room_to_leave = _Room(workers), _Room(workers)
        self._under_way = _Room(max(1, workers // _BUSY_SHARE))

    def status(self, target: Target, status: Mapping[str, Any], done: Done, *, late: bool = False) -> None:
        """Replace the object's status; a newer answer overtakes one that is not yet on its way.

        `late`: nobody waits for it.
        """
        body: list[Json] = [{"op": "add", "path": "/status", "value": status}]
        waiting = self._status.get(target.uid)
        write = _Write(target, body, "/status", [done], late=late and (waiting is None or waiting.late))
        self._status[target.uid] = self._newest[target.uid] = write
        if waiting is not None:
            write.done[:0] = waiting.done
        if target.uid in self._writing:
            return
        if waiting is None or waiting.late != write.late:
            self._line_up(target.uid)

    def hold(self, item: Item, done: Done) -> None:
        """Put our finalizer on; refused (422) when the object is not the one we saw."""
        finalizers = [*(item.meta.get("finalizers") or ()), FINALIZER]
        body: list[Json] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": item.meta["resourceVersion"]},
            {"op": "add", "path": "/metadata/finalizers", "value": finalizers},
        ]
        self._other(_Write(item.target, body, "", [done]))

    def let_go(self, item: Item, done: Done) -> None:
        """Take our finalizer off, wherever in the list it stands; the server checks that it is ours."""
        at = f"/metadata/finalizers/{item.meta['finalizers'].index(FINALIZER)}"
        body: list[Json] = [{"op": "test", "path": at, "value": FINALIZER}, {"op": "remove", "path": at}]
        self._other(_Write(item.target, body, "", [done], leaves=True))

    async def room(self) -> None:
        """Wait while more answers wait than can be on their way, where another one would only wait behind them.

        Before that a moment, while those that wait or are on their way keep the API server busy.
        """
        await self._under_way.wait_a_moment()
        await self._room.wait()

    async def room_to_leave(self) -> None:
        """Wait while more finalizers are to be taken off than can be at once, but not for long."""
        await self._room_to_leave.wait_a_moment()

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    def _other(self, write: _Write) -> None:
        self._others.append(write)
        self._room_to_leave.add(write.leaves)
        self._wake.release()

    async def _work(self) -> None:
        while True:
            await self._wake.acquire()
            if self._statuses:
                uid = self._statuses.popleft()
                self._room.add(-1)
                try:
                    await self._write_status(uid)
                finally:
                    self._under_way.add(-1)
            elif self._others:
                other = self._others.popleft()
                self._room_to_leave.add(-other.leaves)
                await self._attempt(other)
            elif self._late:
                await self._write_status(self._late.popleft())

    async def _write_status(self, uid: UUID) -> None:
        if uid in self._writing or uid not in self._status:  # it stood in both lines
            return
        self._writing.add(uid)
        try:
            await self._attempt(self._status.pop(uid))
        finally:
            self._writing.discard(uid)
        if uid in self._status:
            self._line_up(uid)

    def _line_up(self, uid: UUID) -> None:
        late = self._status[uid].late
        (self._late if late else self._statuses).append(uid)
        self._room.add(not late)
        self._under_way.add(not late)
        self._wake.release()

    async def _attempt(self, write: _Write) -> None:
        after: float | None = None
        try:
            reply = await self._api.patch(write.target, write.operations, subresource=write.subresource)
            after = reply.retry_after
        except ClusterUnavailableError as error:
            _log.debug("%s", error)
            reply = Reply(HTTPStatus.SERVICE_UNAVAILABLE)
        if reply.code in _RETRY or reply.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            delay = max(next(write.delays), after or 0.0)
            if reply.code == HTTPStatus.FORBIDDEN:
                _log.error("%s %s: forbidden; is the ClusterRole installed?", write.target.kind, write.target.ref)
            asyncio.get_running_loop().call_later(delay, self._again, write)
            return
        if self._newest.get(write.target.uid) is write:
            del self._newest[write.target.uid]
        if not reply.done and not reply.gone:
            _log.error("%s %s: HTTP %d %s", write.target.kind, write.target.ref, reply.code, reply.body[:500])
        for done in write.done:
            done(reply)

    def _again(self, write: _Write) -> None:
        if write.subresource:
            newer = self._status.get(write.target.uid)
            if newer is not None:
                newer.done[:0] = write.done
                return
            if self._newest.get(write.target.uid) is not write:  # a newer one was written meanwhile
                for done in write.done:
                    done(Reply(HTTPStatus.CONFLICT))
                return
            self._status[write.target.uid] = write
            if write.target.uid not in self._writing:
                self._line_up(write.target.uid)
        else:
            self._other(write)

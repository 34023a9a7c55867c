"""When did each claim become Ready, when was it gone: seen by a watch, as a user's program would."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.bench.rest import Users
from tests.bench.watching import events

Json = dict[str, Any]


class Observer:
    """Moments (seconds, monotonic) by name of claim."""

    def __init__(self) -> None:
        self.ready: dict[str, float] = {}
        self.gone: dict[str, float] = {}
        self.status: dict[str, Json] = {}
        """The newest status of each claim."""
        self._waiters: dict[str, asyncio.Future[float]] = {}

    def forget(self) -> None:
        """Begin anew."""
        for memory in (self.ready, self.gone, self.status):
            memory.clear()

    async def wait_ready(self, name: str) -> float:
        """The moment one claim is Ready."""
        if name in self.ready:
            return self.ready[name]
        waiter = self._waiters.setdefault(name, asyncio.get_running_loop().create_future())
        return await waiter

    @staticmethod
    async def all_in(moments: dict[str, float], names: set[str], seconds: float) -> None:
        """Wait until all of these have a moment in `ready` or `gone`.

        Raises:
            TimeoutError: naming how many have none.
        """
        limit = time.monotonic() + seconds
        while missing := len(names) - len(moments.keys() & names):
            if time.monotonic() > limit:
                raise TimeoutError(f"{missing} of {len(names)} claims have not come so far in {seconds:.0f} s")
            await asyncio.sleep(0.1)  # moments are taken when events come, not here

    def note(self, kind: str, claim: Json) -> None:
        """Take note of an event."""
        name: str = claim["metadata"]["name"]
        if kind == "DELETED":
            self.gone[name] = time.monotonic()
            return
        status = claim.get("status")
        if not status:
            return
        self.status[name] = status
        if status.get("reason") == "Allocated" and name not in self.ready:
            self.ready[name] = now = time.monotonic()
            waiter = self._waiters.pop(name, None)
            if waiter is not None:
                waiter.set_result(now)


@asynccontextmanager
async def observing(users: Users) -> AsyncIterator[Observer]:
    """An observer whose watch stands; what ends it ends the caller."""
    observer, opened = Observer(), asyncio.Event()

    async def watch() -> None:
        async for kind, claim in events(users.session, users.url("ipclaims"), opened.set):
            observer.note(kind, claim)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch())
        await opened.wait()
        try:
            yield observer
        finally:
            task.cancel()

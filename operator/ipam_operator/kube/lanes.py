"""Natural batching: per key one call in flight; what arrives meanwhile joins the next. No timer."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


async def _always() -> None:
    pass


class Lanes(Generic[K, T]):
    """`work(key, items)` is called with at most `limit` items, and never twice at once for one key.

    An empty `items` is a nudge: the key asked for work without an item (somebody may be served now).
    `work` must not raise; a lane that fails ends the operator, which is what `run` is awaited for.

    Args:
        work: does it.
        limit: of items in one call.
        room: awaited before a call: what comes meanwhile joins it.
    """

    def __init__(
        self, work: Callable[[K, list[T]], Awaitable[None]], limit: int, room: Callable[[], Awaitable[object]] = _always
    ) -> None:
        self._work, self._limit, self._room = work, limit, room
        self._items: dict[K, list[T]] = {}
        self._tasks: dict[K, asyncio.Task[None]] = {}
        self._over = False
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def put(self, key: K, *items: T) -> None:
        """Add items (or none: a nudge) to the key's next batch; once `run` has ended there is none."""
        if self._over:
            return
        self._items.setdefault(key, []).extend(items)
        if key not in self._tasks:
            task = asyncio.create_task(self._drain(key), name=f"lane {key}")
            self._tasks[key] = task
            task.add_done_callback(self._ended)

    def waiting(self, key: K) -> Sequence[T]:
        """What has arrived while the key's call is in flight."""
        return tuple(self._items.get(key, ()))

    async def run(self) -> None:
        """Wait for a failure; cancelled, it stops every lane."""
        try:
            await asyncio.shield(self._failed)
        finally:
            self._over = True
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _drain(self, key: K) -> None:
        try:
            while key in self._items:
                await self._room()
                items = self._items.pop(key)
                if len(items) > self._limit:
                    self._items[key] = items[self._limit :]
                await self._work(key, items[: self._limit])
        finally:
            del self._tasks[key]

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not self._failed.done():
            self._failed.set_exception(task.exception() or RuntimeError("a lane ended"))

"""Wake a pool when the first address that somebody waits for has cooled down: one timer for all pools."""

import asyncio
import heapq
import time
from collections.abc import Callable

from ipam_operator.domain.model import ObjectRef


class Alarms:
    """Calls `ring(pool)` once for each pool at its earliest alarm."""

    def __init__(self, ring: Callable[[ObjectRef], None]) -> None:
        self._ring = ring
        self._when: dict[ObjectRef, float] = {}
        self._heap: list[tuple[float, ObjectRef]] = []
        self._changed = asyncio.Event()

    def set(self, pool: ObjectRef, seconds: float) -> None:
        """Ring in `seconds`, unless an earlier alarm stands; at once for 0 or less."""
        if seconds <= 0:
            self._ring(pool)
            return
        when = time.monotonic() + seconds
        if when < self._when.get(pool, float("inf")):
            self._when[pool] = when
            heapq.heappush(self._heap, (when, pool))
            self._changed.set()

    async def run(self) -> None:
        """Ring until cancelled."""
        while True:
            now = time.monotonic()
            while self._heap and self._heap[0][0] <= now:
                when, pool = heapq.heappop(self._heap)
                if self._when.get(pool) == when:
                    del self._when[pool]
                    self._ring(pool)
            self._changed.clear()
            delay = self._heap[0][0] - now if self._heap else None
            try:
                async with asyncio.timeout(delay):
                    await self._changed.wait()
            except TimeoutError:
                continue

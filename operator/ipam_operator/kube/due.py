"""What Kopf's timers mark, gathered for a moment, so that one statement serves all that are due."""

import asyncio
from uuid import UUID


class Due:
    """UIDs that wait for the next round."""

    def __init__(self, gather_seconds: float) -> None:
        self._gather = gather_seconds
        self._uids: set[UUID] = set()
        self._wake = asyncio.Event()

    def mark(self, uid: UUID) -> None:
        """This object is due."""
        self._uids.add(uid)
        self._wake.set()

    async def take(self) -> list[UUID]:
        """All that are due, after waiting a moment for more."""
        await self._wake.wait()
        await asyncio.sleep(self._gather)
        uids, self._uids = list(self._uids), set()
        self._wake.clear()
        return uids

"""One leader: a row in the database. Losing the database is not losing the lead; losing the row is."""

import asyncio
import logging
import os
import socket
from uuid import uuid4

from ipam_operator import telemetry
from ipam_operator.errors import IpamError, StoreFaultError, StoreUnavailableError
from ipam_operator.store.ownership import Ownership

_log = logging.getLogger(__name__)


class LeadershipLostError(IpamError):
    """Another replica leads: this one must start anew, as a standby."""


class Leadership:
    """The lease row as this replica sees it. Correctness never depends on it: it saves double work."""

    def __init__(self, ownership: Ownership, *, seconds: float, elected: bool) -> None:
        self._ownership, self._seconds, self._elected = ownership, seconds, elected
        self.holder = f"{os.environ.get('POD_NAME') or socket.gethostname()}/{uuid4()}"
        self.epoch = 0
        self.store_answers = False
        """Whether the database answered the last beat."""

    async def acquire(self) -> None:
        """Wait for the lead (or, without election, only for the database)."""
        waiting = False
        while not await self._beat():
            if self.store_answers and not waiting:
                waiting = await self._tell_who_leads()
            await asyncio.sleep(self._seconds / 5)
        telemetry.leader.set(1)
        _log.info("leading with epoch %d", self.epoch)

    async def keep(self) -> None:
        """Renew until cancelled.

        Raises:
            LeadershipLostError: another has it.
        """
        while True:
            await asyncio.sleep(min(2.0, self._seconds / 3))
            mine = self.epoch
            if not await self._beat() and self.store_answers:
                raise LeadershipLostError(f"epoch {mine} is over: another replica leads")
            if self.epoch != mine:
                raise LeadershipLostError(f"epoch {mine} is over: it lapsed, and another replica led meanwhile")

    async def resign(self) -> None:
        """Let another lead at once, if the database hears us."""
        telemetry.leader.set(0)
        if self._elected and self.epoch:
            try:
                async with asyncio.timeout(2.0):
                    await self._ownership.resign(self.holder)
            except (StoreUnavailableError, StoreFaultError, TimeoutError):
                _log.info("the lead lapses by itself: the database does not answer")

    async def _tell_who_leads(self) -> bool:
        """Whether there was somebody to tell of."""
        try:
            other = await self._ownership.leader()
        except (StoreUnavailableError, StoreFaultError):
            return False
        if other is not None:
            _log.info("standby: %s leads; this one waits until that ends", other)
        return other is not None

    async def _beat(self) -> bool:
        try:
            if self._elected:
                epoch = await self._ownership.lead(self.holder, self._seconds)
            else:
                await self._ownership.ping()
                epoch = 0
        except (StoreUnavailableError, StoreFaultError) as error:
            if self.store_answers:
                _log.warning("the database does not answer: %s", error)
            self.store_answers = False
            return False
        self.store_answers = True
        self.epoch = self.epoch if epoch is None else epoch
        return epoch is not None

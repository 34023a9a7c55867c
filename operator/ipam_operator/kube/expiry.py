"""Leases that are over: ended in bounded steps when a pool's timer ticks, and told without crowding out new claims."""

import asyncio
import logging

from ipam_operator import telemetry
from ipam_operator.domain.outcome import ClaimOutcome
from ipam_operator.errors import StoreFaultError, StoreUnavailableError
from ipam_operator.kube.claims import ClaimReconciler
from ipam_operator.kube.due import Due
from ipam_operator.services.claims import EXPIRY_LIMIT, Claims

_WRITES = 4
"""Answers of expired claims on their way at once: a storm of them must not stand before those who wait."""
_log = logging.getLogger(__name__)


class ExpiryTimer:
    """One round for all pools, whichever is due."""

    def __init__(self, claims: Claims, reconciler: ClaimReconciler, compared: asyncio.Event) -> None:
        self._claims, self._reconciler, self._compared = claims, reconciler, compared
        self.due = Due(gather_seconds=0.2)

    async def run(self) -> None:
        """Work until cancelled; a store that is away is tried again at the next tick.

        Not before cluster and store were compared and what that found is answered: claims may have been renewed while
        nobody looked.
        """
        await self._compared.wait()
        await self._reconciler.settle()
        while True:
            await self.due.take()
            try:
                await self.run_once()
                telemetry.last_success.labels("expiry").set_to_current_time()
            except (StoreUnavailableError, StoreFaultError) as error:
                _log.warning("expiry waits for the store: %s", error)

    async def run_once(self) -> None:
        """End what is over now."""
        while True:
            served = await self._claims.expire()
            self._reconciler.alarm(served.due)
            telemetry.releases.labels("expired").inc(len(served.outcomes))
            turns = asyncio.Semaphore(_WRITES)
            await asyncio.gather(*(self._tell(outcome, turns) for outcome in served.outcomes))
            if len(served.outcomes) < EXPIRY_LIMIT:
                return

    async def _tell(self, outcome: ClaimOutcome, turns: asyncio.Semaphore) -> None:
        async with turns:
            await self._reconciler.tell(outcome)

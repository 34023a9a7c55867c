"""Leases that are over: ended in bounded steps when a pool's timer ticks, and told without crowding out new claims."""

import asyncio
import logging
from collections.abc import Callable

from ipam_operator import telemetry
from ipam_operator.errors import StoreFaultError, StoreUnavailableError
from ipam_operator.kube.claims import ClaimReconciler
from ipam_operator.kube.due import Due
from ipam_operator.services.claims import EXPIRY_LIMIT, Claims

_log = logging.getLogger(__name__)


class ExpiryTimer:
    """One round for all pools, whichever is due."""

    def __init__(
        self, claims: Claims, reconciler: ClaimReconciler, compare: Callable[[], None], *, renewals: asyncio.Event
    ) -> None:
        self._claims, self._reconciler, self._compare = claims, reconciler, compare
        self._renewals = renewals
        self._run, self._compared = "", asyncio.Event()
        self.due = Due(gather_seconds=0.2)

    def compared(self, run: str) -> None:
        """Cluster and store were compared; `run` is the life that the store was in before."""
        self._run = run
        self._compared.set()

    async def run(self) -> None:
        """Work until cancelled; a store that is away is tried again at the next tick.

        Not before cluster and store were compared and what that found is answered: claims may have been renewed while
        nobody looked. And again so when the store has begun another life, in which it may have forgotten renewals.
        """
        await self._renewals.wait()  # nobody loses an address because the operator was away
        while True:
            await self._compared.wait()
            run = self._run
            await self._reconciler.settle()
            await self._work(run)
            if self._run == run:  # else a resync has seen more than we
                _log.warning(
                    "the store was restarted or restored: no lease ends before it is compared with the cluster"
                )
                # First what the last run answered is written: the claims are listed with it.
                await self._reconciler.settle()
                self._compared.clear()
                self._compare()

    async def _work(self, run: str) -> None:
        """Until the store is in another run."""
        while True:
            await self.due.take()
            try:
                if not await self.run_once(run):
                    return
                telemetry.last_success.labels("expiry").set_to_current_time()
            except (StoreUnavailableError, StoreFaultError) as error:
                _log.warning("expiry waits for the store: %s", error)

    async def run_once(self, run: str) -> bool:
        """End what is over now; whether the store is (still) in this run."""
        while True:
            served = await self._claims.expire(run)
            if served is None:
                return False
            self._reconciler.alarm(served.due)
            telemetry.releases.labels("expired").inc(len(served.outcomes))
            await self._reconciler.tell(served.outcomes)
            if len(served.outcomes) < EXPIRY_LIMIT:
                return True

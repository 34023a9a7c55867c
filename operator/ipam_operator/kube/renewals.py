"""Leases of spec.autoRenew: one list for each kind and interval, never a GET for a claim."""

import asyncio
import logging

from ipam_operator import telemetry
from ipam_operator.domain.model import Renewable
from ipam_operator.domain.renewals import Names, Sightings
from ipam_operator.errors import ClusterUnavailableError, StoreFaultError, StoreUnavailableError
from ipam_operator.kube.apiserver import ApiServer, Target
from ipam_operator.kube.claims import ClaimReconciler
from ipam_operator.kube.events import Events
from ipam_operator.kube.resources import Kind
from ipam_operator.services.claims import RENEW_LIMIT, Claims

_log = logging.getLogger(__name__)


class RenewalTimer:
    """Renews leases in the second half of their term while their object exists, or nobody can tell."""

    def __init__(  # noqa: PLR0913 - what it is wired to
        self,
        api: ApiServer,
        claims: Claims,
        reconciler: ClaimReconciler,
        events: Events,
        *,
        kinds: frozenset[str],
        seconds: float,
    ) -> None:
        self._api, self._claims, self._reconciler, self._events = api, claims, reconciler, events
        self._kinds, self._seconds = kinds, seconds
        self._sightings = Sightings()
        self.looked = asyncio.Event()
        """There was a look since we lead: leases that nobody could renew meanwhile are renewed, if they are to be."""

    async def run(self) -> None:
        """Work until cancelled; what fails is tried again at the next interval."""
        while True:
            try:
                await self.run_once()
                self.looked.set()
                telemetry.last_success.labels("renewals").set_to_current_time()
            except (StoreUnavailableError, StoreFaultError) as error:
                _log.warning("renewals wait for the store: %s", error)
            await asyncio.sleep(self._seconds)

    async def run_once(self) -> None:
        """One look at all leases that are due."""
        due = await self._claims.renewable()
        seen = {kind: await self._names(kind) for kind in sorted({lease.resource.group_version_kind for lease in due})}
        alive, gone = self._sightings.look(due, seen)
        for lease in gone:
            self._tell_gone(lease)
        for first in range(0, len(alive), RENEW_LIMIT):
            served = await self._claims.renew(alive[first : first + RENEW_LIMIT])
            telemetry.renewals.inc(len(served.outcomes))
            await self._reconciler.tell(served.outcomes)

    async def _names(self, kind: str) -> Names | None:
        """All objects of this kind; None, and a line in the log, where they cannot be listed."""
        if kind not in self._kinds:
            _log.warning("leases for %s are renewed unseen: IPAM_RENEW_KINDS does not have it", kind)
            return None
        try:
            return await self._api.names(*kind.rsplit("/", 1))
        except ClusterUnavailableError as error:
            _log.warning("leases for %s are renewed unseen: %s", kind, error)
            return None

    def _tell_gone(self, lease: Renewable) -> None:
        self._events.post(
            Target(Kind.CLAIM, lease.claim.ref, lease.claim.uid),
            "ResourceGone",
            f"{lease.resource} does not exist: the lease is not renewed any more, and ends at"
            f" {lease.expires_at:%Y-%m-%dT%H:%M:%SZ} unless it is there again by then",
            group=str(lease.claim.ref.namespace),
        )

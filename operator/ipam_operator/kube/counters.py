"""Timer of pools: sweep what has cooled, wake who waits, write counters (coalesced, and only when they differ)."""

import logging
from datetime import UTC, datetime
from uuid import UUID

from ipam_operator import telemetry
from ipam_operator.domain.capacity import PoolCount
from ipam_operator.domain.model import ObjectRef
from ipam_operator.errors import StoreFaultError, StoreUnavailableError
from ipam_operator.kube import status
from ipam_operator.kube.claims import ClaimReconciler
from ipam_operator.kube.due import Due
from ipam_operator.kube.parents import ParentReconciler
from ipam_operator.kube.status import Json
from ipam_operator.store.counters import Counters

_log = logging.getLogger(__name__)


class CounterTimer:
    """One round for all pools and networks that are due."""

    def __init__(
        self,
        counters: Counters,
        pools: ParentReconciler,
        networks: ParentReconciler,
        claims: ClaimReconciler,
    ) -> None:
        self._counters, self._pools, self._networks, self._claims = counters, pools, networks, claims
        self.due = Due(gather_seconds=0.2)

    async def run(self) -> None:
        """Work until cancelled; a store that is away is tried again at the next tick."""
        while True:
            uids = await self.due.take()
            try:
                await self.run_once(uids)
                telemetry.last_success.labels("counters").set_to_current_time()
            except (StoreUnavailableError, StoreFaultError) as error:
                _log.warning("counters wait for the store: %s", error)

    async def run_once(self, uids: list[UUID]) -> None:
        """Sweep and count these pools and networks, and the networks of these pools."""
        pools = [uid for uid in uids if uid in self._pools.known]
        networks = {uid for uid in uids if uid in self._networks.known}
        if pools:
            await self._counters.sweep(pools)
            for count in await self._counters.pools(pools):
                self._write(count)
                network = self._networks.find(ObjectRef(count.ref.namespace, count.network))
                if network is not None:
                    networks.add(network.item.uid)
        for total in await self._counters.networks(list(networks)) if networks else ():
            self._networks.patch_status(total.uid, status.network_counters(total))

    def _write(self, count: PoolCount) -> None:
        labels = (count.ref.namespace, count.ref.name)
        telemetry.queue_length.labels(*labels).set(count.waiting)
        for state, number in (("free", count.free), ("allocated", count.allocated), ("cooling", count.cooling)):
            telemetry.pool_addresses.labels(*labels, state).set(number)
        self._pools.patch_status(count.uid, status.pool_counters(count), self._consent(count))
        if count.waiting:
            self._claims.tell_places(count.ref)
            if count.free:
                self._claims.serve(count.ref)

    def _consent(self, count: PoolCount) -> list[Json]:
        known = self._pools.known.get(count.uid)
        previous = [] if known is None else known.status.get("conditions") or []
        if known is None or not (count.unlent or any(c["type"] == "NamespacesAllowed" for c in previous)):
            return []  # most pools never lend: nothing is said of it
        generation = known.item.identity.generation
        return [status.namespaces_allowed(count, generation=generation, now=datetime.now(UTC), previous=previous)]

    @staticmethod
    def forget(ref: ObjectRef) -> None:
        """A pool is gone: its metrics go, too."""
        for gauge in (telemetry.queue_length, telemetry.pool_addresses):
            gauge.remove_by_labels({"namespace": ref.namespace, "pool": ref.name})

"""Timer of networks: the conflict audit, into condition, status and Events; report first, nothing is repaired here."""

import asyncio
import logging
import time
from datetime import UTC, datetime
from uuid import UUID

from ipam_operator import telemetry
from ipam_operator.domain.findings import SEVERITY, Finding
from ipam_operator.errors import ClusterUnavailableError, StoreFaultError, StoreUnavailableError
from ipam_operator.kube import status
from ipam_operator.kube.apiserver import ApiServer
from ipam_operator.kube.census import Census, census
from ipam_operator.kube.due import Due
from ipam_operator.kube.events import Events
from ipam_operator.kube.parents import Known, ParentReconciler, network_of
from ipam_operator.services.audit import ConflictAudit, Report

_log = logging.getLogger(__name__)


class AuditTimer:
    """One round for all networks that are due. Two observations are at least one interval apart."""

    def __init__(
        self,
        api: ApiServer,
        audit: ConflictAudit,
        events: Events,
        networks: ParentReconciler,
        pools: ParentReconciler,
    ) -> None:
        self._api, self._audit, self._events = api, audit, events
        self._networks, self._pools = networks, pools
        self._reported: dict[UUID, dict[Finding, str]] = {}
        self.due = Due(gather_seconds=0.5)

    async def run(self) -> None:
        """Work until cancelled; what fails is tried again at the next tick."""
        while True:
            networks = [uid for uid in await self.due.take() if uid in self._networks.known]
            try:
                await self.run_once(networks)
                telemetry.last_success.labels("audit").set_to_current_time()
            except (StoreUnavailableError, StoreFaultError, ClusterUnavailableError) as error:
                _log.warning("the audit waits: %s", error)
                await asyncio.sleep(1.0)

    async def run_once(self, networks: list[UUID]) -> None:
        """Audit these networks."""
        if not networks:
            return
        started = time.monotonic()
        seen: Census = await census(self._api)
        compared = await self._audit.compare(seen.shown, settled_seconds=time.monotonic() - started + 1.0)
        places = {claim: self._network_of(pool.namespace, pool.name) for claim, pool in seen.pools.items()}
        known = {claim: network for claim, network in places.items() if network is not None}
        for report in await self._audit.run_once(networks, compared, known):
            self._publish(report)
        for uid in self._reported.keys() - self._networks.known.keys():
            self._reported.pop(uid)
            self._audit.forget(uid)
        totals = dict.fromkeys(SEVERITY, 0)
        for found in self._reported.values():
            for one in found:
                totals[one.type] += 1
        for finding, number in totals.items():
            telemetry.conflicts.labels(finding.value).set(number)

    def _network_of(self, namespace: str, pool: str) -> UUID | None:
        for known in self._pools.known.values():
            ref = known.item.identity.ref
            if (ref.namespace, ref.name) == (namespace, pool):
                network = next((n for n in self._networks.known.values() if _is(n, namespace, network_of(known))), None)
                return None if network is None else network.item.uid
        return None

    def _publish(self, report: Report) -> None:
        known = self._networks.known.get(report.network)
        if known is None:
            return
        now = datetime.now(UTC)
        before = self._reported.get(report.network, {})
        found = {one: before.get(one, status.rfc3339(now)) for one in report.confirmed}
        self._reported[report.network] = found
        if not found and report.suspected and not before:
            return  # a first suspicion is no news
        condition = status.conflict_free(
            list(found),
            generation=known.item.identity.generation,
            now=now,
            previous=known.status.get("conditions") or (),
        )
        self._networks.patch_status(report.network, status.conflicts(found), [condition])
        for one in found.keys() - before.keys():
            self._events.post(known.item.target, f"Conflict{one.type.value}", one.message)


def _is(known: Known, namespace: str, name: str) -> bool:
    ref = known.item.identity.ref
    return ref.namespace == namespace and ref.name == name

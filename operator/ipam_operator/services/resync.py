"""Cluster against store: find what no event told, and mend it without ever acting on a world that looks wrong."""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from ipam_operator.domain import findings
from ipam_operator.domain.answers import Due
from ipam_operator.domain.findings import Brake, Finding, FindingType, Plan
from ipam_operator.store.audit import Audit
from ipam_operator.store.ownership import RELEASE, Ownership

ACTOR = "ipam-operator:resync"
_log = logging.getLogger(__name__)


class Resync:
    """Remembers only the suspects of its last run."""

    def __init__(
        self, audit: Audit, ownership: Ownership, brake: Brake, *, remember: timedelta, retain: timedelta
    ) -> None:
        self._audit, self._ownership, self._brake = audit, ownership, brake
        self._remember, self._retain = remember, retain
        self._suspects: frozenset[Finding] = frozenset()

    async def run(self) -> str:
        """The life that the store is in; read before the claims are, so that a comparison speaks of no later one."""
        return await self._ownership.run()

    async def run_once(
        self, shown: Mapping[UUID, str], ends: Mapping[UUID, datetime], *, settled_seconds: float, epoch: int
    ) -> tuple[Plan, tuple[Due, ...]]:
        """Compare, decide and release what nobody claims; the caller keeps `keep` and looks again at `look_again`.

        Args:
            shown: every claim of the cluster, with the addresses in its status joined by commas.
            ends: when leases end, of the claims whose status says so.
            settled_seconds: leases younger than this are not judged.
            epoch: of our leadership; a deposed leader releases nothing.

        Returns:
            What was decided, and when pools with waiting claims have something that was released.
        """
        due: tuple[Due, ...] = ()
        found = await self._audit.compare(shown, ends, settled_seconds=settled_seconds)
        live = await self._audit.live_claims() if found else 0
        confirmed = bool(found) and await self._ownership.confirmed(RELEASE)
        plan = findings.plan(found, self._suspects, live=live, brake=self._brake, confirmed=confirmed)
        self._suspects = plan.suspects
        if plan.braked:
            _log.error(
                "%d of %d claims' leases have no IPClaim any more. That looks wrong, so nothing is released. "
                "If it is right, run: kubectl-ipam confirm release",
                plan.braked,
                live,
            )
        if plan.release:
            done = await self._ownership.release_orphans(epoch, plan.release, ACTOR, self._retain)
            released, due = (0, ()) if done is None else done
            _log.warning("released %d addresses that nobody claims", released)
        await self._ownership.tidy(self._remember)
        return plan, due

    @staticmethod
    def orphans(plan: Plan) -> list[Finding]:
        """The leases that a run has released."""
        return [one for one in plan.release if one.type is FindingType.ORPHAN]

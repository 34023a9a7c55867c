"""Cluster against store: find what no event told, and mend it without ever acting on a world that looks wrong."""

import logging
from collections.abc import Mapping, Sequence
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

    async def run(self) -> tuple[str, bool]:
        """The life that the store is in, and whether it has what claims show; else it grants nothing.

        Read before the claims are, so that a comparison speaks of no later one.
        """
        run = await self._ownership.run()
        return run, await self._ownership.is_compared()

    async def compare(
        self, shown: Mapping[UUID, str], ends: Mapping[UUID, datetime], *, settled_seconds: float
    ) -> Plan:
        """Compare and decide; the caller adopts, keeps `keep`, and looks again at `look_again`, before `finish`.

        Args:
            shown: every claim of the cluster, with the addresses in its status joined by commas.
            ends: when leases end, of the claims whose status says so.
            settled_seconds: leases younger than this are not judged.
        """
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
        return plan

    async def finish(self, plan: Plan, *, epoch: int) -> tuple[Due, ...]:
        """Release what nobody claims; says when pools with waiting claims have some of it.

        Args:
            plan: of this comparison.
            epoch: of our leadership; a deposed leader releases nothing.
        """
        due: tuple[Due, ...] = ()
        if plan.release:
            done = await self._ownership.release_orphans(epoch, plan.release, ACTOR, self._retain)
            released, due = (0, ()) if done is None else done
            _log.warning("released %d addresses that nobody claims", released)
        await self._ownership.tidy(self._remember)
        return due

    async def run_once(
        self, shown: Mapping[UUID, str], ends: Mapping[UUID, datetime], *, settled_seconds: float, epoch: int
    ) -> tuple[Plan, tuple[Due, ...]]:
        """Both, where nothing is to be looked at between them."""
        plan = await self.compare(shown, ends, settled_seconds=settled_seconds)
        return plan, await self.finish(plan, epoch=epoch)

    async def live_claims(self) -> int:
        """Number of claims that hold addresses."""
        return await self._audit.live_claims()

    async def prepare(self, generation: int) -> None:
        """Before anything is adopted by a store that may have forgotten it: no lease may seem older than it is.

        Args:
            generation: the highest that any claim shows.
        """
        await self._ownership.outgrow(generation)

    async def revive(self, claims: Sequence[UUID], *, settled_seconds: float) -> None:
        """Claims that a list has which began so long ago are there, also those that were deleted before it."""
        if claims and (number := await self._ownership.revive(claims, settled_seconds)):
            _log.warning("%d claims are there again that were deleted: was the cluster restored?", number)

    async def outdated(self, held: Sequence[Finding], *, epoch: int) -> None:
        """What claims held before they got what they show: it ends, so that they can be given that."""
        if held:
            await self._ownership.release_orphans(epoch, held, ACTOR)

    async def compared(self, run: str) -> bool:
        """Let the store grant; False when it is in another life by now, and has to be compared again."""
        return await self._ownership.compared(run)

    @staticmethod
    def orphans(plan: Plan) -> list[Finding]:
        """The leases that a run has released."""
        return [one for one in plan.release if one.type is FindingType.ORPHAN]

"""Whose store this is, who leads, and what a person has confirmed."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from ipam_operator.domain.answers import Due
from ipam_operator.domain.findings import Finding
from ipam_operator.domain.model import ObjectRef
from ipam_operator.store.database import Database

RELEASE: Final = "release"
"""The confirmation that lets a mass release through (design rule 12)."""


class Ownership:
    """The operator's own rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ping(self) -> None:
        """Does the database answer?

        Raises:
            StoreUnavailableError: it does not.
        """
        await self._database.rows("ping")

    async def claim(self, cluster: UUID, *, adopt: bool) -> UUID:
        """The cluster that the store belongs to; `cluster` becomes it when there was none, or to `adopt`."""
        return UUID(str(await self._database.value("claim_store", cluster, adopt)))

    async def run(self) -> str:
        """The life that the store is in: another one after each restart, fail-over and restore."""
        return str(await self._database.value("store_run"))

    async def is_empty(self) -> bool:
        """Whether there is neither a network nor a pool."""
        return bool(await self._database.value("is_empty"))

    async def is_compared(self) -> bool:
        """Whether the store has what claims show, in the life that it is in; else it grants nothing."""
        return bool(await self._database.value("is_compared"))

    async def compared(self, run: str) -> bool:
        """Let the store grant from now on; False when it is not in this life any more."""
        return bool(await self._database.value("compared", run))

    async def uncompared(self) -> None:
        """Let the store grant nothing until it is compared."""
        await self._database.rows("uncompared")

    async def outgrow(self, generation: int) -> None:
        """Let each lease that begins from now on have a higher generation than this."""
        await self._database.rows("outgrow", generation)

    async def revive(self, claims: Sequence[UUID], seconds: float) -> int:
        """Forget that these were deleted, longer than `seconds` ago; how many of them were."""
        return int(await self._database.value("revive", list(claims), seconds))

    async def lead(self, holder: str, seconds: float) -> int | None:
        """Take or renew the lead for so long; the epoch, or None while another leads."""
        epoch = await self._database.value("lead", holder, seconds)
        return None if epoch is None else int(epoch)

    async def leader(self) -> str | None:
        """Who leads, by the name that it gave itself; None: nobody."""
        holder = await self._database.value("leader")
        return None if holder is None else str(holder)

    async def resign(self, holder: str) -> None:
        """Let another lead at once."""
        await self._database.rows("resign", holder)

    async def release_orphans(
        self, epoch: int, orphans: Sequence[Finding], actor: str, retention: timedelta | None = None
    ) -> tuple[int, tuple[Due, ...]] | None:
        """Release leases by claim and generation; None, and nothing done, when `epoch` does not lead any more.

        `retention`: how long addresses are kept of claims that wanted it; None: not at all.
        Returns how many addresses that were, and when pools with waiting claims have some of them.
        """
        uids = [one.claim_uid for one in orphans]
        generations = [one.generation for one in orphans]
        said = await self._database.value("release_orphans", epoch, uids, generations, actor, retention or None)
        if said is None:
            return None
        done = json.loads(said)
        due = tuple(Due(ObjectRef(namespace, name), float(seconds)) for namespace, name, seconds in done["due"])
        return done["released"], due

    async def confirm(self, what: str, seconds: float) -> None:
        """A person says yes, for so long."""
        await self._database.rows("confirm", what, seconds)

    async def confirmed(self, what: str) -> bool:
        """Whether a person has said yes and it still holds."""
        return bool(await self._database.value("confirmed", what))

    async def tidy(self, remember: timedelta) -> int:
        """Forget old tombstones, and what claims held longer ago than `remember`; prepare history's next partitions.

        Returns how many tombstones were forgotten.
        """
        return int(await self._database.value("tidy", remember))

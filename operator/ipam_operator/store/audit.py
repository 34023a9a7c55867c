"""Comparisons: the ledger with itself, and with what the cluster shows."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from ipam_operator.domain.findings import Finding, FindingType
from ipam_operator.domain.model import ObjectRef
from ipam_operator.store.database import Database, Row


class Audit:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def untiled(self, networks: Sequence[UUID]) -> list[Finding]:
        """Where leases and free ranges do not tile the effective ranges of these networks' pools."""
        rows = await self._database.rows("untiled", list(networks))
        return [
            Finding(
                FindingType(row["finding"]),
                row["network_uid"],
                ObjectRef(row["pool_namespace"], row["pool"]),
                str(row["lo"]) if row["lo"] == row["hi"] else f"{row['lo']}-{row['hi']}",
                row["claim_uid"],
            )
            for row in rows
        ]

    async def compare(
        self, shown: Mapping[UUID, str], ends: Mapping[UUID, datetime] | None = None, *, settled_seconds: float
    ) -> list[Finding]:
        """The cluster's claims against the ledger.

        Args:
            shown: every claim of the cluster, with the addresses in its status joined by commas.
            ends: when leases end, of the claims whose status says so; None: do not compare that.
            settled_seconds: leases younger than this are not judged: the list of claims may be older than they are.
        """
        ends = ends or {}
        rows = await self._database.rows("compare", list(shown), list(shown.values()), list(ends), list(ends.values()))
        return [_finding(row) for row in rows if row["age_seconds"] is None or row["age_seconds"] >= settled_seconds]

    async def live_claims(self) -> int:
        """Number of claims that hold addresses."""
        return int(await self._database.value("live_claims"))


def _finding(row: Row) -> Finding:
    pool = None if row["pool_name"] is None else ObjectRef(row["pool_namespace"], row["pool_name"])
    claim = None if row["name"] is None else ObjectRef(row["namespace"], row["name"])
    return Finding(
        FindingType(row["finding"]),
        row["network_uid"],
        pool,
        row["addrs"] or "",
        row["claim_uid"],
        claim,
        row["generation"],
    )

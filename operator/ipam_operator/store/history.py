"""What happened to addresses, as the ledger's triggers wrote it down."""

from datetime import datetime
from typing import Final

from ipam_operator.domain.model import Change, ObjectRef
from ipam_operator.net.cidr import AddressOrPrefix
from ipam_operator.store.database import Database
from ipam_operator.store.inet import as_address_or_prefix

_ACTIONS: Final = {"A": "granted", "C": "changed", "R": "ended", "K": "kept", "F": "freed"}


class History:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def changes(  # noqa: PLR0913 - what may be asked for
        self,
        *,
        address: AddressOrPrefix | None = None,
        namespace: str | None = None,
        claim: str | None = None,
        actor: str | None = None,
        until: datetime | None = None,
        limit: int,
    ) -> list[Change]:
        """At most `limit` changes, the last first; None: whatever it is.

        Args:
            address: or of a prefix that it lies in.
            namespace: of the claim.
            claim: its name.
            actor: as history tells it.
            until: with an offset; what came later is left out.
            limit: of rows.
        """
        return [
            Change(
                row["at"],
                _ACTIONS[row["action"]],
                as_address_or_prefix(row["addr"]),
                None if row["pool_name"] is None else ObjectRef(row["pool_namespace"], row["pool_name"]),
                ObjectRef(row["namespace"], row["name"]),
                row["actor"],
                row["reason"] or "",
            )
            for row in await self._database.rows("history", address, namespace, claim, actor, until, limit)
        ]

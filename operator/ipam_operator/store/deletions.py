"""Who asks to delete a claim, where the API server tells."""

from uuid import UUID

from ipam_operator.store.database import Database


class Deletions:
    """Requests, of which not every one is granted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note(self, claim: UUID, actor: str) -> None:
        """`actor` asks to delete the claim: if it goes now, that is who ended it.

        Raises:
            StoreUnavailableError, StoreFaultError: see `Database.rows`; its end will be put down to `unknown`.
        """
        await self._database.rows("note_deletion", claim, actor)

"""The store from what the cluster shows: the resync's own way of taking it in, alone and with nothing granted."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from ipam_operator.app import opened
from ipam_operator.config import Settings
from ipam_operator.errors import IpamError
from ipam_operator.kube.apiserver import ApiServer
from ipam_operator.kube.leadership import Leadership
from ipam_operator.kube.operator import Operator, first_of, own_store
from ipam_operator.kube.resync import TakenIn

_PATIENCE: Final = 3.0
"""Times as long as a silent leader keeps the lead: whoever leads after that is alive."""
_log = logging.getLogger(__name__)


class StoreInUseError(IpamError):
    """Nothing was rebuilt: the store is not empty, or an operator runs on it."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a store has after that."""

    networks: int
    pools: int
    claims: int
    """That hold addresses."""
    taken_in: TakenIn


async def rebuild(settings: Settings, *, merge: bool) -> Rebuilt:
    """Bring networks and pools into service and give each claim what its status shows.

    What was granted before stays as it is; the operator grants new addresses once it runs.

    Args:
        settings: of the operator.
        merge: also into a store that is not empty: what it has already stays.

    Raises:
        StoreInUseError: the store is not empty (without `merge`), or an operator runs.
        ForeignStoreError: the store belongs to another cluster.
    """
    async with opened(settings) as app, ApiServer(settings.api_connections) as api:
        if not merge and not await app.ownership.is_empty():
            raise StoreInUseError(
                "the store is not empty; to add what claims show and it lacks, and change nothing else: rebuild --merge"
            )
        await own_store(app, api, settings)
        leadership = Leadership(app.ownership, seconds=settings.leader_seconds, elected=True)
        try:
            async with asyncio.timeout(_PATIENCE * settings.leader_seconds):
                await leadership.acquire()
        except TimeoutError as error:
            raise StoreInUseError("an operator runs on this store; scale it to 0 first") from error
        found: list[TakenIn] = []
        try:
            await app.ownership.uncompared()
            operator = Operator(app, api, settings, leadership)

            async def take_in() -> None:
                found.append(await operator.resync.take_in())

            await first_of([*operator.answering(), leadership.keep(), take_in()])
        finally:
            await leadership.resign()
        known = await app.parents.known()
        networks = sum(one.kind == "ipnetworks" for one in known)
        return Rebuilt(networks, len(known) - networks, await app.resync.live_claims(), found[0])

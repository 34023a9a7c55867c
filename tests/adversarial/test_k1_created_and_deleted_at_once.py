"""K1: a claim that is deleted before its finalizer holds (m3#694, nbo#77)."""

import asyncio
import random

import pytest

from tests.apiserver.support import Launch, Ledger, Tenant, eventually
from tests.support.cluster import ApiError

NUMBER = 500
PARALLEL = 16
#: Nothing but the events themselves may tidy up.
SETTINGS = {"IPAM_RESYNC_SECONDS": "3600", "IPAM_POOL_TIMER_SECONDS": "1"}


async def come_and_go(place: Tenant, books: Ledger, launch: Launch) -> None:
    """The test; see below."""
    launch(SETTINGS)
    await place.space("10.0.0.0/22", coolDown="0s")
    gate = asyncio.Semaphore(PARALLEL)

    async def one(number: int) -> None:
        async with gate:
            await place.claim(f"c{number}")
            # Not a wait for anything: the deletion is to fall into every phase of the answer.
            await asyncio.sleep(random.uniform(0, 0.05))
            try:
                await place.delete("IPClaim", f"c{number}")
            except ApiError as refusal:
                if refusal.code != 404:
                    raise

    await asyncio.gather(*(one(number) for number in range(NUMBER)))
    await place.gone("IPClaim")

    async def nothing() -> bool:
        return not await books.held(place.namespace) and not await books.queue(place.namespace)

    await eventually(nothing, "nobody holds or waits")
    await place.capacity(allocated="0", cooling="0", free="1022")
    network = await books.value("select uid from ipam.network where namespace = $1", place.namespace)
    assert await books.value("select count(*) from ipam.untiled(array[$1::uuid])", network) == 0


@pytest.mark.usefixtures("stamped")
async def test_k1_born_with_the_finalizer(place: Tenant, books: Ledger, launch: Launch) -> None:
    """Of 500 claims deleted within 50 ms of their creation nothing is left in cluster, ledger and queue."""
    await come_and_go(place, books, launch)


@pytest.mark.usefixtures("unstamped")
async def test_k1_born_without_the_finalizer(place: Tenant, books: Ledger, launch: Launch) -> None:
    """The same where the operator sets the finalizer itself, and claims can be gone before it does."""
    await come_and_go(place, books, launch)

"""PostgreSQL or the API server away: what was asked meanwhile is answered afterwards (C5)."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import asyncpg
import kopf
import pytest

from hack.control_plane import ControlPlane
from hack.install import await_served
from hack.postgres import Postgres
from ipam_operator.errors import ClusterUnavailableError
from ipam_operator.kube.apiserver import ApiServer
from tests.apiserver.support import PATIENCE, Launch, Ledger, Tenant, Writes, agreement, eventually
from tests.support.cluster import Api
from tests.support.operator_process import OperatorProcess

BRISK = {"IPAM_RESYNC_SECONDS": "2", "IPAM_POOL_TIMER_SECONDS": "1", "IPAM_LEADER_SECONDS": "3"}


async def test_store_away(place: Tenant, database_url: str, launch: Launch, postgres: Postgres) -> None:
    """Claims of an outage are told once, bound ones are left alone, and when the store is back all are answered."""
    process = launch(BRISK)
    await place.space()
    await place.claim("before")
    address = await place.address("before")
    await place.capacity(allocated="1")
    await place.capacity("IPNetwork", "net", allocated="1")
    writes = await Writes.begin(place.api)
    postgres.stop()
    try:
        names = [f"c{number}" for number in range(30)]
        await place.claims(names)
        for name in names:
            await place.api.wait_for(
                "IPClaim",
                place.namespace,
                name,
                lambda seen: seen is not None and seen.get("status", {}).get("reason") == "StoreUnavailable",
            )

        async def unready() -> bool:
            return not process.answers("/readyz")

        await eventually(unready, "/readyz fails")
        assert process.answers("/livez")
        await place.network("10.9.0.0/24", "late")
        await place.api.wait_for(
            "IPNetwork",
            place.namespace,
            "late",
            lambda seen: seen is not None and seen.get("status", {}).get("reason") == "StoreUnavailable",
        )
        counted = await writes.of_claims()
        assert counted == {"ipclaims": 30, "ipclaims/status": 30}  # the first are our own creates
        claim = await place.get("IPClaim", "c0")
        assert "observedGeneration" not in claim["status"]
        await place.delete("IPClaim", "c1")
    finally:
        postgres.start()
    await place.bound(*(name for name in names if name != "c1"))
    await place.gone("IPClaim", "c1")
    await place.reason("IPNetwork", "late", "Ready")
    assert await place.address("before") == address

    async def ready() -> bool:
        return process.answers("/readyz")

    await eventually(ready, "/readyz is well again")
    async with Ledger(database_url) as books:
        await agreement(place, books)


async def test_who_ends_does_not_wait_for_a_store_that_is_frozen(
    place: Tenant, launch: Launch, postgres: Postgres
) -> None:
    """SIGTERM ends in order, below the 30 s of Kubernetes, although no statement that is under way will return."""
    process = launch(BRISK)
    await place.space()
    await place.claim("before")
    await place.bound("before")
    with postgres.frozen():
        await place.claim("meanwhile")
        await asyncio.sleep(3)
        assert process.terminate(seconds=20) == 0
    launch(BRISK)
    await place.bound("meanwhile")


async def test_start_without_a_store(place: Tenant, launch: Launch, postgres: Postgres) -> None:
    """An operator that starts before its database waits for it."""
    postgres.stop()
    try:
        process = launch(BRISK, ready=False)

        async def said() -> bool:
            return "waits for the database" in process.log()

        await eventually(said, "it says that it waits")
    finally:
        postgres.start()
    process.wait_ready()
    await place.space()
    await place.claim()
    await place.bound("claim")


async def test_a_replica_that_compares_says_how_far_it_is(place: Tenant, database_url: str, launch: Launch) -> None:
    """While the first comparison is held up by a lock, /readyz names its step; afterwards the replica is ready."""
    first = launch(BRISK)
    await place.space()
    await place.claim()
    await place.bound("claim")
    assert first.terminate() == 0
    holder = await asyncpg.connect(database_url)
    try:
        async with holder.transaction():
            await holder.execute("lock table ipam.lease in access exclusive mode")
            process = launch(BRISK, ready=False).wait_live()
            await eventually(lambda: said(process, "comparing claims with the store (1)"), "it says what it does")
            assert not process.answers("/readyz")
    finally:
        await holder.close()
    process.wait_ready()


async def said(process: OperatorProcess, step: str) -> bool:
    """Whether /readyz says that the first comparison is at this step."""
    async with aiohttp.ClientSession() as client, client.get(f"{process.url}/readyz") as answer:
        return await answer.text() == f"the first comparison of cluster and store is under way: {step}\n"


async def test_api_server_away(place: Tenant, books: Ledger, launch: Launch, own_control_plane: ControlPlane) -> None:
    """An outage of the API server amid claims loses nothing, and afterwards the operator goes on by itself."""
    process = launch(BRISK)
    await place.space()
    early = [f"a{number}" for number in range(40)]
    await place.claims(early)
    own_control_plane.stop_apiserver(kill=True)
    assert process.answers("/livez")
    own_control_plane.start_apiserver()
    await_served(own_control_plane)
    async with Api(own_control_plane.kubeconfig) as again:  # the connections of the other client are dead
        place = Tenant(again, place.namespace)
        late = [f"b{number}" for number in range(40)]
        await place.claims(late)
        await place.bound(*early, *late)
        await place.delete("IPClaim", *early)
        await place.gone("IPClaim", *early)
        assert process.running
        await agreement(place, books)


@asynccontextmanager
async def silence() -> AsyncIterator[str]:
    """The URL of a server that accepts connections and says nothing, as one does whose process is frozen."""
    leave = asyncio.Event()

    async def never(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await leave.wait()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        leave.set()
        server.close()


async def test_a_silent_server_is_given_up() -> None:
    """What it was asked is asked again well before anybody loses patience."""
    async with silence() as url, ApiServer(1, lambda: kopf.ConnectionInfo(server=url)) as api:
        began = time.monotonic()
        with pytest.raises(ClusterUnavailableError):
            await api.cluster_uid()
        assert time.monotonic() - began < PATIENCE * 2 / 3

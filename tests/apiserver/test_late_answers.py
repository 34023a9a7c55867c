"""A storm of answers: those that nobody waits for go last, and the store is asked for no more than can be told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from ipam_operator.domain.model import ObjectRef
from ipam_operator.kube.apiserver import ApiServer, Target
from ipam_operator.kube.inbox import Item
from ipam_operator.kube.resources import Kind
from ipam_operator.kube.writer import Writer
from tests.apiserver.support import PATIENCE, Tenant

STORM = [f"c{number:02}" for number in range(40)]
STATUS = {"observedGeneration": 1, "reason": "Allocated"}


@pytest_asyncio.fixture
async def server(operator_kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    """As the operator sees it, with one connection for writes."""
    monkeypatch.setenv("KUBECONFIG", str(operator_kubeconfig))
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(ApiServer(1))


async def targets(place: Tenant, *names: str) -> dict[str, Target]:
    await place.claims(names)
    seen = await place.all("IPClaim")
    return {
        name: Target(Kind.CLAIM, ObjectRef(place.namespace, name), UUID(seen[name]["metadata"]["uid"]))
        for name in names
    }


async def test_who_waits_is_told_before(place: Tenant, server: ApiServer) -> None:
    """Answers that came later go first, also to a claim that stood among the late ones; each is written once."""
    found = await targets(place, *STORM, "new")
    writer, told, everybody = Writer(server, 1), list[str](), asyncio.Event()

    def tell(name: str, *, late: bool) -> None:
        def done(_reply: object) -> None:
            told.append(name)
            if len(told) == len(STORM) + 2:
                everybody.set()

        writer.status(found[name], STATUS, done, late=late)

    for name in STORM:
        tell(name, late=True)
    tell("new", late=False)
    tell(STORM[-1], late=False)
    running = asyncio.create_task(writer.run())
    async with asyncio.timeout(PATIENCE):
        await everybody.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert told == ["new", STORM[-1], STORM[-1], *STORM[:-1]]
    seen = await place.all("IPClaim")
    assert {seen[name]["status"]["reason"] for name in found} == {"Allocated"}


async def at_once(room: Awaitable[None]) -> bool:
    """Whether whoever asks for it now need not wait."""
    try:
        async with asyncio.timeout(0):
            await room
    except TimeoutError:
        return False
    return True


async def test_answers_that_cannot_be_on_their_way_leave_no_room(place: Tenant, server: ApiServer) -> None:
    """While as many wait as there are connections, nobody needs another answer; late ones stand behind it anyway."""
    first, *late = (await targets(place, *STORM[:4])).values()
    writer, told = Writer(server, 1), list[object]()
    for target in late:
        writer.status(target, STATUS, told.append, late=True)
    assert await at_once(writer.room())
    writer.status(first, STATUS, told.append)
    assert not await at_once(writer.room())
    running = asyncio.create_task(writer.run())
    async with asyncio.timeout(PATIENCE):
        await writer.room()
    assert len(told) <= 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_who_comes_waits_while_answers_are_on_their_way_but_not_for_long(
    place: Tenant, server: ApiServer
) -> None:
    """What comes while the API server has enough to do joins one statement; slow writes hold up nobody."""
    found = (await targets(place, *STORM[:12])).values()
    writer, told = Writer(server, 16), asyncio.Queue[object]()
    for target in found:
        writer.status(target, STATUS, told.put_nowait)
    assert not await at_once(writer.room())
    async with asyncio.timeout(PATIENCE):
        await writer.room()
    assert told.empty(), "nothing was written, and yet it does not wait any more"
    running = asyncio.create_task(writer.run())
    for _ in range(5):  # until workers, of which there are more, have taken all
        await asyncio.sleep(0)
    assert not await at_once(writer.room())
    async with asyncio.timeout(PATIENCE):
        for _ in found:
            await told.get()
    assert await at_once(writer.room())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_who_leaves_waits_for_room_but_not_for_long(place: Tenant, server: ApiServer) -> None:
    """Deletions that cannot be on their way wait in the next release; a storm of answers does not keep them there."""
    found = await targets(place, *STORM[:3])
    writer, told = Writer(server, 1), asyncio.Queue[object]()
    item = Item.of(Kind.CLAIM, await place.get("IPClaim", STORM[0]), gone=False)
    writer.hold(item, told.put_nowait)
    assert await at_once(writer.room_to_leave()), "who comes is in nobody's way"
    writer.let_go(item, told.put_nowait)
    assert not await at_once(writer.room_to_leave())
    async with asyncio.timeout(PATIENCE):
        await writer.room_to_leave()
    assert told.empty(), "nothing was written, and yet it does not wait any more"
    for target in found.values():
        writer.status(target, STATUS, told.put_nowait)
    running = asyncio.create_task(writer.run())
    async with asyncio.timeout(PATIENCE):
        for _ in range(len(found) + 2):
            await told.get()
    assert await at_once(writer.room_to_leave())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

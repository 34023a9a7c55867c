"""Loads that users make: a burst, a closed loop, one at a time, deletions."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from tests.bench.observer import Observer
from tests.bench.rest import Users
from tests.bench.usage import Usage, usage

IN_FLIGHT = 50
PATIENCE_SECONDS = 300.0
POOL = "bulk"
_numbers = count()


@dataclass(frozen=True)
class Burst:
    """What became of many claims at once.

    `seconds` from the first request to the last outcome seen; `waits` (seconds) of each claim.
    """

    names: list[str]
    seconds: float
    waits: list[float]
    used: Usage

    @property
    def rate(self) -> float:
        """Claims a second."""
        return len(self.names) / self.seconds


class Load:
    """Against one writer, while it runs.

    Args:
        users: who asks.
        observer: who looks.
        writer: pid of the operator or the bare writer.
        api_server: pid; 0 when it is not of this machine.
    """

    def __init__(self, users: Users, observer: Observer, writer: int, api_server: int) -> None:
        self._users, self._observer = users, observer
        self._writer, self._api_server = writer, api_server

    async def create(self, number: int) -> Burst:
        """So many claims, until the last is Ready."""
        names = fresh(number)

        async def one(name: str) -> None:
            await self._users.claim(name, POOL)

        return await self._burst(names, one, self._observer.ready)

    async def delete(self, names: list[str]) -> Burst:
        """Delete these, until the last is gone."""
        return await self._burst(names, self._users.delete, self._observer.gone)

    async def closed_loop(self, users: int, turns: int) -> tuple[list[str], list[float]]:
        """So many users, each of whom waits for a claim before asking for the next; names, and seconds of each wait."""
        names, waits = fresh(users * turns), list[float]()

        async def one_user(mine: Sequence[str]) -> None:
            for name in mine:
                waits.append(await self._wait_for(name))

        self._observer.forget()
        async with asyncio.TaskGroup() as group:
            for user in range(users):
                group.create_task(one_user(names[user::users]))
        return names, waits

    async def idle(self, turns: int) -> tuple[list[str], list[float]]:
        """One claim at a time on a system that does nothing else; names, and seconds of each wait."""
        names, waits = fresh(turns), list[float]()
        self._observer.forget()
        for name in names:
            waits.append(await self._wait_for(name))
            await asyncio.sleep(0.03)
        return names, waits

    async def _wait_for(self, name: str) -> float:
        began = time.monotonic()
        await self._users.claim(name, POOL)
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._observer.wait_ready(name) - began

    async def _burst(self, names: list[str], one: Callable[[str], Awaitable[None]], moments: dict[str, float]) -> Burst:
        self._observer.forget()
        before = await usage(self._users, self._writer, self._api_server)
        asked: dict[str, float] = {}

        async def timed(name: str) -> None:
            asked[name] = time.monotonic()
            await one(name)

        began = time.monotonic()
        await in_flight(names, timed)
        await self._observer.all_in(moments, set(names), PATIENCE_SECONDS)
        used = (await usage(self._users, self._writer, self._api_server)).since(before)
        ended = max(moments[name] for name in names)
        return Burst(names, ended - began, [moments[name] - asked[name] for name in names], used)


def fresh(number: int) -> list[str]:
    """Names that no claim has had."""
    return [f"claim-{next(_numbers):07d}" for _ in range(number)]


async def in_flight(names: Iterable[str], one: Callable[[str], Awaitable[None]], limit: int = IN_FLIGHT) -> None:
    """Do it to all of them, at most `limit` at once, in their order."""
    rest = iter(names)

    async def worker() -> None:
        for name in rest:
            await one(name)

    async with asyncio.TaskGroup() as group:
        for _ in range(limit):
            group.create_task(worker())

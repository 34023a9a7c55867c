"""Claims through the real API server: the operator beside the bare writer, in turns."""

import gc
from dataclasses import dataclass
from pathlib import Path

from hack.install import FINALIZER
from tests.bench.figures import Figure, quantile
from tests.bench.load import POOL, Load
from tests.bench.observer import Observer, observing
from tests.bench.progress import say
from tests.bench.rest import NAMESPACE, Users, users
from tests.bench.restarts import restarts
from tests.bench.samples import Samples
from tests.bench.sides import Side, Sides
from tests.bench.stamping import unstamped
from tests.bench.usage import api_server_pid, memory_mb
from tests.bench.waiters import waiters

BORN, TWO = "born held", "two writes"
WARM_UP = 200
CONNECTIONS = 80
"""Of the users: more than are ever in flight, and the watch."""


@dataclass(frozen=True)
class Turn:
    """What each side does in one turn: so many claims, so many turns of the loops, and how often in all."""

    claims: int
    rounds: int
    loops: int = 0


QUICK = (Turn(1000, 2, loops=8),)
FULL = (Turn(1000, 4, loops=10), Turn(5000, 2), Turn(10_000, 2))
DELETES = {True: 1000, False: 5000}
"""How many deletions are judged, by whether the run is quick."""


class Bench:
    """One API server, one store, two sides."""

    def __init__(self, client: Users, observer: Observer, sides: Sides) -> None:
        self._users, self._observer, self._sides = client, observer, sides
        self._api_server = api_server_pid(client.server)
        self._memory: list[float] = []

    async def run(self, *, quick: bool) -> list[Figure]:
        """All figures."""
        turns = QUICK if quick else FULL
        with self._sides.running(Side.OPERATOR):
            await self._prepare()
        figures = []
        if not await self._users.born_held(POOL):
            say("no admission policy: the creators set the finalizer")
            self._users.finalizers = [FINALIZER]
        figures += await self._compare(BORN, turns, DELETES[quick])
        self._users.finalizers = []
        async with unstamped(self._users, POOL):
            figures += await self._compare(TWO, turns, DELETES[quick])
        figures.append(Figure(f"RSS of the operator after {turns[-1].claims:,} claims", max(self._memory), "MB"))
        figures += await restarts(self._users, self._observer, self._sides, turns[-1].claims)
        with self._sides.running(Side.OPERATOR):
            figures += await waiters(self._users, self._observer, rounds=2 if quick else 5)
            await self._clean()
        return figures

    async def _compare(self, mode: str, turns: tuple[Turn, ...], deletes: int) -> list[Figure]:
        samples = Samples(mode)
        for turn in turns:
            for number in range(turn.rounds):
                # ABBA: what drifts (heaps, caches) meets both alike.
                for side in list(Side)[:: 1 if number % 2 == 0 else -1]:
                    with self._sides.running(side) as pid:
                        await self._take(samples, mode, side, turn, pid)
        figures = []
        for turn in turns:
            figures += samples.burst(_creates(turn), judged=True)
        for turn in turns:
            if turn.claims == deletes:
                figures += samples.burst(_deletes(turn), judged=False)
        for what in ("50 users in a closed loop: wait", "one claim on an idle system: wait"):
            figures += [samples.wait(what, what, 0.5), samples.wait(what, what, 0.99)]
        return figures

    async def _take(self, samples: Samples, mode: str, side: Side, turn: Turn, pid: int) -> None:
        load = Load(self._users, self._observer, pid, self._api_server)
        await load.delete((await load.create(WARM_UP)).names)
        gc.collect()
        made = await load.create(turn.claims)
        samples.add_burst(side, _creates(turn), made)
        gone = await load.delete(made.names)
        samples.add_burst(side, _deletes(turn), gone)
        if side is Side.OPERATOR:
            self._memory.append(memory_mb(pid))
        words = f"[{mode}] {side}: {turn.claims:,} claims {made.rate:.0f}/s, deleted {gone.rate:.0f}/s"
        if turn.loops:
            names, waits = await load.closed_loop(50, turn.loops)
            samples.add(side, "50 users in a closed loop: wait", *waits)
            more, single = await load.idle(5 * turn.loops)
            samples.add(side, "one claim on an idle system: wait", *single)
            words += (
                f", closed loop p50 {quantile(waits, 0.5) * 1e3:.1f}, idle p50 {quantile(single, 0.5) * 1e3:.2f} ms"
            )
            await load.delete(names + more)
        say(words)

    async def _prepare(self) -> None:
        await self._users.send(
            "POST", f"{self._users.server}/api/v1/namespaces", {"metadata": {"name": NAMESPACE}, "kind": "Namespace"}
        )
        network = {"cidr": "10.64.0.0/12", "gateway": "10.64.0.1", "dnsServers": ["10.64.0.2"]}
        await self._users.make("IPNetwork", "ipnetworks", "bulk", network)
        await self._users.make("IPPool", "ippools", POOL, {"networkRef": {"name": "bulk"}})
        await self._users.until("ippools", POOL, lambda found: found.get("status", {}).get("reason") == "Ready")

    async def _clean(self) -> None:
        for plural in ("ippools", "ipnetworks"):
            listed = await self._users.send("GET", self._users.url(plural))
            for name in [item["metadata"]["name"] for item in listed["items"]]:
                await self._users.send("DELETE", self._users.url(plural, name))
                await self._users.until(plural, name, lambda found: not found)
        await self._users.send("DELETE", f"{self._users.server}/api/v1/namespaces/{NAMESPACE}")


def _creates(turn: Turn) -> str:
    return f"create {turn.claims:,}"


def _deletes(turn: Turn) -> str:
    return f"delete {turn.claims:,}"


async def run(admin: Path, sides: Sides, *, quick: bool) -> list[Figure]:
    """All figures of claims."""
    async with users(admin, CONNECTIONS) as client, observing(client) as observer:
        gc.collect()
        gc.freeze()
        return await Bench(client, observer, sides).run(quick=quick)

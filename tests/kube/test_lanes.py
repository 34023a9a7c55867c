import asyncio

import pytest

from ipam_operator.domain.model import ObjectRef
from ipam_operator.kube.alarms import Alarms
from ipam_operator.kube.lanes import Lanes


async def test_what_arrives_meanwhile_joins_the_next_call() -> None:
    """One call is in flight per key; the rest becomes one batch."""
    calls: list[tuple[str, list[int]]] = []
    gate, finished = asyncio.Event(), asyncio.Event()

    async def work(key: str, items: list[int]) -> None:
        calls.append((key, items))
        if len(calls) == 1:
            await gate.wait()
        else:
            finished.set()

    lanes: Lanes[str, int] = Lanes(work, 10)
    lanes.put("a", 1)
    await asyncio.sleep(0)
    for number in (2, 3, 4):
        lanes.put("a", number)
    gate.set()
    await finished.wait()
    assert calls == [("a", [1]), ("a", [2, 3, 4])]


async def test_keys_do_not_wait_for_each_other() -> None:
    """A pool whose statement hangs holds back no other pool."""
    served = asyncio.Event()

    async def work(key: str, _items: list[int]) -> None:
        if key == "slow":
            await asyncio.Event().wait()
        served.set()

    lanes: Lanes[str, int] = Lanes(work, 10)
    running = asyncio.create_task(lanes.run())
    lanes.put("slow", 1)
    lanes.put("fast", 1)
    await served.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_what_comes_after_the_end_begins_nothing() -> None:
    """Kopf hands over the rest of its events while the operator ends: nobody would hear the answers."""
    calls: list[list[int]] = []

    async def work(_key: str, items: list[int]) -> None:
        calls.append(items)

    lanes: Lanes[str, int] = Lanes(work, 10)
    running = asyncio.create_task(lanes.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    lanes.put("a", 1)
    await asyncio.sleep(0.01)
    assert not calls


async def test_a_batch_is_bounded() -> None:
    """More than the limit is split, in order."""
    calls: list[list[int]] = []
    finished = asyncio.Event()

    async def work(_key: str, items: list[int]) -> None:
        calls.append(items)
        if len(calls) == 3:
            finished.set()

    lanes: Lanes[str, int] = Lanes(work, 2)
    lanes.put("a", 1, 2, 3, 4, 5)
    await finished.wait()
    assert calls == [[1, 2], [3, 4], [5]]


async def test_what_comes_before_there_is_room_joins_the_call() -> None:
    """Whoever waits for room waits in the batch, not behind it; a key that has nothing to do asks for none."""
    calls: list[list[int]] = []
    room, finished = asyncio.Event(), asyncio.Event()

    async def work(_key: str, items: list[int]) -> None:
        calls.append(items)
        finished.set()

    lanes: Lanes[str, int] = Lanes(work, 10, room.wait)
    lanes.put("a", 1)
    await asyncio.sleep(0.01)
    lanes.put("a", 2, 3)
    await asyncio.sleep(0.01)
    assert calls == []
    assert lanes.waiting("a") == (1, 2, 3)
    room.set()
    await finished.wait()
    assert calls == [[1, 2, 3]]


async def test_a_failed_lane_ends_run() -> None:
    """A bug in the work ends the operator instead of stalling one pool silently."""

    async def work(_key: str, _items: list[int]) -> None:
        raise LookupError("a bug")

    lanes: Lanes[str, int] = Lanes(work, 2)
    lanes.put("a", 1)
    with pytest.raises(LookupError):
        await lanes.run()


async def test_an_alarm_rings_once_and_the_earliest_wins() -> None:
    """Many alarms for one pool ring once, at the first of their times."""
    rung: list[ObjectRef] = []
    heard = asyncio.Event()

    def ring(pool: ObjectRef) -> None:
        rung.append(pool)
        if len(rung) == 2:
            heard.set()

    alarms, slow, now = Alarms(ring), ObjectRef("a", "slow"), ObjectRef("a", "now")
    running = asyncio.create_task(alarms.run())
    alarms.set(slow, 60.0)
    alarms.set(slow, 0.02)
    alarms.set(slow, 0.04)
    alarms.set(now, 0.0)
    await heard.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert rung == [now, slow]


@pytest.mark.parametrize("steps", range(4))
async def test_alarms_end_although_something_happens_at_the_same_time(steps: int) -> None:
    """A cancellation is not lost on a change; Python 3.11's `wait_for` returned the change, and the loop went on."""
    alarms = Alarms(lambda _pool: None)
    running = asyncio.create_task(alarms.run())
    alarms.set(ObjectRef("a", "slow"), 60.0)
    await asyncio.sleep(0.01)
    alarms.set(ObjectRef("a", "other"), 60.0)
    for _ in range(steps):
        await asyncio.sleep(0)
    running.cancel()
    async with asyncio.timeout(1):
        await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()

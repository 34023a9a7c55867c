import asyncio
from uuid import uuid4

import pytest
from typing_extensions import override

from ipam_operator.domain.model import ObjectRef
from ipam_operator.kube.apiserver import ApiServer, Json, Reply, Target
from ipam_operator.kube.events import PER_MINUTE, PER_NAMESPACE, Events
from ipam_operator.kube.resources import Kind


class Recorder(ApiServer):
    """Keeps what would be posted."""

    def __init__(self) -> None:
        super().__init__(1)
        self.posted: list[tuple[str, str]] = []

    @override
    async def post_event(self, namespace: str, event: Json) -> Reply:
        self.posted.append((namespace, event["message"]))
        return Reply(201)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def events(recorder: Recorder, clock: Clock) -> Events:
    return Events(recorder, clock)


def post(events: Events, namespace: str, number: int, *, group: str = "") -> None:
    """So many, about an object each."""
    for k in range(number):
        target = Target(Kind.CLAIM, ObjectRef(namespace, f"c-{k}"), uuid4())
        events.post(target, "PoolNotFound", "why", group=group)


async def drain(events: Events, recorder: Recorder) -> list[tuple[str, str]]:
    """All that was queued."""
    task = asyncio.create_task(events.run())
    seen = -1
    while seen != len(recorder.posted):
        seen = len(recorder.posted)
        for _ in range(10):
            await asyncio.sleep(0)
    task.cancel()
    return recorder.posted


async def test_many_of_one_group_become_one_more(events: Events, recorder: Recorder, clock: Clock) -> None:
    """The one above the limit says that there are more; a minute later it starts again."""
    post(events, "a", 50, group="pool")
    posted = await drain(events, recorder)
    assert len(posted) == PER_MINUTE + 1
    assert ["more of the same" in message for _, message in posted] == [False] * PER_MINUTE + [True]
    clock.now += 60
    post(events, "a", 1, group="pool")
    assert (await drain(events, recorder))[-1] == ("a", "why")


async def test_one_namespace_leaves_room_for_others(events: Events, recorder: Recorder) -> None:
    """However many objects and groups it names, another namespace's refusal is told."""
    for number in range(2000):
        post(events, "a", 1, group=f"pool {number}")
    post(events, "b", 1, group="pool 1")
    posted = await drain(events, recorder)
    assert [namespace for namespace, _ in posted] == ["a"] * PER_NAMESPACE + ["b"]

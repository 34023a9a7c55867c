import asyncio
import time
from typing import Any
from uuid import UUID, uuid4

import pytest

from ipam_operator.kube.inbox import Inbox, Item
from ipam_operator.kube.resources import FINALIZER, Kind


def body(uid: UUID, *, generation: int = 1, observed: int | None = None, **meta: Any) -> dict[str, Any]:
    status = {} if observed is None else {"observedGeneration": observed}
    metadata = {"namespace": "a", "name": "c", "uid": str(uid), "generation": generation, **meta}
    return {"metadata": metadata, "spec": {}, "status": status}


def item(uid: UUID, *, gone: bool = False, **fields: Any) -> Item:
    return Item.of(Kind.CLAIM, body(uid, **fields), gone=gone)


async def soon(inbox: Inbox) -> bool:
    """Whether there is work."""
    task = asyncio.ensure_future(inbox.take(10))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    done = task.done()
    task.cancel()
    return done


def waiting(inbox: Inbox) -> bool:
    return asyncio.run(soon(inbox))


async def test_only_the_newest_version_is_taken() -> None:
    """Two events about one object are one piece of work, with the later spec."""
    inbox, uid = Inbox(Kind.CLAIM), uuid4()
    inbox.put(item(uid, generation=1))
    inbox.put(item(uid, generation=2))
    assert [one.identity.generation for one in await inbox.take(10)] == [2]


async def test_a_stale_event_does_not_replace_a_newer_one() -> None:
    """An older generation that arrives late is ignored."""
    inbox, uid = Inbox(Kind.CLAIM), uuid4()
    inbox.put(item(uid, generation=2))
    inbox.put(item(uid, generation=1))
    assert [one.identity.generation for one in await inbox.take(10)] == [2]


def test_an_answered_object_is_no_work() -> None:
    """A restart lists what is answered already, and nothing happens."""
    inbox = Inbox(Kind.CLAIM)
    inbox.put(item(uuid4(), generation=3, observed=3))
    assert not waiting(inbox)


def test_force_looks_at_an_answered_object_again() -> None:
    """The resync can ask for work on what looks answered."""
    inbox = Inbox(Kind.CLAIM)
    inbox.put(item(uuid4(), generation=3, observed=3), force=True)
    assert waiting(inbox)


async def test_what_arrives_while_busy_waits_for_its_turn() -> None:
    """One object is never worked on twice at once."""
    inbox, uid = Inbox(Kind.CLAIM), uuid4()
    inbox.put(item(uid))
    await inbox.take(10)
    inbox.put(item(uid, generation=2))
    inbox.put(item(uuid4()))
    assert [one.identity.generation for one in await inbox.take(10)] == [1]
    inbox.done(uid, answered=1)
    assert [one.identity.generation for one in await inbox.take(10)] == [2]


async def test_a_nudge_while_busy_is_not_lost() -> None:
    """What the object waits for may have come just after it was looked at: it is looked at once more."""
    inbox, uid = Inbox(Kind.CLAIM), uuid4()
    inbox.put(item(uid))
    await inbox.take(10)
    inbox.put(item(uid), force=True)
    inbox.done(uid, answered=1)
    assert [one.uid for one in await inbox.take(10)] == [uid]


async def test_the_echo_of_our_own_write_is_no_work() -> None:
    """The finalizer's echo shows an unanswered object, but its answer is on the way."""
    inbox, uid = Inbox(Kind.CLAIM), uuid4()
    inbox.put(item(uid))
    await inbox.take(10)
    inbox.put(item(uid, finalizers=[FINALIZER]))
    inbox.done(uid, answered=1)
    inbox.put(item(uid, finalizers=[FINALIZER]))
    other = uuid4()
    inbox.put(item(other))
    assert [one.uid for one in await inbox.take(10)] == [other]


async def test_deletion_is_work_as_long_as_we_hold_it() -> None:
    """A dying object needs us only while it carries our finalizer."""
    inbox, uid = Inbox(Kind.CLAIM), uuid4()
    inbox.put(item(uid, observed=1, deletionTimestamp="now"))
    inbox.put(item(uid, observed=1, deletionTimestamp="now", finalizers=[FINALIZER]))
    assert [one.dying for one in await inbox.take(10)] == [True]


async def test_the_end_that_we_made_ourselves_is_no_news() -> None:
    """After our finalizer is off, the DELETED event causes no second release; an unexpected one does."""
    inbox, ours, others = Inbox(Kind.CLAIM), uuid4(), uuid4()
    inbox.put(item(ours, deletionTimestamp="now", finalizers=[FINALIZER]))
    await inbox.take(10)
    inbox.done(ours, let_go=True)
    inbox.put(item(ours, gone=True))
    inbox.put(item(others, gone=True))
    assert [one.uid for one in await inbox.take(10)] == [others]


async def test_a_list_is_older_than_an_answer_given_while_it_was_read() -> None:
    """It shows a claim without the answer that came meanwhile; one that begins later is believed."""
    inbox, uid = Inbox(Kind.CLAIM), uuid4()
    began = time.monotonic()
    inbox.put(item(uid))
    await inbox.take(10)
    inbox.put(item(uid), force=True, listed=began)
    inbox.done(uid, answered=1)
    inbox.put(item(uid), force=True, listed=began)
    assert not await soon(inbox)
    inbox.put(item(uid), force=True, listed=time.monotonic())
    assert await soon(inbox)


async def test_a_list_may_show_what_work_in_vain_left_undone() -> None:
    """Who was in work without getting an answer, as when the finalizer is refused, is looked at again."""
    inbox, uid = Inbox(Kind.CLAIM), uuid4()
    began = time.monotonic()
    inbox.put(item(uid))
    await inbox.take(10)
    inbox.put(item(uid), force=True, listed=began)
    inbox.done(uid)
    assert await soon(inbox)


async def test_a_list_does_not_replace_what_an_event_showed() -> None:
    """What waits may be newer than the list by changes that are no new generation, such as a finalizer's."""
    inbox, uid = Inbox(Kind.CLAIM), uuid4()
    began = time.monotonic()
    inbox.put(item(uid, finalizers=[FINALIZER]))
    inbox.put(item(uid), force=True, listed=began)
    assert [one.held for one in await inbox.take(10)] == [True]


async def test_a_list_is_older_than_an_end_that_came_while_it_was_read() -> None:
    """It shows a claim that is gone by now, dying or not: there is nobody to write to."""
    inbox, uid = Inbox(Kind.CLAIM), uuid4()
    began = time.monotonic()
    dying = item(uid, deletionTimestamp="now", finalizers=[FINALIZER])
    inbox.put(dying)
    await inbox.take(10)
    inbox.done(uid, let_go=True)
    inbox.put(item(uid, gone=True))
    for listed in (dying, item(uid)):
        inbox.put(listed, force=True, listed=began)
    assert not await soon(inbox)
    inbox.put(item(uid), listed=time.monotonic())  # a cluster that was restored has it again
    assert await soon(inbox)


@pytest.mark.parametrize("limit", [1, 3])
async def test_take_is_bounded(limit: int) -> None:
    """A batch has at most the asked number of items, in order of arrival."""
    inbox = Inbox(Kind.CLAIM)
    uids = [uuid4() for _ in range(5)]
    for uid in uids:
        inbox.put(item(uid))
    assert [one.uid for one in await inbox.take(limit)] == uids[:limit]


def test_who_managed_the_spec_last() -> None:
    """The newest manager of fields of the spec, whatever others have written to status or labels since."""
    managed = [
        {"manager": "helm", "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:spec": {"f:count": {}}}},
        {"manager": "kubectl", "time": "2026-01-02T00:00:00Z", "fieldsV1": {"f:spec": {"f:hostname": {}}}},
        {"manager": "labeller", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:metadata": {"f:labels": {}}}},
        {"manager": "us", "time": "2026-01-04T00:00:00Z", "fieldsV1": {"f:spec": {}}, "subresource": "status"},
    ]
    seen = body(uuid4())
    assert Item.of(Kind.CLAIM, seen).manager == ""
    seen["metadata"]["managedFields"] = managed
    item = Item.of(Kind.CLAIM, seen)
    assert item.manager == "kubectl"
    assert "managedFields" not in item.meta


async def test_what_is_newer_takes_the_place_of_what_is_in_work() -> None:
    """Whether it has come already or comes while one waits; then nothing is left of it to be done again."""
    inbox, uid = Inbox(Kind.CLAIM), uuid4()
    inbox.put(item(uid))
    await inbox.take(1)
    inbox.put(item(uid, generation=2))
    newer = await inbox.newer(uid)
    assert newer is not None
    assert newer.identity.generation == 2
    waiting_for_it = asyncio.create_task(inbox.newer(uid))
    await asyncio.sleep(0)
    inbox.put(item(uid, generation=3))
    newest = await waiting_for_it
    assert newest is not None
    assert newest.identity.generation == 3
    inbox.done(uid, answered=3)
    async with asyncio.timeout(1):
        await inbox.settled()


async def test_nothing_newer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for it in vain is told so."""
    monkeypatch.setattr("ipam_operator.kube.inbox._NEWS_SECONDS", 0.01)
    inbox, uid = Inbox(Kind.CLAIM), uuid4()
    inbox.put(item(uid))
    await inbox.take(1)
    assert await inbox.newer(uid) is None

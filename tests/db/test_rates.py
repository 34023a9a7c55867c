"""Rate limits: token buckets per namespace and operation, and the line of those that wait for a token."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from ipam_operator import telemetry
from ipam_operator.domain.model import Consent, Term
from ipam_operator.domain.outcome import Accepted, Reason, Refused
from ipam_operator.domain.rates import Limit, Operation, parse
from tests.support.store import Store, claim, claims, granted, network, only, refused, selector

LIMITS = "allocate=60/2,bulk=6/1,reserve=60/1,release=60/3"
MINUTE = timedelta(minutes=1)


@pytest_asyncio.fixture
async def limited(database_url: str) -> AsyncIterator[Store]:
    """A store with limits on all but networks, which most tests need many of."""
    async with Store(database_url, limits=LIMITS) as opened:
        yield opened


@pytest_asyncio.fixture
async def few_networks(database_url: str) -> AsyncIterator[Store]:
    """A store with a limit on networks."""
    async with Store(database_url, limits="network=10/2") as opened:
        yield opened


async def later(store: Store, minutes: float = 1) -> None:
    """Let time pass for the buckets."""
    await store.sql("update ipam.rate_bucket set at = at - $1::interval", timedelta(minutes=minutes))


async def stock(store: Store, operation: str = "allocate", namespace: str = "team") -> float:
    """Tokens as they were last written."""
    return float(
        await store.value(
            "select tokens from ipam.rate_bucket where namespace = $1 and operation = $2", namespace, operation
        )
    )


async def line(store: Store) -> list[str]:
    """Names of those that wait for a token, in order."""
    return [row["name"] for row in await store.sql("select name from ipam.rate_line order by seq")]


async def turns(store: Store) -> list[str]:
    """Names of those whose turn has come."""
    return [turn.ref.name for turn in await store.rates.turns() if turn.seconds <= 0]


def counted(operation: str, namespace: str = "team") -> float:
    labels = {"namespace": namespace, "operation": operation}
    return telemetry.REGISTRY.get_sample_value("ipam_rate_limited_total", labels) or 0.0


async def test_a_burst_and_then_one_after_the_other(limited: Store) -> None:
    """As many as the bucket holds go on; the others wait in order, and are told when, until they are served."""
    of = await limited.pool("10.0.0.0/24")
    asked, before = claims(of, 4), counted("allocate")
    served = await limited.allocate(of, asked)
    assert list(granted(served)) == [one.identity.uid for one in asked[:2]]
    (first, second) = refused(served).values()
    assert (first.reason, second.reason) == (Reason.RATE_LIMITED, Reason.RATE_LIMITED)
    assert "namespace team may create 60 claims an hour, 2 at once" in first.message
    assert "is served by itself at about 20" in first.message
    assert await line(limited) == [one.identity.ref.name for one in asked[2:]]
    assert counted("allocate") == before + 2
    assert await turns(limited) == []
    await later(limited)
    assert await turns(limited) == [asked[2].identity.ref.name]
    assert len(granted(await limited.allocate(of, asked[2:]))) == 1
    assert await line(limited) == [asked[3].identity.ref.name]
    assert counted("allocate") == before + 2  # once
    await later(limited)
    assert len(granted(await limited.allocate(of, asked[3:]))) == 1
    assert await line(limited) == []


async def test_when_the_next_turn_comes(limited: Store) -> None:
    """The database's clock says how many seconds are left; the message names that moment."""
    of = await limited.pool("10.0.0.0/24")
    asked = claims(of, 4)
    served = await limited.allocate(of, asked)
    (turn,) = await limited.rates.turns()
    assert (turn.uid, turn.operation) == (asked[2].identity.uid, Operation.ALLOCATE)
    assert 55 < turn.seconds <= 60
    told = [one.message.rpartition(" ")[2] for one in refused(served).values()]
    expected = await limited.sql(
        "select to_char((at + k * interval '1 minute' + interval '1 second') at time zone 'UTC',"
        ' \'YYYY-MM-DD"T"HH24:MI:SS"Z"\') t'
        " from ipam.rate_bucket, generate_series(1, 2) k where operation = 'allocate'"
    )
    assert told == [row["t"] for row in expected]
    again = await limited.allocate(of, asked[2:])
    assert [one.message.rpartition(" ")[2] for one in refused(again).values()] == told  # nothing new to write


async def test_far_away_times_are_full_hours(limited: Store) -> None:
    """Those that leave a long line do not change what the others are told."""
    of = await limited.pool("10.0.0.0/24")
    asked = claims(of, 100)
    last = list(refused(await limited.allocate(of, asked)).values())[-1]
    assert last.message.endswith(":00:00Z")
    await limited.release(*asked[2:12])
    assert only(await limited.allocate(of, asked[-1:])).message.endswith(":00:00Z")


async def test_newcomers_do_not_overtake(limited: Store) -> None:
    """A token that is there belongs to the head of the line, whichever pool it asks."""
    one, two = await limited.pool("10.0.0.0/24"), await limited.pool("10.0.1.0/24")
    waiting = claims(one, 3)
    await limited.allocate(one, waiting)
    await later(limited)
    newcomer = claim(two)
    assert only(await limited.ask(newcomer)).reason is Reason.RATE_LIMITED
    assert await turns(limited) == [waiting[2].identity.ref.name]
    assert len(granted(await limited.ask(waiting[2]))) == 1
    await later(limited)
    assert len(granted(await limited.ask(newcomer))) == 1


async def test_namespaces_have_their_own(limited: Store) -> None:
    """What one namespace spends is nothing to another, in one batch."""
    of = await limited.pool("10.0.0.0/24", allowed=Consent("All"))
    theirs, ours = claims(of, 3, namespace="other"), claims(of, 3)
    assert len(granted(await limited.allocate(of, [*theirs, *ours]))) == 4


@pytest.mark.parametrize(
    ("facts", "operation"),
    [
        ({}, Operation.ALLOCATE),
        ({"count": 2}, Operation.BULK),
        ({"term": Term(MINUTE, reserved=True)}, Operation.RESERVE),
        ({"term": Term(MINUTE, reserved=True), "count": 2}, Operation.BULK),
    ],
)
async def test_operations_have_their_own(limited: Store, facts: dict[str, Any], operation: Operation) -> None:
    """One, several and reserved addresses are counted apart."""
    of = await limited.pool("10.0.0.0/24")
    assert len(granted(await limited.ask(claim(of, **facts)))) == 1
    rows = await limited.sql("select operation from ipam.rate_bucket")
    assert [row["operation"] for row in rows] == [operation.value]


async def test_only_what_is_new_costs(limited: Store) -> None:
    """Asking again, renewing, confirming, waiting in a queue and being served from it are free."""
    of = await limited.pool("10.0.0.0/24", "10.0.0.5")
    held, queued = claim(of, term=Term(MINUTE, reserved=True)), claim(of)
    await limited.ask(held)
    assert only(await limited.ask(queued)).reason is Reason.POOL_EXHAUSTED
    assert await stock(limited) == 1
    for _ in range(3):
        await limited.ask(held)
        assert only(await limited.ask(queued)).reason is Reason.POOL_EXHAUSTED
    edit = replace(held, identity=replace(held.identity, generation=2), term=Term(MINUTE))
    assert len(granted(await limited.ask(edit))) == 1
    await limited.lapse(held)
    await limited.expire()
    assert len(granted(await limited.serve(of))) == 1
    renewed = replace(
        edit, identity=replace(held.identity, generation=3),
        term=Term(MINUTE, renewed_at=await limited.value("select now()")),
    )  # fmt: skip
    assert only(await limited.ask(renewed)).reason is Reason.POOL_EXHAUSTED
    assert await stock(limited) == 1
    assert await stock(limited, "reserve") == 0


async def test_who_gets_nothing_pays_nothing(limited: Store) -> None:
    """A claim whose reservation is not there costs no token, nor one that is gone; a taken over one was paid before."""
    of = await limited.pool("10.0.0.0/24")
    first = claim(of, term=Term(MINUTE, reserved=True))
    await limited.ask(first)
    early, taker = (replace(claim(of), reservation=name) for name in ("nobody", first.identity.ref.name))
    await limited.ask(early)
    await limited.ask(taker)
    assert list(await limited.held()) == [taker.identity.uid]
    gone = claim(of)
    await limited.release(gone)
    await limited.ask(gone)
    assert await limited.sql("select from ipam.rate_bucket where operation = 'allocate' and tokens < 2") == []


async def test_who_needs_no_token_any_more_leaves(limited: Store) -> None:
    """A claim that waits and names a reservation instead stands in nobody's way."""
    of = await limited.pool("10.0.0.0/24")
    asked = claims(of, 3)
    await limited.allocate(of, asked)
    await limited.ask(replace(asked[2], reservation="nobody"))
    assert await line(limited) == []


async def test_a_claim_without_a_reservation_has_to_pay_in_the_end(limited: Store) -> None:
    """Naming a reservation that is not there is no way around the limit."""
    of = await limited.pool("10.0.0.0/24")
    await limited.take(of, 2)
    taker = replace(claim(of, term=Term(MINUTE)), reservation="nobody")
    assert only(await limited.ask(taker)).reason is Reason.RESERVATION_NOT_FOUND
    edit = replace(taker, identity=replace(taker.identity, generation=2), reservation="")
    assert only(await limited.ask(edit)).reason is Reason.RATE_LIMITED


async def test_one_that_waits_and_asks_for_many_pays_for_many(limited: Store) -> None:
    """It leaves the queue when it cannot, and does not get the one that it asked for before."""
    of = await limited.pool("10.0.0.0/24", "10.0.0.4/30")
    await limited.ask(claim(of, count=4))
    small = claim(of)
    assert only(await limited.ask(small)).reason is Reason.POOL_EXHAUSTED
    large = replace(small, identity=replace(small.identity, generation=2), count=2)
    assert only(await limited.ask(large)).reason is Reason.RATE_LIMITED
    assert await limited.waiting(of) == []
    assert await line(limited) == [small.identity.ref.name]


async def test_an_edit_changes_the_line(limited: Store) -> None:
    """One that waits for a token and asks for several now waits in the other line, and nowhere else."""
    of = await limited.pool("10.0.0.0/24")
    await limited.take(of, 2)
    await limited.ask(claim(of, count=2))
    one = claim(of)
    await limited.ask(one)
    assert only(await limited.ask(replace(one, count=3))).reason is Reason.RATE_LIMITED
    rows = await limited.sql("select operation from ipam.rate_line")
    assert [row["operation"] for row in rows] == ["bulk"]


async def test_the_deleted_leave(limited: Store) -> None:
    """Those behind move up, and the UID never comes back into the line."""
    of = await limited.pool("10.0.0.0/24")
    asked = claims(of, 4)
    await limited.allocate(of, asked)
    await limited.release(asked[2])
    assert await line(limited) == [asked[3].identity.ref.name]
    await limited.ask(asked[2])
    assert await line(limited) == [asked[3].identity.ref.name]
    await later(limited)
    assert await turns(limited) == [asked[3].identity.ref.name]


async def test_nothing_is_lost_over_a_restart(limited: Store, database_url: str) -> None:
    """The line stands in the store: another operator serves it in its order."""
    of = await limited.pool("10.0.0.0/24")
    asked = claims(of, 4)
    await limited.allocate(of, asked)
    async with Store(database_url, limits=LIMITS) as other:
        await later(other)
        assert await turns(other) == [asked[2].identity.ref.name]
        assert only(await other.ask(asked[3])).reason is Reason.RATE_LIMITED
        assert len(granted(await other.ask(asked[2]))) == 1


async def test_without_limits_the_line_is_nobody(limited: Store, database_url: str) -> None:
    """Who waited is served like anybody when limits are turned off, and leaves the line when they are on again."""
    of = await limited.pool("10.0.0.0/24")
    asked = claims(of, 3)
    await limited.allocate(of, asked)
    async with Store(database_url) as off:
        assert len(granted(await off.ask(asked[2]))) == 1
    assert await line(limited) == [asked[2].identity.ref.name]
    assert len(granted(await limited.ask(asked[2]))) == 1
    assert await line(limited) == []
    assert await stock(limited) == 0


async def test_two_operators_spend_a_token_once(limited: Store, database_url: str) -> None:
    """Two that ask at the same time, in different pools and for the same claims, get no more than there is."""
    of = [await limited.pool(f"10.0.{k}.0/24") for k in range(4)]
    asked = [claims(one, 3) for one in of]
    async with Store(database_url, limits=LIMITS) as other:
        served = await asyncio.gather(*(
            store.allocate(one, some)
            for one, some in zip(of, asked, strict=True) for store in (limited, other)
        ))  # fmt: skip
    assert len(await limited.held()) == 2
    assert len({uid for one in served for uid in granted(one)}) == 2
    assert len(await line(limited)) == 10
    assert await stock(limited) < 0.1


async def test_a_token_is_spent_once_even_where_both_have_seen_it(limited: Store, database_url: str) -> None:
    """Two that have to wait for their pools have not both been let go on by the same tokens."""
    of = [await limited.pool(f"10.0.{k}.0/24") for k in range(2)]
    asked = [claims(one, 2) for one in of]
    await limited.take(of[0], 1)
    await later(limited)  # the bucket is full again, and has a row that both can see
    blocker = await asyncpg.connect(database_url)
    async with Store(database_url, limits=LIMITS) as other:
        async with blocker.transaction():
            await blocker.execute("select from ipam.pool for update")
            both = [
                asyncio.create_task(store.allocate(one, some))
                for store, one, some in zip((limited, other), of, asked, strict=True)
            ]
            waiting = (
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            )
            async with asyncio.timeout(10):
                while await limited.value(waiting) < 2:  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.01)
        served = await asyncio.gather(*both)
    await blocker.close()
    assert [len(granted(one)) + len(refused(one)) for one in served] == [2, 2]
    assert len(await limited.held()) == 1 + 2


async def test_storms_of_pools_and_namespaces(limited: Store) -> None:
    """Claims of many namespaces in many pools, asked, released and served at once, end without a fault."""
    of = [await limited.pool(f"10.0.{k}.0/24", allowed=Consent("All")) for k in range(3)]
    names = [f"ns-{k}" for k in range(4)]

    async def visit(k: int) -> None:
        some = [claim(of[k % 3], namespace=names[(k + j) % 4], count=1 + j % 2) for j in range(6)]
        await limited.allocate(of[k % 3], some)
        await limited.release(*some[:3])
        await limited.serve(of[(k + 1) % 3])
        await limited.allocate(of[k % 3], some)

    await asyncio.gather(*(visit(k) for k in range(12)))
    rows = await limited.sql(
        "select namespace, count(distinct claim_uid) n from ipam.history where action = 'A' group by namespace"
    )
    assert {row["namespace"] for row in rows} == set(names)
    assert all(row["n"] <= 3 for row in rows)  # two and one in bulk
    assert await limited.untiled() == []


async def test_a_bad_claim_costs_the_others_nothing(limited: Store) -> None:
    """A batch that the database refuses is undone with what it has spent, and repeated in halves."""
    of = await limited.pool("10.0.0.0/24")
    good, bad = claim(of), replace(claim(of), actor="\0")
    served = await limited.allocate(of, [good, bad])
    assert set(granted(served)) == {good.identity.uid}
    assert 1 <= await stock(limited) < 1.1


async def test_selectors_are_limited_alike(limited: Store) -> None:
    """Claims that name no pool pay in the same bucket."""
    await limited.pool("10.0.0.0/24", labels={"tier": "front"})
    of = selector(labels={"tier": "front"})
    served = await limited.allocate(of, claims(of, 3))
    assert len(granted(served)) == 2
    assert only(served).reason is Reason.RATE_LIMITED


async def test_networks_are_limited(few_networks: Store) -> None:
    """Two at once; the third waits, in order, and edits of those that are there are free."""
    asked = [network(f"10.{k}.0.0/16") for k in range(4)]
    outcomes = [await few_networks.networks.apply(one) for one in asked]
    assert outcomes[:2] == [Accepted(one.identity) for one in asked[:2]]
    assert isinstance(outcomes[2], Refused)
    assert outcomes[2].reason is Reason.RATE_LIMITED
    assert "may create 10 networks an hour, 2 at once" in outcomes[2].message
    edit = replace(asked[0], identity=replace(asked[0].identity, generation=2))
    assert await few_networks.networks.apply(edit) == Accepted(edit.identity)
    await later(few_networks, 6)
    (turn,) = [one for one in await few_networks.rates.turns() if one.seconds <= 0]
    assert (turn.uid, turn.operation) == (asked[2].identity.uid, Operation.NETWORK)
    assert isinstance(await few_networks.networks.apply(asked[3]), Refused)
    assert await few_networks.networks.apply(asked[2]) == Accepted(asked[2].identity)
    assert await line(few_networks) == [asked[3].identity.ref.name]


async def test_a_refused_network_pays_nothing(few_networks: Store) -> None:
    """A network that overlaps another one takes no token from those that do not."""
    await few_networks.network("10.0.0.0/16")
    assert isinstance(await few_networks.networks.apply(network("10.0.0.0/24")), Refused)
    await few_networks.network("10.1.0.0/16")


async def test_releases_are_counted_and_never_held(limited: Store) -> None:
    """All end at once; how many were above the limit is a metric."""
    of = await limited.pool("10.0.0.0/24", allowed=Consent("All"))
    await limited.tenants(busy={})
    await limited.rates.put({"busy": "allocate=unlimited"}, whole=True)
    before = counted("release", "busy")
    held = await limited.take(of, 10, namespace="busy")
    await limited.release(*held)
    assert await limited.held() == {}
    assert counted("release", "busy") == before + 7
    await limited.release(*await limited.take(of, 2, namespace="busy"))
    assert counted("release", "busy") == before + 9
    await later(limited, 60)
    await limited.release(*await limited.take(of, 3, namespace="busy"))
    assert counted("release", "busy") == before + 9


async def test_a_namespace_may_say_otherwise(limited: Store) -> None:
    """What its annotation names holds at once, the settings for the rest; gone is gone."""
    of = await limited.pool("10.0.0.0/24")
    await limited.rates.put({"team": "allocate=60/5, bulk=unlimited", "other": None}, whole=False)
    assert len(granted(await limited.allocate(of, claims(of, 6)))) == 5
    assert len(granted(await limited.allocate(of, claims(of, 4, count=2)))) == 4
    reserving = [claim(of, term=Term(MINUTE, reserved=True)) for _ in range(2)]
    assert len(granted(await limited.ask(*reserving))) == 1
    await limited.rates.put({"team": "allocate=unlimited"}, whole=False)
    assert len(await turns(limited)) == 1
    assert len(granted(await limited.allocate(of, claims(of, 6)))) == 6
    await limited.rates.put({}, whole=True)
    assert only(await limited.ask(claim(of))).reason is Reason.RATE_LIMITED


async def test_an_annotation_that_cannot_be_read_is_told(limited: Store) -> None:
    """The settings hold, and whoever waits is told what would be right."""
    of = await limited.pool("10.0.0.0/24")
    await limited.rates.put({"team": "allocate=many"}, whole=False)
    await limited.take(of, 2)
    message = only(await limited.ask(claim(of))).message
    assert "annotation ipam.dotmac.io/rate-limits of the namespace cannot be read: 'allocate=many' must be" in message
    assert "allocate=200/20" in message


async def test_full_buckets_are_forgotten(limited: Store) -> None:
    """A bucket that is full is the same as none; one that is not stays."""
    of = await limited.pool("10.0.0.0/24")
    await limited.take(of, 1)
    await limited.rates.put({}, whole=True)
    assert await stock(limited) == 1
    await later(limited)
    await limited.rates.put({}, whole=True)
    assert await limited.sql("select from ipam.rate_bucket where operation = 'allocate'") == []


async def test_the_operators_clock_is_nobodys(limited: Store) -> None:
    """A bucket that was written later than this transaction began gives and takes nothing for the difference."""
    of = await limited.pool("10.0.0.0/24")
    await limited.take(of, 2)
    await later(limited, -5)
    assert only(await limited.ask(claim(of))).reason is Reason.RATE_LIMITED
    assert await stock(limited) == 0


async def test_limits_off_are_not_looked_at(database_url: str) -> None:
    """Without the setting there is no bucket and no line, however many come."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        await store.take(of, 50)
        assert await store.sql("select from ipam.rate_bucket union all select from ipam.rate_line") == []


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", {}),
        ("allocate=100/10", {Operation.ALLOCATE: Limit(100, 10)}),
        (" bulk=unlimited ,release=1/1,", {Operation.BULK: None, Operation.RELEASE: Limit(1, 1)}),
    ],
)
def test_limits_are_read(text: str, limits: dict[Operation, Limit | None]) -> None:
    """As settings and namespaces write them."""
    assert parse(text) == limits


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("allocate=0/1", "numbers from 1"),
        ("allocate=1/1000001", "numbers from 1"),
        ("allocate=100", "must be operation=per hour/burst"),
        ("allocate=-1/5", "must be operation=per hour/burst"),
        ("create=1/1", "only allocate, network"),
        ("bulk=1/1,bulk=2/2", "twice"),
    ],
)
def test_wrong_limits_are_refused(text: str, said: str) -> None:
    """With what would be right."""
    with pytest.raises(ValueError, match=said):
        parse(text)

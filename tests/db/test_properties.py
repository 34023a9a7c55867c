"""Any sequence of requests, releases, edits and time leaves the ledger whole."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
)

from hack.postgres import Postgres
from ipam_operator.domain.answers import Served
from ipam_operator.domain.layout import NetworkFacts, effective_ranges
from ipam_operator.domain.model import ClaimRequest, PoolRequest, Strategy, Term
from ipam_operator.domain.outcome import Accepted, Granted, Reason
from ipam_operator.net import ranges as sets
from ipam_operator.net.ranges import Range
from tests.support.machine import StoreMachine, run_machine
from tests.support.store import claim, only, pool, refused

CIDRS = ("10.0.0.0/27", "255.255.255.224/27", "2001:db8::/123", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffe0/123")
NAMES = tuple(f"again-{number}" for number in range(6))
"""Of claims that come again when the last one of the name is gone."""
OFFSETS = st.integers(0, 31)
SPANS = st.lists(st.tuples(OFFSETS, OFFSETS).map(lambda ends: (min(ends), max(ends))), max_size=3)


class Machine(StoreMachine):
    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[UUID, ClaimRequest] = {}
        self.held: dict[UUID, tuple[Any, ...]] = {}
        self.expired: dict[UUID, ClaimRequest] = {}
        self.pools: list[PoolRequest] = []

    def ranges(self, spans: list[tuple[int, int]]) -> tuple[Range, ...]:
        base = int(self.parent.cidr[0])
        make = type(self.parent.cidr[0])
        return tuple(Range(make(base + lo), make(base + hi)) for lo, hi in spans)

    @initialize(
        cidr=st.sampled_from(CIDRS), strategy=st.sampled_from(list(Strategy)), spans=SPANS, exclude=SPANS,
        hour=st.booleans(), kind=st.sampled_from(["Host", "Loopback"]),
    )  # fmt: skip
    def begin(
        self,
        *,
        cidr: str,
        strategy: Strategy,
        spans: list[Any],
        exclude: list[Any],
        hour: bool,
        kind: str,
    ) -> None:
        self.parent = self.run(self.store.network(cidr))
        made = pool(self.parent, strategy=strategy, cool_down=3600 if hour else 0, kind=kind)
        self.pool = replace(made, ranges=self.ranges(spans), exclude=self.ranges(exclude))
        assert self.run(self.store.pools.apply(self.pool)) == Accepted(self.pool.identity)

    def learn(self, served: Served) -> None:
        """Who is told an address keeps it, and nobody is served before an earlier claim of the same count."""
        fresh = []
        for one in served.outcomes:
            if isinstance(one, Granted):
                uid = one.claim.uid
                assert self.held.get(uid, one.addresses) == one.addresses
                assert len(set(one.addresses)) == len(one.addresses) == self.asked[uid].count, "all or nothing"
                wanted = self.asked[uid].wanted
                assert wanted is None or one.addresses == (wanted,)
                if uid not in self.held:
                    fresh.append(uid)
                self.held[uid] = one.addresses
        order = list(self.asked)
        for uid in fresh:
            earlier = order[: order.index(uid)]
            overtaken = [
                who
                for who in earlier
                if who not in self.held
                and self.asked[who].wanted is None
                and self.asked[uid].wanted is None
                and self.asked[who].count == self.asked[uid].count
            ]
            assert overtaken == []

    @rule(
        counts=st.lists(st.integers(1, 6), min_size=1, max_size=6), wish=st.none() | OFFSETS,
        again=st.booleans(), leased=st.booleans(),
    )  # fmt: skip
    def ask(self, counts: list[int], wish: int | None, *, again: bool, leased: bool) -> None:
        living = {one.identity.ref.name for one in (*self.asked.values(), *self.expired.values())}
        names = [name for name in NAMES if name not in living] if again else []
        term = Term(timedelta(hours=1)) if leased else None
        batch = [
            claim(self.pool, count=count, name=name, term=term)
            for count, name in zip_longest(counts, names[: len(counts)])
        ]
        if wish is not None:
            batch.append(claim(self.pool, wanted=str(self.parent.cidr[wish])))
        self.asked.update((one.identity.uid, one) for one in batch)
        self.learn(self.run(self.store.allocate(self.pool, batch)))

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        some = data.draw(st.lists(st.sampled_from(list(self.asked)), min_size=1, max_size=5, unique=True))
        self.learn(self.run(self.store.allocate(self.pool, [self.asked[uid] for uid in some])))

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        some = data.draw(st.lists(st.sampled_from(list(self.asked)), min_size=1, max_size=5, unique=True))
        self.run(self.store.release(*(self.asked.pop(uid) for uid in some)))
        for uid in some:
            self.held.pop(uid, None)

    @precondition(lambda self: any(self.asked[uid].term for uid in self.held))
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        leased = [uid for uid in self.held if self.asked[uid].term]
        some = data.draw(st.lists(st.sampled_from(leased), min_size=1, max_size=5, unique=True))
        self.run(self.store.lapse(*(self.asked[uid] for uid in some)))
        assert refused(self.run(self.store.expire())).keys() == set(some)
        for uid in some:
            self.expired[uid] = self.asked.pop(uid)
            del self.held[uid]

    @precondition(lambda self: self.expired)
    @rule(data=st.data(), renew=st.booleans())
    def come_back(self, data: st.DataObject, *, renew: bool) -> None:
        one = self.expired[data.draw(st.sampled_from(list(self.expired)))]
        if not renew:
            assert only(self.run(self.store.allocate(self.pool, [one]))).reason is Reason.EXPIRED_ALLOCATION
            return
        generation = one.identity.generation + 1
        renewed = Term(timedelta(hours=1), datetime(2000 + generation, 1, 1, tzinfo=UTC))
        one = replace(one, identity=replace(one.identity, generation=generation), term=renewed)
        del self.expired[one.identity.uid]
        self.asked[one.identity.uid] = one
        self.learn(self.run(self.store.allocate(self.pool, [one])))

    @rule(spans=SPANS, exclude=SPANS)
    def resize(self, spans: list[Any], exclude: list[Any]) -> None:
        wanted = replace(self.pool, ranges=self.ranges(spans), exclude=self.ranges(exclude))
        facts = NetworkFacts(self.parent.cidr)
        effective = effective_ranges(facts, wanted.ranges, wanted.exclude, wanted.type)
        fits = all(any(one in span for span in effective) for held in self.held.values() for one in held)
        assert isinstance(self.run(self.store.pools.apply(wanted)), Accepted) is fits
        if fits:
            self.pool = wanted

    @rule(paused=st.booleans(), hour=st.booleans(), strategy=st.sampled_from(list(Strategy)))
    def settle(self, *, paused: bool, hour: bool, strategy: Strategy) -> None:
        cool_down = timedelta(hours=1 if hour else 0)
        self.pool = replace(self.pool, paused=paused, cool_down=cool_down, strategy=strategy)
        assert isinstance(self.run(self.store.pools.apply(self.pool)), Accepted)

    @rule()
    def serve(self) -> None:
        self.learn(self.run(self.store.serve(self.pool)))

    @rule(hours=st.booleans())
    def sweep(self, *, hours: bool) -> None:
        if hours:
            self.run(self.store.cooled(self.pool))
        self.run(self.store.sweep(self.pool))

    @invariant()
    def whole(self) -> None:
        if not hasattr(self, "pool"):
            return
        self.run(self.check())

    async def check(self) -> None:
        await self.store.assert_tiled(self.parent, self.pool)
        await self.store.assert_history_is_ledger()
        held = await self.store.held()
        assert {uid: tuple(addresses) for uid, addresses in held.items()} == self.held
        assert set(await self.store.waiting(self.pool)) == self.asked.keys() - self.held.keys()
        leases, _ = await self.store.pieces(self.pool)
        assert sets.size(leases) == len(set(leases))


def test_any_sequence_leaves_the_ledger_whole(postgres: Postgres, template_database: str) -> None:
    """Tiled, nothing twice, nothing forgotten, nobody overtaken, and history says the same, after every step."""
    run_machine(Machine, postgres, template_database, examples=50, steps=15)

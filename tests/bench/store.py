"""The store alone: one allocation and one batch, each beside the same rows in a bare insert."""

import time
from collections.abc import Sequence
from typing import Any

from typing_extensions import override

from ipam_operator.domain.answers import AnswerKind
from ipam_operator.domain.model import ClaimRequest, Strategy
from ipam_operator.store.database import Database, Row
from ipam_operator.store.leases import Leases
from ipam_operator.store.queries import blocks
from tests.bench.figures import Figure, middle, quantile
from tests.bench.ledger import COLUMNS, NAMESPACE, Ledger, Pool, new_claim, opened
from tests.bench.progress import say

POOLS = {"2^8": "10.1.1.0/24", "2^16": "10.65.0.0/16", "2^24": "17.0.0.0/8", "/64": "2001:db8:0:1::/64"}
SHARES = (0.0, 0.5, 0.99)
ONE = f"insert into bench.floor ({COLUMNS}) values ($1, $2, $3, 0, nextval('ipam.lease_generation'), $4, $5, $6)"
MANY = (
    f"insert into bench.floor ({COLUMNS}) select $1, u.addr, u.uid, 0, nextval('ipam.lease_generation'), u.namespace, "
    "u.name, u.actor from unnest($2::inet[], $3::uuid[], $4::text[], $5::text[], $6::text[]) "
    "u(addr, uid, namespace, name, actor)"
)
BATCH = 1000
WARM_UP = 10
"""Calls not counted: asyncpg prepares at the first, PostgreSQL settles on a plan after the fifth."""


class OneConnection(Database):
    """The store's own statements over the connection that the bare inserts use, each timed without our Python."""

    def __init__(self, connection: Any) -> None:
        super().__init__("", connections=1)
        self._only = connection
        self.seconds = 0.0

    @override
    async def rows(self, name: str, *arguments: object) -> list[Row]:
        statement = blocks()[name]
        began = time.perf_counter()
        found = await self._only.fetch(statement, *arguments)
        self.seconds = time.perf_counter() - began
        return list(found)


class Pair:
    """One pool: takes turns between allocating and inserting; seconds of each."""

    def __init__(self, ledger: Ledger, pool: Pool) -> None:
        self._pool, self._connection = pool, ledger.connection
        self._database = OneConnection(ledger.connection)
        self._leases = Leases(self._database)
        self.allocate: list[float] = []
        self.insert: list[float] = []

    async def singles(self, samples: int) -> None:
        """Measure one address at a time."""
        room = min(self._pool.left, samples + WARM_UP)
        for sample in range(-WARM_UP, samples):
            offset = (sample + WARM_UP) % room
            if offset == 0 and sample > -WARM_UP:
                await self._pool.restore()
            await self._one(self._pool.address(offset), counted=sample >= 0)
        await self._pool.restore()

    async def batches(self, rounds: int, *, warm_up: int = 2) -> None:
        """Measure batches, the pool getting fuller with each."""
        for turn in range(-warm_up, rounds):
            claims = [new_claim(self._pool.ref) for _ in range(BATCH)]
            taken = await self._answered(claims)
            names = [claim.identity.ref.name for claim in claims]
            uids = [claim.identity.uid for claim in claims]
            others = ([NAMESPACE] * BATCH, names, ["bench"] * BATCH)
            began = time.perf_counter()
            await self._connection.execute(MANY, self._pool.key, taken, uids, *others)
            self._note(turn >= 0, time.perf_counter() - began)

    async def _one(self, address: Any, *, counted: bool) -> None:
        claim = new_claim(self._pool.ref)
        await self._answered([claim])
        arguments = (claim.identity.uid, NAMESPACE, claim.identity.ref.name, "bench")
        began = time.perf_counter()
        await self._connection.execute(ONE, self._pool.key, address, *arguments)
        self._note(counted, time.perf_counter() - began)

    async def _answered(self, claims: Sequence[ClaimRequest]) -> list[Any]:
        answers = (await self._leases.allocate(self._pool.ref, claims)).answers
        taken = [answer.addresses[0] for answer in answers if answer.kind is AnswerKind.NEW]
        if len(taken) != len(claims):
            raise RuntimeError(f"{len(claims)} claims of {self._pool.ref}, {len(taken)} granted: nothing to compare")
        return taken

    def _note(self, counted: bool, insert: float) -> None:  # noqa: FBT001 - private
        if counted:
            self.allocate.append(self._database.seconds)
            self.insert.append(insert)


async def run(server_url: str, *, quick: bool) -> list[Figure]:
    """All figures of the store."""
    samples, limit = (150, 200_000) if quick else (600, 2_000_000)
    async with opened(server_url) as ledger:
        figures = await _sizes(ledger, samples, limit)
        figures += await _strategies(ledger, samples)
        return figures + await _batches(ledger, 8 if quick else 24)


async def _sizes(ledger: Ledger, samples: int, limit: int) -> list[Figure]:
    figures: list[Figure] = []
    for name, cidr in POOLS.items():
        pool = await ledger.make_pool(f"first-free-{len(figures)}", cidr)
        for share in SHARES:
            rows = await pool.fill(share, limit)
            pair = Pair(ledger, pool)
            await pair.singles(samples)
            figures.append(_compared(f"allocate one, p50, {name}, {share:.0%} full", pair, 2.0, f"{rows:,} leases"))
            await pool.drop()
    ratios = [figure.ratio or 0.0 for figure in figures]
    slowest, fastest = max(ratios), min(ratios)
    figures.append(Figure("allocate one, flat: worst ratio against the best", slowest, "x", fastest, at_most=1.5))
    return figures


async def _strategies(ledger: Ledger, samples: int) -> list[Figure]:
    figures = []
    for strategy in (Strategy.RANDOM, Strategy.LEAST_RECENTLY_USED):
        pool = await ledger.make_pool(f"strategy-{strategy.value.lower()}", "10.65.0.0/16", strategy)
        await pool.fill(0.5, 1 << 16)
        pair = Pair(ledger, pool)
        await pair.singles(samples)
        figures.append(_compared(f"allocate one, p50, 2^16, 50% full, {strategy.value}", pair, None))
        await pool.drop()
    return figures


async def _batches(ledger: Ledger, rounds: int) -> list[Figure]:
    pool = await ledger.make_pool("batch-fresh", "10.65.0.0/16")
    await pool.fill(0.0, 0)
    fresh = Pair(ledger, pool)
    await fresh.batches(rounds)
    figures = [_compared(f"allocate {BATCH:,}, p50, fresh pool", fresh, 6.0)]
    await pool.drop()
    pool = await ledger.make_pool("batch-holes", "10.66.0.0/15")
    holes = await pool.make_holes()
    holed = Pair(ledger, pool)
    await holed.batches(rounds)
    return [*figures, _compared(f"allocate {BATCH:,}, p50, single holes", holed, 8.0, f"{holes:,} holes")]


def _compared(what: str, pair: Pair, at_most: float | None, note: str = "") -> Figure:
    figure = Figure(what, middle(pair.allocate) * 1e3, "ms", middle(pair.insert) * 1e3, at_most, note=note)
    worst = quantile(pair.allocate, 0.99) * 1e3, quantile(pair.insert, 0.99) * 1e3
    say(f"{what}: {figure.value:.3f} ms against {figure.limit or 0.0:.3f} ms; p99 {worst[0]:.2f} and {worst[1]:.2f} ms")
    return figure

"""What a restored store costs: the comparison with all claims, and taking in a batch of what they show."""

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from ipam_operator.net.cidr import parse_address_or_prefix
from ipam_operator.services.claims import ADOPT_LIMIT
from ipam_operator.store.audit import Audit
from ipam_operator.store.leases import Leases
from tests.bench.figures import Figure, middle
from tests.bench.ledger import Ledger, Pool, new_claim, opened
from tests.bench.progress import say
from tests.bench.store import OneConnection

CIDR = "10.68.0.0/14"
"""The second quarter of its network, see `Ledger.make_pool`."""
HELD = (0, 20_000, 100_000)
BARE = "select claim_uid, host(addr) from ipam.lease where released_at is null"


async def run(server_url: str, *, quick: bool) -> list[Figure]:
    """All figures of restores."""
    figures: list[Figure] = []
    adoptions: list[float] = []
    async with opened(server_url) as ledger:
        for held in HELD:
            pool = await ledger.make_pool(f"restored-{held}", CIDR)
            await pool.fill(held / pool.size, held)
            if held:
                figures.append(await _comparison(ledger, held, 3 if quick else 9))
            adoptions.append(await _adoption(ledger, pool, 10 if quick else 30))
            figures.append(Figure(f"adopt {ADOPT_LIMIT}, p50, {held:,} held", adoptions[-1] * 1e3, "ms", at_most=500.0))
            await pool.drop()
    none, most = adoptions[0] * 1e3, adoptions[-1] * 1e3
    return [*figures, Figure(f"adopt, flat: {HELD[-1]:,} held against none", most, "ms", none, at_most=1.5)]


async def _comparison(ledger: Ledger, held: int, rounds: int) -> Figure:
    database = OneConnection(ledger.connection)
    seconds: list[float] = []
    bare: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        shown: dict[UUID, str] = dict(await ledger.connection.fetch(BARE))
        bare.append(time.perf_counter() - began)
        if found := await Audit(database).compare(shown, settled_seconds=0.0):
            raise RuntimeError(f"{len(found)} differences between a store and itself")
        seconds.append(database.seconds)
    figure = Figure(f"compare {held:,} claims, p50, against reading them", middle(seconds), "s", middle(bare))
    say(f"{figure.what}: {figure.value:.2f} s against {figure.limit or 0.0:.2f} s")
    return figure


async def _adoption(ledger: Ledger, pool: Pool, rounds: int) -> float:
    database = OneConnection(ledger.connection)
    seconds: list[float] = []
    for _ in range(rounds):
        claims = [new_claim(pool.ref) for _ in range(ADOPT_LIMIT)]
        shown = [[parse_address_or_prefix(str(pool.address(2 * k)))] for k in range(ADOPT_LIMIT)]
        answers = (await Leases(database).adopt(pool.ref, claims, shown)).answers
        _granted(answers)
        seconds.append(database.seconds)
        await pool.restore()
    return middle(seconds)


def _granted(answers: Sequence[Any]) -> None:
    if sum(bool(answer.addresses) for answer in answers) != ADOPT_LIMIT:
        raise RuntimeError(f"not all of {ADOPT_LIMIT} claims got what they show: nothing to compare")

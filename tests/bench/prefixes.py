"""A claim for a prefix, and one for both families: their one statement, among many that are held."""

import random
from ipaddress import ip_network

from ipam_operator.domain.model import (
    Fit,
    ObjectRef,
    Prefixes,
    Release,
    Selector,
)
from ipam_operator.services.claims import Claims
from ipam_operator.store.database import Database
from ipam_operator.store.leases import Leases
from ipam_operator.store.parents import Parents
from tests.bench.figures import Figure, middle, quantile
from tests.bench.ledger import NAMESPACE, Ledger, new_claim, opened, put_pool, seconds_of
from tests.bench.progress import say
from tests.bench.usage import cpu_seconds

LENGTHS = {"10.0.0.0/8": (22, 24, 26, 28), "2001:db8::/32": (48, 52, 56, 60)}
WARM_UP = 20
OTHER_SESSION = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
"""The only one beside ours: the store's."""
BATCH = 500


async def run(server_url: str, *, quick: bool) -> list[Figure]:
    """All figures of what is granted otherwise than a single address."""
    held, samples = (3_000, 200) if quick else (20_000, 600)
    figures: list[Figure] = []
    async with opened(server_url) as ledger, Database(ledger.url, connections=1) as database:
        claims, parents = Claims(Leases(database)), Parents(database)
        for fit in Fit:
            for cidr, lengths in LENGTHS.items():
                name, prefixes = f"{fit.value}-{len(figures)}".lower(), Prefixes(lengths, lengths[-1], fit)
                pool = await put_pool(parents, name, ip_network(cidr), prefixes=prefixes)
                what = f"claim a prefix, {fit.value} of {cidr}"
                figures += await _prefixes(ledger, claims, pool, lengths, held, samples, what)
        for cidr in ("172.16.0.0/12", "2001:db8:1::/64"):
            await put_pool(parents, f"both-{cidr[:4]}", ip_network(cidr))
        both = Selector(NAMESPACE, NAMESPACE, dual=True)
        seconds = [await seconds_of(claims, new_claim(both.place, selector=both)) for _ in range(samples + WARM_UP)][
            WARM_UP:
        ]
        figures.append(Figure("claim both families, p50", middle(seconds) * 1e3, "ms"))
    return figures


async def _prefixes(
    ledger: Ledger, claims: Claims, pool: ObjectRef, lengths: tuple[int, ...], held: int, samples: int, what: str
) -> list[Figure]:
    rng = random.Random(4)
    asked = [new_claim(pool, length=rng.choice(lengths)) for _ in range(held)]
    for first in range(0, held, BATCH):
        await claims.allocate(pool, asked[first : first + BATCH])
    gone = rng.sample(asked, held // 3)
    await claims.release([(Release(one.identity.uid), pool) for one in gone])
    await ledger.connection.execute("update ipam.pool set cool_down = '0'")
    await ledger.connection.execute("vacuum analyze")
    for _ in range(WARM_UP):
        await claims.allocate(pool, [new_claim(pool, length=rng.choice(lengths))])
    session = await ledger.connection.fetchval(OTHER_SESSION)
    before = cpu_seconds(session)
    seconds = [await seconds_of(claims, new_claim(pool, length=rng.choice(lengths))) for _ in range(samples)]
    of_database = (cpu_seconds(session) - before) / samples
    say(f"{what}: {of_database * 1e3:.2f} ms of the database's CPU, {middle(seconds) * 1e3:.2f} ms in all")
    note = f"{held:,} were held, a third released; p99 {quantile(seconds, 0.99) * 1e3:.2f} ms"
    return [
        Figure(f"{what}: the database's CPU", of_database * 1e3, "ms", at_most=1.5),
        Figure(f"{what}: p50", middle(seconds) * 1e3, "ms", note=note),
    ]

"""A claim that is served at once beside very many that wait and cannot be: milliseconds of its one statement."""

from ipaddress import ip_address, ip_network

from ipam_operator.domain.model import (
    ClaimDetail,
    ClaimRequest,
    Consent,
    ObjectRef,
    Release,
)
from ipam_operator.services.claims import Claims
from ipam_operator.store.database import Database
from ipam_operator.store.leases import Leases
from ipam_operator.store.parents import Parents
from tests.bench.figures import Figure, middle
from tests.bench.ledger import NAMESPACE, Ledger, new_claim, opened, put_pool, seconds_of
from tests.bench.progress import say

OTHERS = "others"
WARM_UP = 20
BATCH = 1000
QUOTA = 4_000
"""Addresses that a namespace may hold of the pool."""


async def run(server_url: str, *, quick: bool) -> list[Figure]:
    """Each figure against the same claim with an empty queue."""
    number, samples = (2_000, 60) if quick else (10_000, 200)
    figures: list[Figure] = []
    async with opened(server_url) as ledger, Database(ledger.url, connections=1) as database:
        queues = Queues(ledger, Claims(Leases(database)), samples)
        for what, wait in (
            ("ask for more than their quota", queues.beyond_quota),
            ("name addresses that are held", queues.named),
            ("wait beside addresses kept for others", queues.beside_kept),
        ):
            name, cidr = f"pool-{len(figures)}", ip_network(f"10.{len(figures)}.0.0/16")
            pool = await put_pool(Parents(database), name, cidr, quota=QUOTA, allowed=Consent("All"))
            await queues.fill(pool)
            await ledger.connection.execute("vacuum analyze")
            empty = middle(await queues.latencies(pool))
            await wait(pool, number)
            await ledger.connection.execute("vacuum analyze")
            busy = middle(await queues.latencies(pool))
            say(f"{number:,} {what}: {busy * 1e3:.2f} ms, {empty * 1e3:.2f} ms without")
            figures.append(Figure(f"claim, p50, beside {number:,} that {what}", busy * 1e3, "ms", empty * 1e3, 2.0))
    return figures


class Queues:
    """Who waits for a pool, by kind."""

    def __init__(self, ledger: Ledger, claims: Claims, samples: int) -> None:
        self._ledger, self._claims, self._samples = ledger, claims, samples

    async def fill(self, pool: ObjectRef) -> None:
        """Each namespace holds something."""
        await self._ask(pool, 8)
        await self._ask(pool, QUOTA - 4, namespace=OTHERS)

    async def beyond_quota(self, pool: ObjectRef, number: int) -> None:
        """Another namespace has 4 addresses left and asks for 5 each time."""
        await self._ask(pool, number, namespace=OTHERS, count=5)

    async def named(self, pool: ObjectRef, number: int) -> None:
        """Each names an address of another namespace's claim."""
        held = await self._ledger.connection.fetch(
            "select host(l.addr) addr from ipam.lease l join ipam.pool p on p.id = l.pool_id"
            " where p.name = $1 and l.namespace = $2",
            pool.name,
            OTHERS,
        )
        asked = [new_claim(pool, wanted=ip_address(held[k % len(held)]["addr"])) for k in range(number)]
        await self._wait(pool, asked)

    async def beside_kept(self, pool: ObjectRef, number: int) -> None:
        """The pool keeps addresses of their namespace for claims of other names."""
        kept = [new_claim(pool, namespace=OTHERS, detail=ClaimDetail(retain=True)) for _ in range(4)]
        await self._claims.allocate(pool, kept)
        await self._claims.release([(Release(one.identity.uid), pool) for one in kept])
        await self.beyond_quota(pool, number)

    async def latencies(self, pool: ObjectRef) -> list[float]:
        """Seconds of one claim after another."""
        seconds = [await seconds_of(self._claims, new_claim(pool)) for _ in range(self._samples + WARM_UP)]
        return seconds[WARM_UP:]

    async def _ask(self, pool: ObjectRef, number: int, *, namespace: str = NAMESPACE, count: int = 1) -> None:
        await self._wait(pool, [new_claim(pool, namespace=namespace, count=count) for _ in range(number)])

    async def _wait(self, pool: ObjectRef, asked: list[ClaimRequest]) -> None:
        for first in range(0, len(asked), BATCH):
            await self._claims.allocate(pool, asked[first : first + BATCH])

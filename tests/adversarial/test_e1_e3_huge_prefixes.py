"""Rows E1, E2 and E3: what a prefix of 2^128 addresses costs, and how it is counted.

Cost is counted in pages, not by a clock. Who walks addresses does not get to be measured: 2^64 steps end in the
timeout of the statement or of the test.
"""

import tracemalloc
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from hack.postgres import Postgres
from ipam_operator.domain.model import PoolRequest, Strategy
from ipam_operator.domain.outcome import Accepted, Reason, Removed
from ipam_operator.kube import status
from ipam_operator.net.cidr import Network, parse_network
from tests.support.pages import Pages
from tests.support.store import Store, claim, network, only, pool, texts

T = TypeVar("T")
SMALL = "192.168.0.0/28"
HUGE = ("10.0.0.0/8", "2001:db8::/64", "2001:db8::/48", "::/0")
SIZES = [
    ("10.0.0.0/8", "Host", 2**24 - 2),
    ("0.0.0.0/0", "Loopback", 2**32),
    ("2001:db8::/64", "Host", 2**64 - 1),
    ("2001:db8::/48", "Host", 2**80 - 1),
    ("::/0", "Host", 2**128 - 1 - 2**32),
    ("::/0", "Loopback", 2**128 - 2**32),
]
TIMES = 3
"""The least of so many is compared: the first calls load plans and catalogs."""


@pytest_asyncio.fixture
async def pages(postgres: Postgres, database_url: str) -> AsyncIterator[Pages]:
    async with Pages(postgres, database_url) as counting:
        yield counting


class Costs:
    """Pages by the name of a call; the least that were seen."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._seen: dict[str, list[int]] = defaultdict(list)

    async def of(self, name: str, call: Awaitable[T]) -> T:
        answer = await self._pages.count(call)
        self._seen[name].append(self._pages.last)
        return answer

    def beyond(self, usual: "Costs") -> dict[str, tuple[int, int]]:
        """Calls that cost clearly more here: random choice splits ranges at random, and a page may be split, too."""
        most = {name: 2 * pages + 15 for name, pages in usual.least().items()}
        return {name: (usual.least()[name], pages) for name, pages in self.least().items() if pages > most[name]}

    def least(self) -> dict[str, int]:
        return {name: min(seen) for name, seen in self._seen.items()}


async def live(store: Store, costs: Costs, cidr: Network, strategy: Strategy) -> None:
    """Every call that there is about a pool, from its creation to its end."""
    parent, tight = network(str(cidr)), network(str(cidr), vrf="tight")
    of = pool(parent, strategy=strategy)
    few = pool(tight, strategy=strategy, exclude=[f"{cidr[3]}-{cidr[-1]}"])  # two are left
    for place in (parent, tight):
        assert await costs.of("network", store.networks.apply(place)) == Accepted(place.identity)
    for new in (of, few):
        assert await costs.of("pool", store.pools.apply(new)) == Accepted(new.identity)
    await store.take(few, 2)
    asked = [claim(of, wanted=str(cidr[cidr.num_addresses // 2 + 1])), claim(of), claim(of, count=4)]
    for name, one in zip(("wish", "one", "four"), asked, strict=True):
        assert len(texts(await costs.of(name, store.allocate(of, [one])))) == one.count
    wrong = claim(of, wanted=str(cidr[0]))
    assert only(await costs.of("outside", store.allocate(of, [wrong]))).reason is Reason.OUTSIDE_POOL
    lacking = claim(few)
    assert only(await costs.of("exhausted", store.allocate(few, [lacking]))).reason is Reason.POOL_EXHAUSTED
    await costs.of("serve", store.serve(of))
    counted = await costs.of("count", store.count(of))
    assert counted.allocated == 6
    await costs.of("network count", store.network_count(parent))
    assert await costs.of("audit", store.audit.untiled([parent.identity.uid])) == []
    await costs.of("release", store.release(*asked, wrong))
    await costs.of("sweep", store.sweep(of))
    await store.release(lacking, *[claim(few, uid=uid) for uid in await store.held()])
    for new in (of, few):
        assert await costs.of("retire pool", store.retire(new)) == Removed(new.identity)
    for place in (parent, tight):
        assert await costs.of("retire network", store.retire(place)) == Removed(place.identity)


@pytest.mark.parametrize("strategy", list(Strategy))
async def test_e1_no_call_walks_a_prefix(database_url: str, pages: Pages, strategy: Strategy) -> None:
    """From creation to deletion no call touches more pages in a /8, /64, /48 or /0 than in a /28, nor much memory."""
    async with Store(database_url, connections=1) as store:
        usual = Costs(pages)
        for _ in range(TIMES):
            await live(store, usual, parse_network(SMALL), strategy)
        for cidr in HUGE:
            costs = Costs(pages)
            tracemalloc.start()
            for _ in range(TIMES):
                await live(store, costs, parse_network(cidr), strategy)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert costs.beyond(usual) == {}, cidr
            assert peak < 5_000_000, cidr


async def test_e2_a_named_address_is_reached_at_once(database_url: str, pages: Pages) -> None:
    """Wishes 2^62 addresses apart in a /64, up to its last, touch as many pages as wishes in a /28."""
    async with Store(database_url, connections=1) as store:
        small, huge = await store.pool(SMALL), await store.pool("2001:db8::/64")

        async def wish(of: PoolRequest, wanted: str) -> int:
            served = await pages.count(store.allocate(of, [claim(of, wanted=wanted)]))
            assert texts(served) == [wanted]
            return pages.last

        usual = [await wish(small, f"192.168.0.{last}") for last in (3, 6, 9)]
        far = [await wish(huge, f"2001:db8::{half}") for half in ("4000:0:0:1", "8000:0:0:1", "ffff:ffff:ffff:ffff")]
        assert max(far) <= 2 * min(usual) + 15, (usual, far)
        await store.assert_tiled()


def numbers(document: Any) -> Iterator[float]:
    """All JSON numbers in it."""
    if isinstance(document, dict):
        document = list(document.values())
    if isinstance(document, list):
        for one in document:
            yield from numbers(one)
    elif isinstance(document, (int, float)):
        yield document


@pytest.mark.parametrize(("cidr", "kind", "size"), SIZES)
async def test_e3_counts_do_not_overflow(database_url: str, cidr: str, kind: str, size: int) -> None:
    """Sizes beyond 2^53, BIGINT and a double are exact, before and after use, and stand in a status as strings."""
    async with Store(database_url) as store:
        parent = await store.network(cidr)
        of = await store.pool(parent, kind=kind, cool_down=3600)
        await store.release((await store.take(of, 3))[0])
        counted = await store.count(of)
        assert (counted.size, counted.free, counted.allocated, counted.cooling) == (size, size - 3, 2, 1)
        whole = await store.network_count(parent)
        assert (whole.pool_size, whole.unassigned, whole.allocated) == (size, size - 3, 2)
        for document in (status.pool_counters(counted), status.network_counters(whole)):
            assert document["capacity"]["usable"] == str(size)
            assert document["capacity"]["free"] == str(size - 3)
            assert all(0 <= number < 2**53 for number in numbers(document))

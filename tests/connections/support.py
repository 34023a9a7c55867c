"""What these tests ask of every store, whatever has happened to it."""

import json
import time
from collections.abc import Iterable
from typing import Final

from tests.apiserver.support import Ledger, Tenant, addresses, eventually
from tests.support.operator_process import OperatorProcess

BRISK: Final = {"IPAM_POOL_TIMER_SECONDS": "1", "IPAM_RESYNC_SECONDS": "2", "IPAM_LEADER_SECONDS": "3"}
UNTILED: Final = "select count(*) from ipam.untiled(array(select uid from ipam.network))"
MISCOUNTED: Final = """
select count(*) from ipam.pool p where p.size <> (
    select coalesce(sum(ipam.range_size(f.lo, f.hi)), 0) from ipam.free_range f where f.pool_id = p.id) + (
    select coalesce(sum(ipam.range_size(ipam.low(l.addr), ipam.high(l.addr))), 0) from ipam.lease l
    where l.pool_id = p.id)"""


async def assert_sound(url: str, place: Tenant, held: int) -> None:
    """What claims show is what the ledger holds; leases and free ranges tile the pools; nothing is lost."""
    async with Ledger(url) as books:
        assert await ledger(books, place) == {
            name: addresses(seen) for name, seen in (await place.all("IPClaim")).items() if addresses(seen)
        }
        assert await books.value(UNTILED) == 0
        assert await books.value(MISCOUNTED) == 0
        assert await books.value("select count(*) from ipam.lease where released_at is null") == held


async def ledger(books: Ledger, place: Tenant) -> dict[str, list[str]]:
    """Claim -> the addresses and prefixes that the ledger has for it, written as in a status."""
    text = await books.value(
        "select jsonb_object_agg(name, held)::text from (select name, jsonb_agg(ipam.shown(addr, of_prefix)"
        " order by family(addr), ordinal) held from ipam.lease where released_at is null and namespace = $1"
        " group by name) h",
        place.namespace,
    )
    held: dict[str, list[str]] = json.loads(text or "{}")
    return held


async def shown(place: Tenant, names: Iterable[str]) -> dict[str, list[str]]:
    """Claim -> the addresses in its status, whatever its conditions are."""
    seen = await place.all("IPClaim")
    return {name: addresses(seen[name]) for name in names}


def figure(what: str, began: float) -> None:
    """Print the seconds since then (`time.monotonic()`)."""
    print(f"\nfigure: {what}: {time.monotonic() - began:.1f} s")  # noqa: T201 - it is what the drill is timed for


async def ready(process: OperatorProcess) -> None:
    """Wait until the operator says that it is."""

    async def so() -> bool:
        return process.answers("/readyz")

    await eventually(so, "the operator is ready")


async def compared(url: str) -> None:
    """Wait until the store has what claims show, and grants."""

    async def so() -> bool:
        async with Ledger(url) as books:
            return bool(await books.value("select ipam.is_compared()"))

    await eventually(so, "cluster and store are compared")

"""A store that was restored, or a standby that lagged: no lease ends before its claim shows, and none is lost (H1).

Not beside tests of a module's own operator, which would answer these claims from another store.
"""

from datetime import datetime

from hack.postgres import Postgres
from tests.apiserver.support import Launch, Ledger, Tenant, eventually
from tests.support.cluster import Json
from tests.support.operator_process import OperatorProcess

BRISK = {"IPAM_POOL_TIMER_SECONDS": "0.5", "IPAM_RESYNC_SECONDS": "3600"}


async def renew(place: Tenant) -> Json:
    """A claim that was renewed for longer; its status."""
    await place.space()
    await place.claim(lease="300s", renewedAt="2026-01-31T12:00:00Z")
    before = (await place.bound("claim"))["claim"]["status"]
    await place.edit("IPClaim", "claim", lease="24h", renewedAt="2026-01-31T12:00:01Z")

    def renewed(seen: Json | None) -> bool:
        return seen is not None and seen["status"]["expiresAt"] != before["expiresAt"]

    found = await place.api.wait_for("IPClaim", place.namespace, "claim", renewed)
    assert found is not None
    status: Json = found["status"]
    return status


async def set_back(books: Ledger) -> None:
    """The store as a dump from before the renewal has it, when the lease of that time is over by now."""
    await books.execute(
        "update ipam.term set spec_generation = 1, lease = interval '300 seconds', renewed_at = '2026-01-31T12:00:00Z',"
        " since = now() - interval '301 seconds', expires_at = now() - interval '1 second'"
    )


async def expiries(process: OperatorProcess, number: int) -> None:
    """Wait for so many more attempts to end what is over."""
    before = process.metrics().total("ipam_store_statements_total", operation="expire")

    async def enough() -> bool:
        return process.metrics().total("ipam_store_statements_total", operation="expire") >= before + number

    await eventually(enough, f"{number} rounds of expiry")


async def assert_kept(place: Tenant, books: Ledger, status: Json) -> None:
    """The claim is as it was, to its last condition, and the store knows its end again."""
    assert (await place.get("IPClaim", "claim"))["status"] == status
    expires = await books.value("select t.expires_at from ipam.term t join ipam.lease l using (claim_uid)"
                                " where l.released_at is null")  # fmt: skip
    assert expires == datetime.fromisoformat(status["expiresAt"])
    assert [event["reason"] for event in (await place.all("Event")).values()] == []


async def test_a_restored_store_ends_no_renewed_lease(place: Tenant, books: Ledger, launch: Launch) -> None:
    """The store of before a renewal, in which the lease is over: the claim keeps all that it shows."""
    first = launch(BRISK)
    status = await renew(place)
    first.terminate()
    await set_back(books)
    second = launch(BRISK)
    await expiries(second, 3)
    await assert_kept(place, books, status)


async def test_a_store_that_is_restored_under_a_running_operator_ends_no_renewed_lease(
    place: Tenant, database_url: str, launch: Launch, postgres: Postgres
) -> None:
    """The operator notices that the store has begun another run, and compares before it ends any lease."""
    process = launch(BRISK)
    status = await renew(place)
    process.pause()
    try:
        async with Ledger(database_url) as books:
            await set_back(books)
        postgres.restart()
    finally:
        process.resume()

    async def noticed() -> bool:
        return "no lease ends before it is compared with the cluster" in process.log()

    await eventually(noticed, "the operator says that the store is another one")
    async with Ledger(database_url) as books:
        await expiries(process, 3)
        await assert_kept(place, books, status)
        await books.execute("update ipam.term set expires_at = now() where expires_at is not null")
        await place.reason("IPClaim", "claim", "ExpiredAllocation")


async def test_a_restored_claim_keeps_its_own_lease(place: Tenant, books: Ledger, launch: Launch) -> None:
    """A store that lost a claim takes it back with the lease that it asks for, not with the pool's."""
    launch({"IPAM_RESYNC_SECONDS": "0.5"})
    await place.space(defaultLease="300s")
    await place.claim(lease="720h", stickyKey="web/0")
    before = (await place.bound("claim"))["claim"]["status"]
    await books.execute(
        "select from ipam.pool for update;"
        " delete from ipam.term; delete from ipam.claim_detail; delete from ipam.lease;"
        " select ipam.rebuild_free_ranges(id) from ipam.pool"
    )

    async def restored() -> bool:
        kept = await books.value(
            "select t.expires_at > now() + interval '700 hours' and d.sticky_key = 'web/0'"
            " from ipam.lease l join ipam.term t using (claim_uid) join ipam.claim_detail d using (claim_uid)"
            " where l.released_at is null"
        )
        return bool(kept)

    await eventually(restored, "the claim is in the store again, with its own lease and key")
    assert (await place.get("IPClaim", "claim"))["status"]["address"] == before["address"]

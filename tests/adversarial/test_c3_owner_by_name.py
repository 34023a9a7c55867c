"""Row C3: reclaim frees a live address, because it knows its owner by name only (wb#176, sp#2526)."""

from datetime import timedelta

from ipam_operator.domain.findings import Brake
from ipam_operator.services.resync import Resync
from tests.apiserver.support import Launch, Ledger, Tenant, agreement, eventually
from tests.support.operator_process import OperatorProcess
from tests.support.store import Store, claim, granted

BRISK = {"IPAM_RESYNC_SECONDS": "0.3", "IPAM_POOL_TIMER_SECONDS": "1"}
RECLAIMED = "select count(*) from ipam.history where action = 'R' and actor = 'ipam-operator:resync' and namespace = $1"


async def test_c3_same_name_and_address_between_scan_and_reclaim(database_url: str) -> None:
    """Who got the abandoned claim's name and its very address between a scan and the reclaim keeps it."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.7/32")
        old, new = claim(of, name="web-0"), claim(of, name="web-0")
        await store.allocate(of, [old])
        epoch = await store.ownership.lead("operator", 60)
        assert epoch is not None
        seen = await store.audit.compare({}, settled_seconds=0)
        assert [(one.claim, one.claim_uid) for one in seen] == [(old.identity.ref, old.identity.uid)]
        await store.release(old)
        assert granted(await store.allocate(of, [new])).keys() == {new.identity.uid}
        assert await store.ownership.release_orphans(epoch, seen, "resync") == (0, ())
        assert list(await store.held()) == [new.identity.uid]
        await store.assert_history_is_ledger()


async def test_c3_only_the_abandoned_namesake_is_reclaimed(database_url: str) -> None:
    """Of two leases under one name the one whose claim is gone goes, after two looks; who waits gets its address."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/30")
        gone, namesake = claim(of, name="web-0"), claim(of, name="web-0")
        waiter, other = claim(of, name="web-1"), claim(of, name="web-2")
        await store.allocate(of, [gone])
        await store.allocate(of, [namesake])
        await store.allocate(of, [waiter, other])
        epoch = await store.ownership.lead("operator", 60)
        assert epoch is not None
        resync = Resync(
            store.audit, store.ownership, Brake(50, 10), remember=timedelta(days=30), retain=timedelta(days=30)
        )
        shown = {namesake.identity.uid: "10.0.0.2", waiter.identity.uid: "", other.identity.uid: ""}
        first, _ = await resync.run_once(shown, {}, settled_seconds=0, epoch=epoch)
        assert first.release == ()
        assert gone.identity.uid in await store.held()
        _, due = await resync.run_once(shown, {}, settled_seconds=0, epoch=epoch)
        assert of.identity.ref in {one.pool for one in due}, "others wait for its address"
        assert list(await store.held()) == [namesake.identity.uid]
        assert granted(await store.serve(of)).keys() == {waiter.identity.uid}
        shown[waiter.identity.uid] = "10.0.0.1"
        for _ in range(2):
            plan, _ = await resync.run_once(shown, {}, settled_seconds=0, epoch=epoch)
            assert (plan.release, plan.suspects, plan.look_again) == ((), frozenset(), frozenset())
        assert set(await store.held()) == {namesake.identity.uid, waiter.identity.uid}


async def resyncs(process: OperatorProcess, number: int) -> None:
    """Wait for so many more complete ones."""
    before = process.metrics().total("ipam_store_statements_total", operation="tidy")

    async def enough() -> bool:
        return process.metrics().total("ipam_store_statements_total", operation="tidy") >= before + number

    await eventually(enough, f"{number} resyncs")


async def test_c3_made_anew_under_its_name_while_nobody_looked(place: Tenant, books: Ledger, launch: Launch) -> None:
    """A claim torn out and made again with the operator down is bound once the old lease is reclaimed, and stays."""
    first = launch(BRISK)
    await place.space(ranges=["10.0.0.1-10.0.0.2"])
    await place.claims(["web-0", "web-1"])
    await place.bound("web-0", "web-1")
    first.terminate()
    await place.delete("IPClaim", "web-0")
    await place.api.patch("IPClaim", place.namespace, "web-0", {"metadata": {"finalizers": None}})
    await place.gone("IPClaim", "web-0")
    anew = await place.claim("web-0")
    await books.execute("update ipam.lease set allocated_at = now() - interval '1 hour'")
    second = launch(BRISK)
    bound = await place.bound("web-0", "web-1")
    assert bound["web-0"]["metadata"]["uid"] == anew["metadata"]["uid"]
    held = await books.held(place.namespace)
    await books.execute("update ipam.lease set allocated_at = now() - interval '1 hour'")  # old enough to be judged
    await resyncs(second, 3)
    assert await books.held(place.namespace) == held
    assert await books.value(RECLAIMED, place.namespace) == 1
    await agreement(place, books)

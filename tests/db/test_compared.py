"""A store that was restarted or restored: it grants nothing before it is compared, and has what claims show then."""

from datetime import timedelta
from ipaddress import ip_address
from uuid import uuid4

import pytest

from ipam_operator.domain.outcome import Reason, Refused
from ipam_operator.errors import StoreUncomparedError
from tests.support.store import Store, claim, granted, texts


async def test_nothing_is_granted_in_another_life(database_url: str) -> None:
    """Neither at once nor from the queue, one or many; who holds is answered, and who shows is adopted."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        (held,) = await store.take(of, 1)
        await store.ownership.claim(uuid4(), adopt=False)
        assert not await store.ownership.is_compared()
        for asked in ([claim(of)], [claim(of), claim(of, count=2)], [claim(of, wanted="10.0.0.4")]):
            with pytest.raises(StoreUncomparedError):
                await store.claims.allocate(of.identity.ref, asked)
        assert granted(await store.allocate(of, [held])).keys() == {held.identity.uid}
        shown = claim(of)
        assert texts(await store.adopt(of, shown, "10.0.0.5")) == ["10.0.0.5"]
        waits = claim(of, count=5)
        await store.allocate(of, [waits])
        await store.release(held)
        with pytest.raises(StoreUncomparedError):
            await store.serve(of)
        assert await store.ownership.compared(await store.ownership.run())
        assert granted(await store.serve(of)).keys() == {waits.identity.uid}


async def test_only_the_present_life_can_be_compared(database_url: str) -> None:
    """A comparison that speaks of an earlier life opens nothing; another cluster has to compare again."""
    async with Store(database_url) as store:
        await store.ownership.claim(uuid4(), adopt=False)
        run = await store.ownership.run()
        assert not await store.ownership.compared(f"{run}, but an earlier one")
        assert await store.ownership.compared(run)
        await store.ownership.uncompared()
        assert not await store.ownership.is_compared()
        assert await store.ownership.compared(run)
        await store.ownership.claim(uuid4(), adopt=True)
        assert not await store.ownership.is_compared()


async def test_what_cools_or_is_held_by_the_dead_is_free_for_who_shows_it(database_url: str) -> None:
    """Not what another living claim holds, nor what is kept for another identity."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28", cool_down=3600)
        cools, dead, lives, kept = (claim(of), claim(of, count=2), claim(of), claim(of, retain=True))
        for one in (cools, dead, lives, kept):
            await store.allocate(of, [one])
        await store.release(cools, kept)

        async def adopt(text: str) -> str:
            asked = [(claim(of), [ip_address(text)])]
            (said,) = (await store.claims.adopt(of.identity.ref, asked, gone={dead.identity.uid})).outcomes
            return said.reason if isinstance(said, Refused) else "Granted"

        told = [await adopt(f"10.0.0.{number}") for number in (1, 2, 4, 5)]
        assert told == ["Granted", "Granted", Reason.ADDRESS_CONFLICT, Reason.ADDRESS_CONFLICT]
        assert dead.identity.uid not in await store.held()
        assert await store.untiled() == []


async def test_who_is_there_again_is_no_longer_deleted(database_url: str) -> None:
    """A list that began after the deletion says so; one that began before does not."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        (one,) = await store.take(of, 1)
        await store.release(one)
        assert await store.ownership.revive([one.identity.uid], timedelta(hours=1).total_seconds()) == 0
        assert granted(await store.allocate(of, [one])) == {}
        assert await store.ownership.revive([one.identity.uid], 0.0) == 1
        assert granted(await store.allocate(of, [one])).keys() == {one.identity.uid}


async def test_generations_only_rise(database_url: str) -> None:
    """After a generation that a claim shows come only higher ones, and never lower ones than before."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        await store.take(of, 1)
        await store.ownership.outgrow(1000)
        await store.take(of, 1)
        await store.ownership.outgrow(5)
        await store.take(of, 1)
        assert await store.value("select array_agg(generation order by generation) from ipam.lease") == [1, 1001, 1002]


async def test_a_restored_database_has_its_limits_again(database_url: str) -> None:
    """What a dump leaves out, time limits of the database, every migration puts back."""
    from ipam_operator.store.migrate import migrate

    async with Store(database_url) as store:
        name = await store.value("select current_database()")
        limits = (
            "select count(*) from pg_db_role_setting s join pg_database d on d.oid = s.setdatabase where datname = $1"
        )
        await store.sql(f'alter database "{name}" reset all')
        assert await store.value(limits, name) == 0
        assert await migrate(database_url) == []
        assert await store.value(limits, name) == 1

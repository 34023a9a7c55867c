"""A restore that makes one thing after the other, under an operator that runs: rows and indexes first, guards last."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from hack.postgres import Postgres
from ipam_operator.domain.model import Term
from ipam_operator.errors import StoreUncomparedError
from tests.support import dumps
from tests.support.store import Store, claim, granted

LEASES = "select claim_uid, addr from ipam.lease where released_at is null order by addr"
GUARD = """
    create trigger lease_inserted after insert on ipam.lease
    referencing new table as new_rows for each statement execute function ipam.lease_inserted()"""
HELD_AND_ENDED = """
    select (select jsonb_agg(l order by l.pool_id, l.addr) from ipam.lease l),
        (select count(*) from ipam.tombstone), (select count(*) from ipam.memory),
        (select count(*) from ipam.history)"""


async def test_nothing_is_granted_before_the_guards_are_there(
    postgres: Postgres, database_url: str, tmp_path: Path
) -> None:
    """In no way, though the rows say it was compared; what claims hold is answered, and nobody can call it compared."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        waits, reserving = claim(of, count=4), claim(of, term=Term(timedelta(hours=1), reserved=True))
        (held, *_) = await store.take(of, 10)
        await store.ask(reserving)
        assert granted(await store.allocate(of, [waits])) == {}
        await store.ownership.claim(uuid4(), adopt=False)
        assert await store.ownership.compared(await store.ownership.run())
        dumps.dump(postgres, urlsplit(database_url).path[1:], tmp_path / "ipam.dump")
    await dumps.restore_without(postgres, urlsplit(database_url).path[1:], tmp_path / "ipam.dump", "TRIGGER")
    async with Store(database_url) as store:
        before = await store.sql(LEASES)
        # As where the dump's life went on: alone, what guards the ledger decides.
        await store.sql("update ipam.cluster set compared = ipam.store_run()")
        taker = replace(claim(of), reservation=reserving.identity.ref.name)
        for asked in (
            [claim(of)],
            [claim(of), claim(of)],
            [claim(of, count=2)],
            [claim(of, wanted="10.0.0.13")],
            [taker],
        ):
            with pytest.raises(StoreUncomparedError):
                await store.allocate(of, asked)
        assert granted(await store.allocate(of, [held])).keys() == {held.identity.uid}
        assert await store.sql(LEASES) == before
        assert not await store.ownership.compared(await store.ownership.run())
        await store.sql(GUARD)
        assert await store.ownership.compared(await store.ownership.run())
        assert granted(await store.allocate(of, [taker])).keys() == {taker.identity.uid}


async def test_nothing_is_released_before_the_guards_are_there(
    postgres: Postgres, database_url: str, tmp_path: Path
) -> None:
    """Neither by deletion nor as orphans: no trigger would write it down, and the restore brings rows of its own."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        (gone, orphan) = await store.take(of, 2)
        dumps.dump(postgres, urlsplit(database_url).path[1:], tmp_path / "ipam.dump")
    await dumps.restore_without(postgres, urlsplit(database_url).path[1:], tmp_path / "ipam.dump", "TRIGGER")
    async with Store(database_url) as store:
        before = await store.sql(HELD_AND_ENDED)
        with pytest.raises(StoreUncomparedError):
            await store.release(gone)
        with pytest.raises(StoreUncomparedError):
            await store.release(orphan, deleted=False)
        assert await store.sql(HELD_AND_ENDED) == before
        await store.sql(GUARD)
        await store.release(gone)
        assert (await store.held()).keys() == {orphan.identity.uid}

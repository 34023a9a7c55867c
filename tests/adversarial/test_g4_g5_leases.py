"""Rows G4 and G5: many leases that are over at once, and the address that comes back to its owner."""

from datetime import timedelta

from ipam_operator.domain.model import Term
from ipam_operator.domain.outcome import Reason
from ipam_operator.services.claims import EXPIRY_LIMIT
from tests.support.store import Store, claim, granted, refused, texts

NUMBER = 1000


async def test_g4_many_are_over_at_once(database_url: str) -> None:
    """Ended in bounded steps, the longest due first; between any two new claims are served, and none is lost."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/20", cool_down=0)
        over = [claim(of, term=Term(timedelta(minutes=10))) for _ in range(NUMBER)]
        assert len(granted(await store.allocate(of, over))) == NUMBER
        await store.lapse(*over)
        first = over[-1]
        earlier = "update ipam.term set expires_at = expires_at - interval '1 minute' where claim_uid = $1"
        await store.sql(earlier, first.identity.uid)
        told: list[object] = []
        while True:
            ended = refused(await store.expire())
            assert len(ended) <= EXPIRY_LIMIT
            assert all(one.reason is Reason.EXPIRED_ALLOCATION for one in ended.values())
            if not told:
                assert first.identity.uid in ended
            told += ended
            if len(ended) < EXPIRY_LIMIT:
                break
            assert granted(await store.ask(claim(of)))
        assert sorted(map(str, told)) == sorted(str(one.identity.uid) for one in over)
        assert len(await store.held()) == NUMBER // EXPIRY_LIMIT
        await store.assert_tiled()


async def test_g5_the_same_owner_the_same_address(database_url: str) -> None:
    """Within its cool-down, after it while nobody needed it, and for as long as it is kept; never another owner's."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", cool_down=60)
        await store.take(of, 2)
        one, kept = claim(of, name="web"), claim(of, key="web/0", retain=True)
        assert texts(await store.allocate(of, [one, kept])) == ["10.0.0.3", "10.0.0.4"]
        await store.release(one, kept)
        assert texts(await store.ask(claim(of, name="other"))) == ["10.0.0.5"]
        assert texts(await store.ask(claim(of, name="web"))) == ["10.0.0.3"]
        assert texts(await store.ask(claim(of, name="renamed", key="web/0"))) == ["10.0.0.4"]
        again = claim(of, name="late")
        await store.ask(again)
        await store.release(again)
        await store.cooled(of)
        assert texts(await store.ask(claim(of, name="late"))) == ["10.0.0.6"], "it has cooled, and nobody came"

"""What claims that wait have yet to be told is remembered until somebody says that they were."""

from ipam_operator.domain.model import Consent
from ipam_operator.domain.outcome import Reason
from tests.support.store import Store, claim, only, refused, selector

LABELS = {"a": "b"}
WEB = selector(labels=LABELS)


async def test_an_edit_is_told_until_it_was(database_url: str) -> None:
    """Whoever dies with the answers in its hands has told nobody: the next one is sent there, and answers again."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/30", labels=LABELS)
        await store.take(of, 2)
        await store.claims.told((await store.claims.serve(of.identity.ref, tell=True)).untold)
        assert await store.tenants() == [], "a new pool is told of once"
        named, selected = claim(of), claim(WEB)
        for one in (named, selected):
            assert only(await store.ask(one)).reason is Reason.POOL_EXHAUSTED
        await store.change(of, paused=True)
        for _ in range(2):
            assert await store.tenants() == [of.identity.ref]
            served = await store.claims.serve(of.identity.ref, tell=True)
            assert {uid: one.reason for uid, one in refused(served).items()} == {
                named.identity.uid: Reason.POOL_PAUSED,
                selected.identity.uid: Reason.POOL_PAUSED,
            }
        await store.claims.told(served.untold)
        assert await store.tenants() == []
        again = await store.claims.serve(of.identity.ref, tell=True)
        assert again.untold == ()


async def test_what_has_changed_since_is_not_told_yet(database_url: str) -> None:
    """A late word that an earlier change was told takes nothing away, neither of a pool nor of a selector."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/30", labels=LABELS)
        await store.claims.told((await store.claims.serve(of.identity.ref, tell=True)).untold)
        assert only(await store.ask(claim(WEB, count=3))).reason is Reason.POOL_EXHAUSTED
        await store.change(of, paused=True, labels={})
        earlier = await store.claims.serve(of.identity.ref, tell=True)
        assert {one.place for one in earlier.untold} == {of.identity.ref, WEB.place}
        await store.change(of, paused=False, labels=LABELS)
        await store.claims.told(earlier.untold)
        assert await store.tenants() == [of.identity.ref]
        later = await store.claims.serve(of.identity.ref, tell=True)
        assert {one.place for one in later.untold} == {of.identity.ref, WEB.place}
        await store.claims.told(later.untold)
        assert await store.tenants() == []


async def test_who_is_let_in_is_told_until_it_was(database_url: str) -> None:
    """Likewise where a namespace's labels were changed, which no pool's edit will repeat."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/30", allowed=Consent("Selector", {"matchLabels": {"tier": "one"}}))
        await store.take(of, 2)
        await store.claims.told((await store.claims.serve(of.identity.ref, tell=True)).untold)
        guest = claim(of, namespace="guest")
        assert only(await store.ask(guest)).reason is Reason.TENANT_ISOLATION
        assert await store.tenants(guest={"tier": "one"}) == [of.identity.ref]
        assert await store.tenants(guest={"tier": "two"}) == [of.identity.ref]
        for _ in range(2):
            served = await store.claims.serve(of.identity.ref, tell=True)
            assert only(served).reason is Reason.TENANT_ISOLATION
        await store.claims.told(served.untold)
        assert await store.tenants() == []


async def test_serving_alone_tells_nothing(database_url: str) -> None:
    """What is served without being told leaves what is untold as it is."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/30")
        assert (await store.claims.serve(of.identity.ref)).untold == ()
        assert await store.tenants() == [of.identity.ref]

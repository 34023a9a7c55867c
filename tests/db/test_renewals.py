"""Leases that are renewed for an object: which are due, and which are begun anew."""

from dataclasses import replace
from datetime import timedelta

from ipam_operator.domain.model import ClaimDetail, ClaimRequest, PoolRequest, ResourceRef, Term
from ipam_operator.domain.outcome import Granted
from tests.support.store import Store, claim, granted, selector

WEB = ResourceRef("apps/v1", "Deployment", "web")
HOUR = Term(timedelta(hours=1))


def renewing(of: PoolRequest, *, auto_renew: bool = True, term: Term | None = HOUR) -> ClaimRequest:
    """A claim of an hour for the Deployment `web`."""
    return claim(of, detail=ClaimDetail(resource=WEB, auto_renew=auto_renew), term=term)


async def ran(store: Store, minutes: int, *of: ClaimRequest) -> None:
    """Let so much of their terms be over."""
    await store.sql(
        "update ipam.term set since = since - make_interval(mins => $2),"
        " expires_at = expires_at - make_interval(mins => $2) where claim_uid = any($1::uuid[])",
        [one.identity.uid for one in of],
        minutes,
    )


async def test_due_in_the_second_half(database_url: str) -> None:
    """Whoever asked for it, holds, and has less than half of the term left; nobody else."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        one, young = renewing(of), renewing(of)
        others = [
            renewing(of, auto_renew=False),
            renewing(of, term=Term(timedelta(hours=1), reserved=True)),
            renewing(of, term=None),
            claim(of, term=HOUR),
        ]
        await store.allocate(of, [one, young, *others])
        await ran(store, 29, one, *others)
        assert await store.claims.renewable() == []
        await ran(store, 2, one, *others)
        (due,) = await store.claims.renewable()
        assert (due.claim.uid, due.claim.ref, due.resource) == (one.identity.uid, one.identity.ref, WEB)
        (outcome,) = (await store.claims.renew([due])).outcomes
        assert isinstance(outcome, Granted)
        assert outcome.expires_at is not None
        left = outcome.expires_at - await store.value("select now()")
        assert timedelta(minutes=59) < left <= timedelta(hours=1)
        assert await store.claims.renewable() == []
        assert await store.value("select count(*) from ipam.history where action = 'C'") == 0


async def test_too_late(database_url: str) -> None:
    """A lease that has ended is not revived, whoever has the address now; nor is one renewed that is not to be."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/30")
        ended, given_up, again = renewing(of), renewing(of), claim(of)
        await store.allocate(of, [ended, given_up])
        await ran(store, 40, ended, given_up)
        due = await store.claims.renewable()
        assert len(due) == 2
        await store.release(ended, deleted=False)
        assert granted(await store.ask(again))
        edited = replace(given_up, identity=replace(given_up.identity, generation=2), detail=ClaimDetail(resource=WEB))
        await store.ask(edited)
        assert (await store.claims.renew(due)).outcomes == ()
        assert set(await store.held()) == {given_up.identity.uid, again.identity.uid}
        late = "select count(*) from ipam.term where expires_at > now() + interval '30 minutes'"
        assert await store.value(late) == 0


async def test_both_families_of_a_claim(database_url: str) -> None:
    """One term, one renewal, one answer with both."""
    async with Store(database_url) as store:
        for cidr in ("10.0.0.0/24", "2001:db8::/64"):
            await store.pool(cidr)
        one = claim(selector(dual=True), detail=ClaimDetail(resource=WEB, auto_renew=True), term=HOUR)
        await store.ask(one)
        await ran(store, 40, one)
        (outcome,) = (await store.claims.renew(await store.claims.renewable())).outcomes
        assert isinstance(outcome, Granted)
        assert [str(address) for address in outcome.addresses] == ["10.0.0.1", "2001:db8::1"]

"""Claims of other namespaces: by the pool's consent only, and within its quota."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, cast

import pytest

from ipam_operator.domain.model import ClaimRequest, Consent, ObjectRef, PoolRequest
from ipam_operator.domain.outcome import Granted, Reason
from ipam_operator.kube.apiserver import ApiServer
from ipam_operator.kube.tenants import Tenants
from tests.support.store import Store, claim, claims, granted, only, pool, refused, texts

ALL = Consent("All")
FRONT = Consent("Selector", {"matchLabels": {"tier": "front"}})
REQUIREMENTS = [
    ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
    ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
    ({"matchLabels": {"a": "1", "b": "2"}}, {"a": "1"}, False),
    ({}, {}, True),
    ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
    ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "3"}, False),
    ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
    ({"matchExpressions": [{"key": "a", "operator": "In"}]}, {"a": "1"}, False),
    ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "1"}, False),
    ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "2"}, True),
    ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
    ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
    ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"b": ""}, False),
    ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
    ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"b": ""}, True),
    ({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "Exists"}]}, {"a": "1"}, False),
]


def stranger(of: PoolRequest, **facts: Any) -> ClaimRequest:
    """A claim of namespace `guest` for the pool."""
    return claim(of, namespace="guest", **facts)


async def test_without_consent_a_pool_serves_its_own_namespace_only(database_url: str) -> None:
    """Strangers are told the same whether there is such a pool or not, and hold up nobody."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        absent = pool(await store.network("10.1.0.0/29"), name="absent")
        refusal = only(await store.ask(stranger(of)))
        assert refusal.reason is Reason.TENANT_ISOLATION
        assert only(await store.ask(stranger(absent))).message == refusal.message.replace(
            of.identity.ref.name, "absent"
        )
        own, alien = claim(of), stranger(of)
        served = await store.ask(alien, own)
        assert list(granted(served)) == [own.identity.uid]
        assert list(refused(served)) == [alien.identity.uid]
        assert await store.waiting(of) == []


@pytest.mark.parametrize("consent", [ALL, FRONT])
async def test_with_consent_strangers_are_served(database_url: str, consent: Consent) -> None:
    """Consent is to all, or to namespaces by their labels; it need not be there first."""
    async with Store(database_url) as store:
        await store.tenants(guest={"tier": "front"}, other={"tier": "back"})
        of = await store.pool("10.0.0.0/29")
        early = stranger(of)
        assert only(await store.ask(early)).reason is Reason.TENANT_ISOLATION
        assert list(granted(await store.serve(of))) == []
        await store.change(of, allowed=consent)
        assert list(granted(await store.serve(of, tell=True))) == [early.identity.uid]
        late = await store.ask(stranger(of))
        assert [type(one) for one in late.outcomes] == [Granted]
        other = await store.ask(claim(of, namespace="other"))
        assert bool(granted(other)) == (consent is ALL)


async def test_consent_follows_the_labels(database_url: str) -> None:
    """A namespace that gets the label is served, one that loses it or goes gets no more; an unknown one is refused."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", allowed=FRONT)
        first = stranger(of)
        assert only(await store.ask(first)).reason is Reason.TENANT_ISOLATION
        assert await store.tenants(guest={"tier": "front"}) == [of.identity.ref]
        assert await store.tenants(guest={"tier": "front"}) == [of.identity.ref], "an answer may be lost"
        assert list(granted(await store.serve(of, tell=True))) == [first.identity.uid]
        assert await store.tenants(guest={"tier": "front"}) == [], "it is told"
        for gone in ({"guest": {"tier": "back"}}, {"guest": None}):
            assert await store.tenants(**gone) == [], "nobody waits for that"
            assert only(await store.ask(stranger(of))).reason is Reason.TENANT_ISOLATION
        assert await store.tenants(guest={"tier": "front"}) == [of.identity.ref]
        assert await store.tenants(whole=True, other={}) == [of.identity.ref], "who was let in waits, and is let out"
        assert only(await store.ask(stranger(of))).reason is Reason.TENANT_ISOLATION


@pytest.mark.parametrize(("selector", "labels", "selected"), REQUIREMENTS)
async def test_selectors_are_those_of_kubernetes(
    database_url: str, selector: dict[str, Any], labels: dict[str, str], *, selected: bool
) -> None:
    """All labels and all requirements must hold (metav1.LabelSelector)."""
    async with Store(database_url) as store:
        await store.tenants(guest=labels)
        of = await store.pool("10.0.0.0/29", allowed=Consent("Selector", selector))
        assert bool(granted(await store.ask(stranger(of)))) == selected


async def test_withdrawn_consent_ends_no_lease(database_url: str) -> None:
    """Who holds goes on holding, and is counted until it lets go; who waits waits no more, and nobody new is served."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", allowed=ALL)
        held = await store.take(of, 6, namespace="guest")
        waiting = stranger(of)
        assert only(await store.ask(waiting)).reason is Reason.POOL_EXHAUSTED
        await store.change(of, allowed=Consent())
        told = await store.serve(of, tell=True)
        assert only(told).reason is Reason.TENANT_ISOLATION
        assert (await store.count(of)).unlent == {"guest": 6}
        assert len(granted(await store.ask(*held))) == 6
        await store.release(*held[:2])
        assert granted(await store.serve(of)) == {}
        assert (await store.count(of)).unlent == {"guest": 4}
        own = claim(of)
        assert list(granted(await store.ask(own))) == [own.identity.uid]
        await store.release(*held[2:])
        assert (await store.count(of)).unlent == {}


async def test_adoption_needs_consent(database_url: str) -> None:
    """What a claim shows is taken into the ledger only where the pool lends to its namespace."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29")
        lost = stranger(of)
        address = of_first(texts(await store.ask(one := claim(of))))
        await store.release(one)
        await store.cooled(of)
        shown = [(lost, [address])]
        assert only(await store.claims.adopt(of.identity.ref, shown)).reason is Reason.TENANT_ISOLATION
        await store.change(of, allowed=ALL)
        assert granted(await store.claims.adopt(of.identity.ref, shown)) == {lost.identity.uid: (address,)}


def of_first(addresses: list[str]) -> Any:
    """The first address, parsed."""
    return ip_address(addresses[0])


async def test_a_namespace_holds_no_more_than_its_quota(database_url: str) -> None:
    """Claims beyond the quota wait, with the numbers; other namespaces go on; a release serves the next at once."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", quota=3, allowed=ALL, cool_down=3600)
        held = await store.take(of, 2) + await store.take(of, 3, namespace="guest")
        pair = claim(of, count=2)
        refusal = only(await store.ask(pair))
        assert refusal.reason is Reason.QUOTA_EXCEEDED
        assert "2 addresses asked" in refusal.message
        assert "at most 3" in refusal.message
        assert "holds 2" in refusal.message
        last = claim(of)
        assert list(granted(await store.ask(last))) == [last.identity.uid], "one is left, and the pair cannot take it"
        beyond = claim(of)
        assert only(await store.ask(beyond)).reason is Reason.QUOTA_EXCEEDED
        dues = await store.release(held[0])
        assert 0.0 in [due.seconds for due in dues], "its address cools, its quota does not"
        assert list(granted(await store.serve(of))) == [beyond.identity.uid]
        await store.release(held[1], last)
        assert list(granted(await store.serve(of))) == [pair.identity.uid]
        assert only(await store.ask(claim(of, count=4))).reason is Reason.QUOTA_EXCEEDED


async def test_a_named_address_counts_as_well(database_url: str) -> None:
    """A claim beyond its quota does not get the address it names, however free it is."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", quota=1)
        (one,) = await store.take(of, 1)
        named = [claim(of, wanted="10.0.0.50"), claim(of, wanted="10.0.0.51")]
        assert {r.reason for r in refused(await store.ask(*named)).values()} == {Reason.QUOTA_EXCEEDED}
        await store.release(one)
        assert texts(await store.serve(of)) == ["10.0.0.50"], "one of them, not both"


async def test_a_quota_that_comes_later_counts_what_is_held(database_url: str) -> None:
    """It ends no lease; raised or gone it lets the waiting through."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24")
        await store.take(of, 5)
        await store.change(of, quota=4)
        waiting = claim(of)
        assert only(await store.ask(waiting)).reason is Reason.QUOTA_EXCEEDED
        await store.change(of, quota=5)
        assert granted(await store.serve(of, tell=True)) == {}
        await store.change(of, quota=None)
        assert list(granted(await store.serve(of, tell=True))) == [waiting.identity.uid]


async def test_many_at_once_do_not_exceed_a_quota(database_url: str) -> None:
    """Batches of several replicas at once, with releases between them, keep to it."""
    async with Store(database_url, connections=8) as store:
        of = await store.pool("10.0.0.0/24", quota=10, allowed=ALL)

        async def work(namespace: str) -> None:
            for _ in range(8):
                asked = claims(of, 3, namespace=namespace)
                held = granted(await store.ask(*asked))
                await store.release(*[one for one in asked if one.identity.uid in held][:1])

        await asyncio.gather(*(work(namespace) for namespace in ("a", "b", "a", "b", "a")))
        rows = await store.sql(
            "select l.namespace, count(*) n, min(h.held) held from ipam.lease l"
            " join ipam.held_by h using (pool_id, namespace)"
            " where l.released_at is null group by 1"
        )
        assert {row["namespace"]: (row["n"], row["held"]) for row in rows} == {"a": (10, 10), "b": (10, 10)}


async def test_who_waits_beyond_its_quota_does_not_hide_others(database_url: str) -> None:
    """Thousands of one namespace in front of it do not keep another namespace's claim from being served."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/24", quota=1, allowed=ALL)
        await store.take(of, 1)
        for _ in range(3):
            await store.ask(*claims(of, 1000))
        late = stranger(of)
        assert list(granted(await store.ask(late))) == [late.identity.uid]


async def test_an_edit_to_a_forbidden_pool_leaves_the_queue(database_url: str) -> None:
    """A claim waits in one place only, also beside a queue."""
    async with Store(database_url) as store:
        mine = await store.pool("10.0.0.0/29", paused=True)
        theirs = await store.pool("10.1.0.0/29")
        one = claim(mine, namespace="team")
        await store.ask(one)
        foreign = replace(theirs, identity=replace(theirs.identity, ref=theirs.identity.ref))
        moved = replace(
            stranger(foreign), identity=replace(one.identity, ref=replace(one.identity.ref, namespace="guest"))
        )
        assert only(await store.ask(moved)).reason is Reason.TENANT_ISOLATION
        assert await store.waiting(mine) == []
        await store.release(moved)
        assert await store.value("select count(*) from ipam.waiting") == 0


async def test_a_list_of_namespaces_is_older_than_its_events(database_url: str) -> None:
    """What an event tells while the resync reads all namespaces stays, and is not undone by what was read before."""

    class Listing:
        async def namespaces(self) -> AsyncIterator[dict[str, Any]]:
            """As the API server lists them, with an event in between."""
            for name in ("guest", "other"):
                yield {"metadata": {"name": name, "labels": {"tier": "back"}}}
            tenants.see("MODIFIED", {"metadata": {"name": "guest", "labels": {"tier": "front"}}})
            tenants.see("DELETED", {"metadata": {"name": "other"}})

    def serve(pool: ObjectRef, *, tell: bool) -> None:
        assert tell, pool

    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/29", allowed=FRONT)
        tenants = Tenants(cast("ApiServer", Listing()), store.parents, serve)
        await tenants.run_once()
        assert await store.value("select array_agg(namespace) from ipam.tenant") == ["guest"]
        assert len(granted(await store.ask(stranger(of)))) == 1

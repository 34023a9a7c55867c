"""Any sequence of claims by name and selector, consent, quotas, priorities and MAC addresses: nothing gets lost."""

from collections import Counter
from dataclasses import replace
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
)

from hack.postgres import Postgres
from ipam_operator.domain.answers import Served
from ipam_operator.domain.model import ClaimRequest, Consent, PoolRequest, Selector
from ipam_operator.domain.outcome import Accepted, Granted
from tests.support.machine import StoreMachine, run_machine
from tests.support.store import NAMESPACE, claim, selector

LABELS: tuple[dict[str, str], ...] = ({}, {"tier": "front"}, {"tier": "front", "zone": "a"})
TENANTS = (NAMESPACE, "guest")
MACS = ("", "", "", "02:00:00:00:00:01", "02:00:00:00:00:02")
EDITS = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.sampled_from(LABELS),
        "priority": st.integers(0, 2),
        "quota": st.none() | st.integers(1, 4),
        "allowed": st.sampled_from([Consent(), Consent("All"), Consent("Selector", {"matchLabels": {"in": "yes"}})]),
        "paused": st.booleans(),
    },
)


class Machine(StoreMachine):
    """Three pools, two of them in one network; every claim is for one address, so that nothing excuses its waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[UUID, ClaimRequest] = {}
        self.held: dict[UUID, str] = {}
        self.pools: list[PoolRequest] = []
        self.fresh: set[tuple[str, str]] = set()
        self.known = False

    @initialize(edits=st.lists(EDITS, min_size=3, max_size=3))
    def begin(self, edits: list[dict[str, Any]]) -> None:
        one = self.run(self.store.network("10.0.0.0/24", name="one"))
        two = self.run(self.store.network("10.1.0.0/24", name="two"))
        places = ((one, "10.0.0.0/29"), (one, "10.0.0.8/30"), (two, "10.1.0.0/30"))
        for (parent, span), facts in zip(places, edits, strict=True):
            self.pools.append(self.run(self.store.pool(parent, span, **facts)))

    def learn(self, served: Served) -> None:
        """Each is told once in one answer; what it holds never changes, and is from a pool that may serve it."""
        told = Counter(one.claim.uid if isinstance(one, Granted) else one.subject.uid for one in served.outcomes)  # type: ignore[union-attr]
        assert not [uid for uid, times in told.items() if times > 1]
        for one in served.outcomes:
            if isinstance(one, Granted):
                uid, address = one.claim.uid, str(one.addresses[0])
                if uid not in self.held:
                    assert one.pool in {of.identity.ref for of in self.meant(self.asked[uid])}
                    self.fresh.add((one.pool.name, one.claim.ref.namespace))
                assert self.held.setdefault(uid, address) == address
                assert one.mac in {None, self.mac(uid) or None}

    def mac(self, uid: UUID) -> str:
        detail = self.asked[uid].detail
        return detail.mac if detail else ""

    def lends(self, of: PoolRequest, tenant: str) -> bool:
        match of.allowed.source:
            case "All":
                return True
            case "Selector":
                return tenant == NAMESPACE or self.known
            case _:
                return tenant == NAMESPACE

    def meant(self, one: ClaimRequest) -> list[PoolRequest]:
        """Pools that may serve the claim, best first, as the guide says."""
        tenant = one.identity.ref.namespace
        if one.selector is None:
            return [of for of in self.pools if of.identity.ref == one.pool and self.lends(of, tenant)]
        labels = dict(one.selector.labels).items()
        matching = [of for of in self.pools if labels <= of.labels.items() and self.lends(of, tenant)]
        if one.selector.network is not None:
            matching = [of for of in matching if of.network.name == one.selector.network]
        found: list[PoolRequest] = []
        for level in sorted({of.priority for of in matching}, reverse=True):
            here = [of for of in matching if of.priority == level]
            if len(here) > 1:
                break
            found += here
        return found

    @rule(
        tenants=st.lists(st.sampled_from(TENANTS), min_size=1, max_size=4),
        way=st.sampled_from([0, 1, 2, "any", "front", "zone", "network"]),
        macs=st.lists(st.sampled_from(MACS), min_size=4, max_size=4),
    )
    def ask(self, tenants: list[str], way: int | str, macs: list[str]) -> None:
        if isinstance(way, int):
            batch = [
                claim(self.pools[way], namespace=tenant, mac=mac) for tenant, mac in zip(tenants, macs, strict=False)
            ]
        else:
            meaning: dict[str, Any] = {
                "any": {}, "front": {"labels": LABELS[1]}, "zone": {"labels": LABELS[2]}, "network": {"network": "one"},
            }  # fmt: skip
            of: Selector = selector(tenant=tenants[0], **meaning[str(way)])
            batch = [claim(of, mac=mac) for _, mac in zip(tenants, macs, strict=False)]
        self.asked.update((one.identity.uid, one) for one in batch)
        self.learn(self.run(self.store.ask(*batch)))

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        self.learn(self.run(self.store.ask(self.asked[data.draw(st.sampled_from(list(self.asked)))])))

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), mac=st.sampled_from(MACS))
    def change_mac(self, data: st.DataObject, mac: str) -> None:
        one = self.asked[data.draw(st.sampled_from(list(self.asked)))]
        identity = replace(one.identity, generation=one.identity.generation + 1)
        fresh = claim(self.pools[0], mac=mac, key=" ").detail
        assert fresh is not None
        one = replace(one, identity=identity, detail=replace(fresh, sticky_key=""))
        self.asked[identity.uid] = one
        self.learn(self.run(self.store.ask(one)))

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        for uid in data.draw(st.lists(st.sampled_from(list(self.asked)), min_size=1, max_size=4, unique=True)):
            self.run(self.store.release(self.asked.pop(uid)))
            self.held.pop(uid, None)

    @rule(which=st.integers(0, 2), edit=EDITS)
    def edit(self, which: int, edit: dict[str, Any]) -> None:
        self.pools[which] = replace(self.pools[which], **edit)
        assert isinstance(self.run(self.store.pools.apply(self.pools[which])), Accepted)
        self.learn(self.run(self.store.serve(self.pools[which], tell=True)))
        self.run(self.due_now())

    @rule(known=st.booleans())
    def label(self, *, known: bool) -> None:
        self.known = known
        for ref in self.run(self.store.tenants(guest={"in": "yes"} if known else {})):
            self.learn(self.run(self.store.claims.serve(ref, tell=True)))
        self.run(self.due_now())

    @rule()
    def serve(self) -> None:
        """After every pool was served nobody waits who could be served."""
        self.run(self.due_now())

    async def due_now(self) -> None:
        for of in self.pools:
            self.learn(await self.store.serve(of))
        free = {of.identity.ref: (await self.store.count(of)).free for of in self.pools}
        rows = await self.store.sql(
            "select l.claim_uid, l.namespace, p.name pool, l.mac::text, n.name network from ipam.lease l"
            " join ipam.pool p on p.id = l.pool_id join ipam.network n on n.id = p.network_id"
            " where l.released_at is null"
        )
        taken = {(row["network"], row["mac"]): row["claim_uid"] for row in rows if row["mac"]}
        for uid, one in self.asked.items():
            for of in self.meant(one) if uid not in self.held else ():
                share = sum(
                    row["pool"] == of.identity.ref.name and row["namespace"] == one.identity.ref.namespace
                    for row in rows
                )
                reasons = [
                    of.paused,
                    free[of.identity.ref] == 0,
                    of.quota is not None and share >= of.quota,
                    (of.network.name, self.mac(uid)) in taken,
                ]
                # One that waits for a MAC address waits for it in every network.
                assert any(reasons) or any(mac == self.mac(uid) for _, mac in taken), (one, of)

    @invariant()
    def whole(self) -> None:
        if len(self.pools) == 3:
            self.run(self.check())

    async def check(self) -> None:
        assert await self.store.untiled() == []
        await self.store.assert_history_is_ledger()
        assert {uid: str(found[0]) for uid, found in (await self.store.held()).items()} == self.held
        waiting = {row["claim_uid"] for row in await self.store.sql("select claim_uid from ipam.waiting")}
        assert self.asked.keys() - self.held.keys() <= waiting, "everybody holds or waits"
        assert waiting <= self.asked.keys(), "nobody waits who is gone"
        counted = await self.store.sql(
            "with held as (select pool_id, l.namespace, count(*) held from ipam.lease l"
            " join ipam.pool p on p.id = pool_id"
            " where released_at is null and (p.quota is not null or l.namespace <> p.namespace) group by 1, 2)"
            " select * from held full join (select * from ipam.held_by where held > 0) h using (pool_id, namespace)"
            " where held.held is distinct from h.held"
        )
        assert counted == [], "addresses by namespace are as counted"
        held = await self.store.sql(
            "select p.name, h.namespace, h.held, p.quota from ipam.held_by h join ipam.pool p on p.id = pool_id"
        )
        for row in held:
            if (row["name"], row["namespace"]) in self.fresh:
                assert row["quota"] is None or row["held"] <= row["quota"], "who was served was within its quota"
        self.fresh.clear()


def test_any_sequence_leaves_nobody_behind(postgres: Postgres, template_database: str) -> None:
    """Whole after every step, and after every serving nobody waits who could be served."""
    run_machine(Machine, postgres, template_database, examples=25, steps=20)

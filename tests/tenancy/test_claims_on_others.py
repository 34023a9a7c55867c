"""Claims that ask for what is another namespace's, which has not consented: nothing is granted, and nothing learned."""

import asyncio
from functools import partial
from typing import Any, Final

import pytest

from tests.apiserver.support import Ledger, Tenant
from tests.support.cluster import Api, ApiError, Json, condition, thing
from tests.tenancy.people import WAITING, Person, events_text, forbidden, told

ASK: Final[dict[str, dict[str, Any]]] = {
    "one": {},
    "five": {"count": 5},
    "this": {"address": "10.0.0.20"},
    "taken": {"address": "10.0.0.10"},
    "outside": {"address": "192.0.2.1"},
    "prefix": {"prefixLength": 28},
    "mac": {"macAddress": "02:00:5e:00:00:01"},
    "lease": {"lease": "1h"},
    "sticky": {"stickyKey": "web/0"},
    "reserve": {"mode": "Reserve"},
    "reservation": {"reservationRef": {"name": "held"}},
    "retain": {"reclaimPolicy": "Retain"},
    "urgent": {"priority": 100},
    "too-many": {"count": 1024},
}
"""What a claim may say beside where; some of it would be answered otherwise by a pool that were there and open."""


def places(namespace: str) -> dict[str, tuple[dict[str, Any], str, str]]:
    """Ways to ask for something of a namespace: what is there, what is not, and the names that say which."""
    return {
        "pool": ({"poolRef": {"namespace": namespace, "name": "pool"}}, "pool", "absent"),
        "network": ({"networkRef": {"namespace": namespace, "name": "net"}}, "net", "absent"),
        "labels": ({"poolSelector": {"namespace": namespace, "matchLabels": {"tier": "front"}}}, "front", "absent"),
        "type": ({"poolSelector": {"namespace": namespace, "type": "Dynamic"}}, "Dynamic", "Loopback"),
        "families": (
            {"poolSelector": {"namespace": namespace, "matchLabels": {"tier": "front"}}, "families": ["IPv4", "IPv6"]},
            "front",
            "absent",
        ),
        "IPv6": (
            {"poolSelector": {"namespace": namespace, "matchLabels": {"tier": "front"}}, "families": ["IPv6"]},
            "front",
            "absent",
        ),
    }


def instead(spec: Any, old: str, new: str) -> Any:
    """The same spec about another name."""
    if isinstance(spec, dict):
        return {key: instead(value, old, new) for key, value in spec.items()}
    return new if spec == old else spec


async def furnish(owner: Person) -> None:
    """Pools of every kind, all of them full of sense for their own namespace, which is served from each."""
    await owner.label("IPPool", "pool", tier="front")
    await owner.network("2001:db8::/64", "net6")
    await owner.pool("pool6", "net6")
    await owner.label("IPPool", "pool6", tier="front")
    await owner.network("10.2.0.0/16", "blocks")
    await owner.pool("prefixes", "blocks", prefixes={"lengths": [28], "default": 28})
    await owner.claim("held", mode="Reserve")
    await owner.claim("with-mac", macAddress="02:00:5e:00:00:01", stickyKey="web/0", address="10.0.0.20")
    await owner.claim("subnet", "prefixes", prefixLength=28)
    await owner.ask("both", poolSelector={"matchLabels": {"tier": "front"}}, families=["IPv4", "IPv6"])
    await owner.ask("by-network", networkRef={"name": "net"})
    await owner.reason("IPClaim", "held", "Reserved")
    await owner.bound("with-mac", "subnet", "both", "by-network")


async def answer(stranger: Person, name: str, spec: dict[str, Any]) -> Json:
    """How a claim stands; it is deleted again."""
    await stranger.ask(name, **spec)
    return await stranger.reason("IPClaim", name, *WAITING, "ReservationNotFound", "InvalidSpec")


@pytest.mark.parametrize("place", places(""))
async def test_nothing_is_granted_and_nothing_learned(
    owner: Person, stranger: Person, ledger: Ledger, api: Api, place: str
) -> None:
    """Whatever it asks for and however: what is there is answered like what is not, and nothing is held."""
    await furnish(owner)
    before = await ledger.held(owner.namespace)
    assert len(before) == 6
    spec, there, absent = places(owner.namespace)[place]
    for wish, beside in ASK.items():
        if place != "pool" and wish == "prefix":
            continue  # asked for below, of the pool that has some
        if place in {"families", "IPv6"} and "address" in beside:
            continue
        answers = []
        for name, where in (("yes", spec), ("no", instead(spec, there, absent))):
            seen = await answer(stranger, f"{wish}-{name}", {**where, **beside})
            assert "addresses" not in seen["status"], wish
            answers.append(told(seen, there if name == "yes" else absent))
        assert answers[0] == answers[1], wish
    assert await ledger.held(owner.namespace) == before
    assert set(await ledger.held(stranger.namespace)) == {"mine"}
    words = await events_text(api, stranger.namespace)
    assert "TenantIsolation" in words or place != "pool"
    for secret in ("with-mac", "subnet", "by-network", "02:00:5e:00:00:01 belongs", *before["mine"]):
        assert secret not in words
    assert stranger.namespace not in await events_text(api, owner.namespace)


@pytest.mark.parametrize("state", ["paused", "full", "refused", "prefixes", "deleting", "quota"])
async def test_the_state_of_a_pool_is_its_owners(owner: Person, stranger: Person, state: str) -> None:
    """Whatever happens to the pool, strangers are told what they are told of one that is not there."""
    name = "pool"
    match state:
        case "paused":
            await owner.edit("IPPool", "pool", paused=True)
            await owner.reason("IPPool", "pool", "Ready")
            await owner.claim("waits")
            await owner.reason("IPClaim", "waits", "PoolPaused")
        case "full":
            await owner.claim("rest", count=30)
            await owner.bound("rest")
            await owner.claim("waits")
            await owner.reason("IPClaim", "waits", "PoolExhausted")
        case "refused":
            name = "bad"
            await owner.pool("bad", ranges=["192.0.2.0/24"])
            await owner.reason("IPPool", "bad", "InvalidSpec")
        case "prefixes":
            name = "prefixes"
            await owner.network("10.2.0.0/16", "blocks")
            await owner.pool("prefixes", "blocks", prefixes={"lengths": [28], "default": 28})
            await owner.claim("subnet", "prefixes")
            await owner.bound("subnet")
        case "deleting":
            await owner.delete("IPPool", "pool")
            await owner.reason("IPPool", "pool", "InUse")
        case _:
            await owner.edit("IPPool", "pool", quotaPerNamespace=1)
            await owner.reason("IPPool", "pool", "Ready")
            await owner.claim("waits")
            await owner.reason("IPClaim", "waits", "QuotaExceeded")
    answers = []
    for called in (name, "absent"):
        seen = await answer(stranger, called, {"poolRef": {"namespace": owner.namespace, "name": called}})
        answers.append(told(seen, called))
    assert answers[0] == answers[1]
    assert answers[0]["reason"] == "TenantIsolation"


async def test_a_namespace_that_does_not_exist_answers_alike(owner: Person, stranger: Person) -> None:
    """So that nobody learns which tenants there are."""
    assert await owner.get("IPPool", "pool")
    answers = []
    for name, where in (("there", owner.namespace), ("nowhere", "no-such-namespace")):
        seen = await answer(stranger, name, {"poolRef": {"namespace": where, "name": "pool"}})
        answers.append(told(seen, where))
    assert answers[0] == answers[1]


async def test_waiting_tells_nothing_either(owner: Person, stranger: Person) -> None:
    """A claim for a pool that comes into service, changes and goes later is not touched by any of it."""
    await stranger.ask("early", poolRef={"namespace": owner.namespace, "name": "later"})
    await stranger.ask("chosen", poolSelector={"namespace": owner.namespace, "matchLabels": {"tier": "later"}})
    before = [await stranger.reason("IPClaim", name, *WAITING) for name in ("early", "chosen")]
    await asyncio.sleep(1.1)  # moments in statuses are whole seconds: the same words written again would show
    await owner.pool("later", ranges=["10.0.0.50-10.0.0.51"])
    await owner.label("IPPool", "later", tier="later")
    await owner.claim("first", "later")
    await owner.bound("first")
    await owner.edit("IPPool", "later", paused=True)
    await owner.reason("IPPool", "later", "Ready")
    await owner.claim("second", "later")
    await owner.reason("IPClaim", "second", "PoolPaused")
    await owner.delete("IPClaim", "first", "second")
    await owner.delete("IPPool", "later")
    await owner.gone("IPPool", "later")
    await stranger.ask("last", poolRef={"namespace": owner.namespace, "name": "later"})
    await stranger.reason("IPClaim", "last", *WAITING)
    for one in before:
        seen = await stranger.get("IPClaim", one["metadata"]["name"])
        assert seen == one


async def test_consent_by_label_cannot_be_taken(owner: Person, stranger: Person, api: Api) -> None:
    """A label of the claim is none of the Namespace, which the user may not label; once that has it, it is served."""
    selector = {"matchLabels": {"tier": "front"}}
    await owner.edit("IPPool", "pool", allowedNamespaces={"from": "Selector", "selector": selector})
    where = {"poolRef": {"namespace": owner.namespace, "name": "pool"}}
    await stranger.ask("wants", **where)
    await stranger.label("IPClaim", "wants", tier="front")
    await stranger.reason("IPClaim", "wants", "TenantIsolation")
    await forbidden(partial(stranger.label, "Namespace", stranger.namespace, tier="front"))
    consent = {"spec": {"allowedNamespaces": {"from": "All"}}}
    await forbidden(partial(stranger.api.patch, "IPPool", owner.namespace, "pool", consent))
    seen = await stranger.get("IPClaim", "wants")
    assert "address" not in seen["status"]
    await api.patch("Namespace", "", stranger.namespace, {"metadata": {"labels": {"tier": "front"}}})
    await stranger.bound("wants")


async def test_equal_names_and_addresses_are_two(owner: Person, stranger: Person, ledger: Ledger) -> None:
    """The same CIDR, VRF, names and key in two namespaces: both are served, and the end of one is not the other's."""
    for one in (owner, stranger):
        await one.network("10.0.0.0/24", "blue", vrf="blue")
        await one.pool("blue", "blue")
        await one.claim("twin", "blue", address="10.0.0.77", stickyKey="web/0", macAddress="02:00:5e:00:00:07")
    for one in (owner, stranger):
        assert await one.address("twin") == "10.0.0.77"
    await stranger.delete("IPClaim", "mine", "twin")
    await stranger.gone("IPClaim", "mine", "twin")
    assert set(await ledger.held(owner.namespace)) == {"mine", "twin"}
    assert (await owner.get("IPClaim", "twin"))["status"]["address"] == "10.0.0.77"


async def test_what_was_another_namespaces_comes_back_to_it_alone(owner: Person, stranger: Person) -> None:
    """An address that is kept for a key is not found by the same key in another namespace, of its own pool or not."""
    await owner.claim("kept", stickyKey="db/0", reclaimPolicy="Retain", address="10.0.0.30")
    await owner.bound("kept")
    await owner.delete("IPClaim", "kept")
    await owner.gone("IPClaim", "kept")
    await stranger.claim("kept", stickyKey="db/0", reclaimPolicy="Retain")
    assert await stranger.address("kept") != "10.0.0.30"
    seen = await answer(
        stranger, "again", {"poolRef": {"namespace": owner.namespace, "name": "pool"}, "stickyKey": "db/0"}
    )
    assert seen["status"]["reason"] == "TenantIsolation"
    await owner.claim("again", stickyKey="db/0")
    assert await owner.address("again") == "10.0.0.30"


async def test_a_pool_lies_in_a_network_of_its_own_namespace(owner: Person, stranger: Person) -> None:
    """A pool names a network by name alone: another namespace's is not found, the words are those about none at all."""
    await owner.network("10.3.0.0/24", "theirs")
    await owner.pool("theirs", "theirs")
    await owner.reason("IPPool", "theirs", "Ready")
    await stranger.pool("pool-theirs", "theirs")
    await stranger.pool("pool-absent", "absent")
    answers = []
    for name in ("theirs", "absent"):
        seen = await stranger.reason("IPPool", f"pool-{name}", "NetworkNotFound")
        answers.append(told(seen, name))
    assert answers[0] == answers[1]
    made = thing("IPPool", stranger.namespace, "led", {"networkRef": {"name": "theirs", "namespace": owner.namespace}})
    done = stranger.kubectl("create", "--validate=strict", "-f", "-", stdin=made)
    assert done.returncode != 0
    assert 'unknown field "spec.networkRef.namespace"' in done.stderr


async def test_a_network_does_not_meet_others(owner: Person, stranger: Person) -> None:
    """Overlap is within a namespace's VRF: whoever tries all CIDRs learns nothing of another's."""
    with pytest.raises(ApiError, match="already exists"):  # that name it has itself
        await stranger.network()
    await owner.network("10.0.0.0/25", "inside")
    overlapping = condition(await owner.reason("IPNetwork", "inside", "NetworkOverlap"), "Ready")
    assert overlapping is not None
    assert "network net has" in overlapping["message"]
    await stranger.network("10.0.0.0/25", "probe", vrf="other")
    await stranger.reason("IPNetwork", "probe", "Ready")


async def test_strangers_do_not_use_up_an_owners_events(owner: Person, stranger: Person, api: Api) -> None:
    """However many claims of others ask for a pool, its owner's next refusal has an Event that says nothing of them."""
    for number in range(12):
        await stranger.ask(f"many-{number}", poolRef={"namespace": owner.namespace, "name": "pool"})
    for number in range(12):
        await stranger.reason("IPClaim", f"many-{number}", "TenantIsolation")
    theirs = await Tenant(api, stranger.namespace).events("many-0", "TenantIsolation")
    assert theirs
    await owner.claim("beyond", address="192.0.2.1")
    await owner.reason("IPClaim", "beyond", "OutsidePool")
    (event,) = await Tenant(api, owner.namespace).events("beyond", "OutsidePool")
    assert "more of the same" not in event["message"]

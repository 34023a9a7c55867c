"""A pool that its owner lends: guests are served, and neither side learns of the other's claims more than that."""

import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest_asyncio

from tests.apiserver.support import OURS, Ledger, eventually
from tests.support.cluster import Json, condition
from tests.tenancy.people import Person, told

MAC: Final = "02:00:5e:00:00:aa"
SECRETS: Final[dict[str, Any]] = {
    "hostname": "secret-host.example.com",
    "assignedTo": "secret-customer",
    "description": "secret-purpose",
    "stickyKey": "secret-key",
    "resourceRef": {"apiVersion": "v1", "kind": "ConfigMap", "name": "secret-object"},
}
"""What a claim says of itself, to be looked for wherever another namespace can look."""
ADDRESS: Final = "10.0.0.33"


class Guest:
    """Asks for addresses of the owner's pool."""

    def __init__(self, person: Person, owner: Person) -> None:
        self.person, self._ref = person, {"name": "pool", "namespace": owner.namespace}

    async def ask(self, name: str, **spec: Any) -> None:
        """A claim on the shared pool."""
        await self.person.ask(name, poolRef=self._ref, **spec)

    async def reason(self, name: str, *reasons: str) -> Json:
        """Its status, once it has one of these reasons."""
        return await self.person.reason("IPClaim", name, *reasons)


@pytest_asyncio.fixture
async def guest(owner: Person, stranger: Person) -> AsyncIterator[Guest]:
    """The stranger, whom the owner's pool serves from now on; that it is served is the positive control."""
    await owner.edit("IPPool", "pool", allowedNamespaces={"from": "All"})
    await owner.reason("IPPool", "pool", "Ready")
    made = Guest(stranger, owner)
    await made.ask("welcome")
    await stranger.bound("welcome")
    yield made
    for name in await stranger.all("IPClaim"):  # before the pool goes, which waits for them
        await stranger.delete("IPClaim", name)
    await stranger.gone("IPClaim")


def words(seen: Json) -> str:
    """What Ready says."""
    ready = condition(seen, "Ready")
    assert ready is not None
    return str(ready["message"])


async def readable(person: Person, api_of_all: Any) -> str:
    """All that a user can read, and the Events of its namespace."""
    objects = [await person.api.list(kind, person.namespace) for kind in OURS]
    events = await api_of_all.list("Event", person.namespace)
    return json.dumps([*objects, events])


async def test_who_holds_an_address(owner: Person, guest: Guest) -> None:
    """The owner is told which claim of its own has it, a guest only that it is held; and the other way round."""
    await owner.claim("secret-claim", address=ADDRESS)
    await owner.bound("secret-claim")
    await owner.claim("twin", address=ADDRESS)
    assert "held by IPClaim secret-claim" in words(await owner.reason("IPClaim", "twin", "AddressConflict"))
    await guest.ask("wants", address=ADDRESS)
    assert f"{ADDRESS} is held by another claim" in words(await guest.reason("wants", "AddressConflict"))
    await guest.ask("secret-guest", address="10.0.0.34")
    await guest.person.bound("secret-guest")
    await owner.claim("wants", address="10.0.0.34")
    assert "10.0.0.34 is held by another claim" in words(await owner.reason("IPClaim", "wants", "AddressConflict"))


async def test_whose_mac_address_it_is(owner: Person, guest: Guest) -> None:
    """A MAC address that is taken in the network is refused without a name."""
    await owner.claim("secret-claim", macAddress=MAC)
    await owner.bound("secret-claim")
    await owner.claim("twin", macAddress=MAC)
    assert "belongs to IPClaim secret-claim" in words(await owner.reason("IPClaim", "twin", "MacConflict"))
    await guest.ask("wants", macAddress=MAC)
    assert f"{MAC} belongs to another claim in this network" in words(await guest.reason("wants", "MacConflict"))


async def test_a_reservation_is_its_namespaces(owner: Person, guest: Guest, ledger: Ledger) -> None:
    """By its name nobody else finds it, in the very pool that lends to both; its own namespace takes it over."""
    await owner.claim("held", mode="Reserve", address=ADDRESS)
    await owner.reason("IPClaim", "held", "Reserved")
    answers = []
    for name in ("held", "absent"):
        await guest.ask(f"heir-of-{name}", reservationRef={"name": name})
        seen = await guest.reason(f"heir-of-{name}", "ReservationNotFound")
        answers.append(json.dumps(told(seen)).replace(f"IPClaim {name}", "X"))
    assert answers[0] == answers[1]
    made = {
        **(await guest.person.get("IPClaim", "heir-of-held")),
        "metadata": {"name": "led", "namespace": guest.person.namespace},
    }
    made["spec"]["reservationRef"]["namespace"] = owner.namespace
    done = guest.person.kubectl("create", "--validate=strict", "-f", "-", stdin=made)
    assert 'unknown field "spec.reservationRef.namespace"' in done.stderr
    assert (await ledger.held(owner.namespace))["held"] == [ADDRESS]
    await owner.claim("heir", reservationRef={"name": "held"})
    assert await owner.address("heir") == ADDRESS


async def test_what_is_kept_or_cools_is_its_namespaces(owner: Person, guest: Guest) -> None:
    """The key, MAC address and name of a claim that is gone find its addresses in its namespace only."""
    kept = {"key": {"stickyKey": "secret-key"}, "mac": {"macAddress": MAC}, "secret-name": {}}
    for number, (name, how) in enumerate(kept.items()):
        await owner.claim(name, reclaimPolicy="Retain", address=f"10.0.0.2{number}", **how)
    await owner.bound(*kept)
    await owner.delete("IPClaim", *kept)
    await owner.gone("IPClaim", *kept)
    for name, how in kept.items():
        await guest.ask(name, **how)
    for number, name in enumerate(kept):
        assert await guest.person.address(name) != f"10.0.0.2{number}"
        await guest.person.delete("IPClaim", name)
    await guest.person.gone("IPClaim", *kept)
    await guest.ask("wants", address="10.0.0.20", stickyKey="secret-key")
    refusal = words(await guest.reason("wants", "AddressConflict"))
    assert "is kept for a claim that is gone" in refusal
    assert "secret" not in refusal
    for name, how in kept.items():
        await owner.claim(name, **how)
    for number, name in enumerate(kept):
        assert await owner.address(name) == f"10.0.0.2{number}"


async def test_a_cooling_address_is_not_the_same_keys_of_another(owner: Person, guest: Guest) -> None:
    """While it cools only its own identity has it back."""
    await owner.edit("IPPool", "pool", coolDown="1h")
    await owner.reason("IPPool", "pool", "Ready")
    await owner.claim("again", stickyKey="secret-key", address=ADDRESS)
    await owner.bound("again")
    await owner.delete("IPClaim", "again")
    await owner.gone("IPClaim", "again")
    await guest.ask("again", stickyKey="secret-key")
    assert await guest.person.address("again") != ADDRESS
    await guest.ask("wants", stickyKey="secret-key", address=ADDRESS)
    assert "was released and cools" in words(await guest.reason("wants", "AddressConflict"))
    await owner.claim("again", stickyKey="secret-key")
    assert await owner.address("again") == ADDRESS


async def test_shared_keys_are_told_within_a_namespace(owner: Person, guest: Guest) -> None:
    """Two claims of one key are warned of each other in one namespace, and not across."""
    await owner.claim("secret-claim", stickyKey="secret-key")
    await owner.bound("secret-claim")
    await owner.claim("twin", stickyKey="secret-key")
    await owner.bound("twin")
    assert "secret-claim" in json.dumps((await owner.get("IPClaim", "twin"))["status"])
    await guest.ask("twin", stickyKey="secret-key")
    await guest.person.bound("twin")
    assert "secret" not in json.dumps((await guest.person.get("IPClaim", "twin"))["status"])


async def test_an_owner_knows_its_guests_by_namespace_only(owner: Person, guest: Guest, api: Any) -> None:
    """Deletion, shrinking, withdrawn consent and the pool's counters name no claim of theirs, nor what it is for."""
    await guest.ask("secret-claim", address=ADDRESS, macAddress=MAC, lease="1h", **SECRETS)
    await guest.person.bound("secret-claim")
    assert "secret-host" in await readable(guest.person, api)
    await owner.edit("IPPool", "pool", ranges=["10.0.0.10-10.0.0.30"])
    shrunk = words(await owner.reason("IPPool", "pool", "ShrinkRefused"))
    assert ADDRESS in shrunk
    await owner.edit("IPPool", "pool", ranges=["10.0.0.10-10.0.0.40"], allowedNamespaces=None)
    await owner.reason("IPPool", "pool", "Ready")

    async def reported() -> bool:
        return f"{guest.person.namespace} (2)" in json.dumps((await owner.get("IPPool", "pool"))["status"])

    await eventually(reported, "the pool says who holds without consent")
    await owner.delete("IPPool", "pool")
    held = words(await owner.reason("IPPool", "pool", "InUse"))
    assert f"some of namespace {guest.person.namespace}" in held
    everything = await readable(owner, api)
    for secret in ("secret", MAC, "welcome"):
        assert secret not in everything, secret


async def test_a_guest_knows_its_host_by_the_pool_only(owner: Person, guest: Guest, api: Any) -> None:
    """Full, queued, paused or served: nothing that a guest can read names a claim of the owner or its purpose."""
    await owner.claim("secret-claim", address=ADDRESS, macAddress=MAC, lease="1h", **SECRETS)
    await owner.bound("secret-claim")
    await owner.claim("secret-rest", count=28)
    await owner.bound("secret-rest")
    await guest.ask("full")
    assert "31 addresses, 0 free" in words(await guest.reason("full", "PoolExhausted"))
    await owner.claim("secret-queue", priority=100)
    await owner.reason("IPClaim", "secret-queue", "PoolExhausted", "Queued")
    await guest.ask("big", count=2)
    await guest.reason("big", "PoolExhausted", "Queued")
    await guest.ask("beyond", address="192.0.2.1")
    await guest.reason("beyond", "OutsidePool")
    await owner.edit("IPPool", "pool", paused=True)
    await guest.ask("paused")
    await guest.reason("paused", "PoolPaused")
    await owner.edit("IPPool", "pool", paused=False)
    everything = await readable(guest.person, api)
    for secret in ("secret", MAC):
        assert secret not in everything, secret
    assert "secret-rest" in await readable(owner, api)


async def test_the_end_of_a_guests_claim_is_not_the_hosts(owner: Person, guest: Guest, ledger: Ledger) -> None:
    """Claims of the same name from one pool are two: deleting one releases only its own address."""
    await guest.person.delete("IPClaim", "mine")
    await guest.person.gone("IPClaim", "mine")
    await guest.ask("mine")
    theirs = await guest.person.address("mine")
    own = await owner.address("mine")
    assert theirs != own
    await guest.person.delete("IPClaim", "mine")
    await guest.person.gone("IPClaim", "mine")
    assert (await ledger.held(owner.namespace))["mine"] == [own]


async def test_a_quota_counts_by_namespace(owner: Person, guest: Guest) -> None:
    """A guest cannot hold more than its share by another name, key or priority; the owner's share stays."""
    await owner.edit("IPPool", "pool", quotaPerNamespace=2)
    await owner.reason("IPPool", "pool", "Ready")
    await guest.ask("second")
    await guest.person.bound("second")
    tries: list[dict[str, Any]] = [{}, {"priority": 100}, {"stickyKey": "welcome"}, {"mode": "Reserve"}]
    for name, spec in zip("abcd", tries, strict=True):
        await guest.ask(name, **spec)
        assert "of which this one holds 2" in words(await guest.reason(name, "QuotaExceeded"))
    await owner.claim("second")
    await owner.bound("second")

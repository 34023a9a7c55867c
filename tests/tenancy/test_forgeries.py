"""What users may write, and would be believed: who asked, which object, since when, for what, how often."""

from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial

import pytest
import pytest_asyncio

from tests.apiserver.support import Ledger, eventually
from tests.support.cluster import JSON_PATCH, Api, ApiError, thing
from tests.tenancy.people import RBAC, Person, forbidden

REQUESTED, CHANGED = "ipam.dotmac.io/requested-by", "ipam.dotmac.io/changed-by"
LIMITS = "ipam.dotmac.io/rate-limits"
SPEC = {"poolRef": {"name": "pool"}}
HISTORY = "select array_agg(distinct actor) from ipam.history where namespace = $1 and name = $2 and action = any($3)"
WROTE = ["A", "C"]


async def actors(ledger: Ledger, person: Person, name: str, *actions: str) -> list[str]:
    """Whom history names, for grants and changes unless said otherwise."""
    found = await ledger.value(HISTORY, person.namespace, name, [one.encode() for one in actions or WROTE])
    return list(found or [])


async def test_who_asked_is_who_asked(owner: Person, stranger: Person, ledger: Ledger) -> None:
    """A claim that is born in another's name, or without any, carries its maker's; so does history."""
    assert await actors(ledger, owner, "mine") == [owner.name]
    for name, stamps in {
        "both": {REQUESTED: owner.name, CHANGED: owner.name},
        "first": {REQUESTED: owner.name},
        "second": {CHANGED: "system:admin"},
        "none": {},
    }.items():
        await stranger.api.create(thing("IPClaim", stranger.namespace, name, SPEC, annotations=stamps))
        await stranger.bound(name)
        born = (await stranger.get("IPClaim", name))["metadata"]["annotations"]
        assert (born[REQUESTED], born[CHANGED]) == (stranger.name, stranger.name)
        assert await actors(ledger, stranger, name) == [stranger.name]


@pytest.mark.parametrize("stamp", [REQUESTED, CHANGED])
async def test_a_stamp_stays(owner: Person, stranger: Person, ledger: Ledger, stamp: str) -> None:
    """By merge, JSON patch, apply, replace or removal: it says its maker afterwards, and so does history."""
    assert (await owner.get("IPClaim", "mine"))["metadata"]["annotations"][stamp] == owner.name
    api, path = stranger.api, stranger.api.path("IPClaim", stranger.namespace, "mine")
    pointer = f"/metadata/annotations/{stamp.replace('/', '~1')}"
    forged = {"metadata": {"annotations": {stamp: owner.name}}, "spec": {"description": "changed"}}
    whole = await stranger.get("IPClaim", "mine")
    whole["metadata"]["annotations"][stamp] = owner.name
    del whole["metadata"]["managedFields"], whole["metadata"]["resourceVersion"]
    applied = thing("IPClaim", stranger.namespace, "mine", SPEC, annotations={stamp: owner.name})
    by_pointer = partial(api.patch, "IPClaim", stranger.namespace, "mine", content=JSON_PATCH)
    apply = partial(api.request, "PATCH", path, content="application/apply-patch+yaml", fieldManager="me", force="true")
    for attempt in (
        partial(api.patch, "IPClaim", stranger.namespace, "mine", forged),
        partial(by_pointer, [{"op": "replace", "path": pointer, "value": owner.name}]),
        partial(by_pointer, [{"op": "remove", "path": pointer}]),
        partial(api.request, "PUT", path, body=whole),
        partial(apply, body=applied),
    ):
        with suppress(ApiError):  # one policy undoes it or another refuses it: it must not stand
            await attempt()
        stamps = (await stranger.get("IPClaim", "mine"))["metadata"]["annotations"]
        assert stamps[stamp] == stranger.name
    await stranger.edit("IPClaim", "mine", hostname="new.example.com")

    async def changed() -> bool:
        return await actors(ledger, stranger, "mine", "C") == [stranger.name]

    await eventually(changed, "history has the edit")
    assert await actors(ledger, stranger, "mine", "A", "C", "R") == [stranger.name]


async def test_a_claim_is_who_it_is(owner: Person, stranger: Person, ledger: Ledger) -> None:
    """UID, generation and time of birth are the API server's, whatever is written; another's UID gives nothing."""
    theirs = await owner.get("IPClaim", "mine")
    old = {"uid": theirs["metadata"]["uid"], "generation": 99, "creationTimestamp": "2001-01-01T00:00:00Z"}
    born = await stranger.api.create(thing("IPClaim", stranger.namespace, "twin", SPEC, **old))
    for field, forged in old.items():
        assert born["metadata"][field] != forged
    await stranger.bound("twin")
    path = stranger.api.path("IPClaim", stranger.namespace, "twin")
    with pytest.raises(ApiError) as refusal:
        await stranger.api.request(
            "PUT", path, body={**born, "metadata": {**born["metadata"], "uid": theirs["metadata"]["uid"]}}
        )
    assert refusal.value.code == 409
    await stranger.delete("IPClaim", "twin")
    await stranger.gone("IPClaim", "twin")
    assert (await ledger.held(owner.namespace))["mine"] == theirs["status"]["addresses"]
    assert (
        await ledger.value("select count(*) from ipam.tombstone where claim_uid = $1", theirs["metadata"]["uid"]) == 0
    )


async def test_owner_references_hold_no_address(owner: Person, stranger: Person, ledger: Ledger) -> None:
    """An object that names another namespace's claim as its owner keeps nothing of it.

    Kubernetes' garbage collector heeds it in a foreground deletion, for every kind, from whoever knows the UID: the
    object may stay for that long. Its address does not.
    """
    theirs = await owner.get("IPClaim", "mine")
    assert await ledger.held(owner.namespace) == {"mine": theirs["status"]["addresses"]}
    reference = {
        "apiVersion": theirs["apiVersion"], "kind": "IPClaim", "name": "mine", "uid": theirs["metadata"]["uid"],
        "blockOwnerDeletion": True, "controller": True,
    }  # fmt: skip
    child = thing(
        "IPClaim", stranger.namespace, "child", SPEC, ownerReferences=[reference], finalizers=["example.com/a"]
    )
    await stranger.api.create(child)
    path = owner.api.path("IPClaim", owner.namespace, "mine")
    await owner.api.request("DELETE", path, propagationPolicy="Foreground")

    async def released() -> bool:
        return await ledger.held(owner.namespace) == {}

    await eventually(released, "the address is released")
    free = {"metadata": {"finalizers": None, "ownerReferences": None}}
    await stranger.api.patch("IPClaim", stranger.namespace, "child", free)


async def test_a_finalizer_taken_away_harms_its_owner_only(owner: Person, stranger: Person, ledger: Ledger) -> None:
    """Who takes our finalizer off its claim and deletes it loses its address, and nobody else anything."""
    before = await ledger.held(owner.namespace)
    await stranger.api.patch("IPClaim", stranger.namespace, "mine", {"metadata": {"finalizers": None}})
    await stranger.delete("IPClaim", "mine")
    await stranger.gone("IPClaim", "mine")

    async def released() -> bool:
        return await ledger.held(stranger.namespace) == {}

    await eventually(released, "its address is released all the same")
    assert await ledger.held(owner.namespace) == before != {}


@pytest_asyncio.fixture
async def namespace_editor(api: Api, stranger: Person) -> AsyncIterator[Person]:
    """The stranger, who may edit its Namespace, as some clusters let their tenants."""
    name = f"edits-{stranger.namespace}"
    rules = [
        {
            "apiGroups": [""],
            "resources": ["namespaces"],
            "resourceNames": [stranger.namespace],
            "verbs": ["get", "patch"],
        }
    ]
    subject = {"kind": "User", "apiGroup": RBAC, "name": stranger.name}
    ref = {"apiGroup": RBAC, "kind": "ClusterRole", "name": name}
    rights = f"apis/{RBAC}/v1"
    await api.request("POST", f"{rights}/clusterroles", body={"metadata": {"name": name}, "rules": rules})
    await api.request(
        "POST",
        f"{rights}/clusterrolebindings",
        body={"metadata": {"name": name}, "roleRef": ref, "subjects": [subject]},
    )

    async def may() -> bool:
        try:
            await stranger.label("Namespace", stranger.namespace, harmless="yes")
        except ApiError:
            return False
        return True

    await eventually(may, "the positive control: it edits its Namespace")
    yield stranger
    await api.request("DELETE", f"{rights}/clusterrolebindings/{name}")
    await api.request("DELETE", f"{rights}/clusterroles/{name}")


@pytest.mark.parametrize("limits", ["", "allocate=", "allocate=1000000/1000000"])
async def test_limits_are_the_administrators(namespace_editor: Person, api: Api, limits: str) -> None:
    """Who may edit a Namespace may not say how often it may ask, nor take away what an administrator has said."""
    where = namespace_editor.namespace
    await forbidden(
        partial(
            namespace_editor.api.patch,
            "Namespace",
            "",
            where,
            {"metadata": {"annotations": {LIMITS: limits or "bulk=9/9"}}},
        )
    )
    await api.patch("Namespace", "", where, {"metadata": {"annotations": {LIMITS: "allocate=1/1"}}})
    for change in (limits, None):
        await forbidden(
            partial(namespace_editor.api.patch, "Namespace", "", where, {"metadata": {"annotations": {LIMITS: change}}})
        )
    assert (await api.get("Namespace", "", where))["metadata"]["annotations"][LIMITS] == "allocate=1/1"

"""What the API server refuses to a user of the tenant roles: others' objects, statuses, and more rights."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from tests.apiserver.support import Ledger
from tests.support.cluster import JSON_PATCH, Api, ApiError, Json, thing
from tests.tenancy.people import RBAC, USER, Person, forbidden

KINDS = {"IPClaim": "mine", "IPPool": "pool", "IPNetwork": "net"}
SPECS: dict[str, Json] = {
    "IPClaim": {"poolRef": {"name": "pool"}},
    "IPPool": {"networkRef": {"name": "net"}},
    "IPNetwork": {"cidr": "10.1.0.0/24"},
}
RIGHTS = f"apis/{RBAC}/v1"


@pytest.mark.parametrize("kind", KINDS)
async def test_reading(owner: Person, stranger: Person, kind: str) -> None:
    """Get, list, watch and status of another namespace, and lists of the whole cluster, by name or by address."""
    name = KINDS[kind]
    api, where = stranger.api, owner.namespace
    for reader in (owner, stranger):  # each its own
        assert await reader.get(kind, name)
        assert await reader.all(kind)
        assert await reader.api.request("GET", api.path(kind, reader.namespace, name, "status"))
    await forbidden(partial(api.get, kind, where, name))
    await forbidden(partial(api.get, kind, where, "no-such-thing"))
    await forbidden(partial(api.list, kind, where))
    await forbidden(partial(api.list, kind))
    await forbidden(partial(api.list, kind, fieldSelector=f"metadata.namespace={where}"))
    await forbidden(partial(api.request, "GET", api.path(kind, where), watch="1"))
    await forbidden(partial(api.request, "GET", api.path(kind, where, name, "status")))
    if kind == "IPClaim":
        address = (await owner.get(kind, name))["status"]["address"]
        assert await owner.api.list(kind, where, fieldSelector=f"status.address={address}")
        await forbidden(partial(api.list, kind, fieldSelector=f"status.address={address}"))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refusal_to_read_tells_nothing(owner: Person, stranger: Person, kind: str) -> None:
    """The words about an object that is there are those about one that is not."""
    assert await owner.get(kind, KINDS[kind])
    there = await forbidden(partial(stranger.api.get, kind, owner.namespace, KINDS[kind]))
    absent = await forbidden(partial(stranger.api.get, kind, owner.namespace, "absent"))
    nowhere = await forbidden(partial(stranger.api.get, kind, "no-such-namespace", "absent"))
    assert there.replace(f'"{KINDS[kind]}"', '"absent"') == absent
    assert absent.replace(owner.namespace, "no-such-namespace") == nowhere


@pytest.mark.parametrize("kind", KINDS)
async def test_writing(owner: Person, stranger: Person, ledger: Ledger, kind: str) -> None:
    """Create, replace, patch, finalizers, status, delete and delete all: nothing of it, and nothing has changed."""
    name, api, where = KINDS[kind], stranger.api, owner.namespace
    edit = {"metadata": {"labels": {"touched": "yes"}}}
    await owner.api.patch(kind, where, name, edit)
    before = await owner.get(kind, name)
    held = await ledger.held(where)
    body = {**before, "metadata": {key: before["metadata"][key] for key in ("name", "namespace", "resourceVersion")}}
    path = api.path(kind, where, name)
    fresh = thing(kind, where, "fresh", SPECS[kind])
    loose = [{"op": "remove", "path": "/metadata/finalizers"}]
    empty: Json = {"status": {"conditions": []}}
    attempts: list[Callable[[], Awaitable[object]]] = [
        partial(api.create, fresh),
        partial(api.create, fresh, dry_run=True),
        partial(api.request, "PUT", path, body=body),
        partial(api.patch, kind, where, name, edit),
        partial(api.patch, kind, where, name, loose, content=JSON_PATCH),
        partial(api.patch, kind, where, name, fresh, content="application/apply-patch+yaml"),
        partial(api.patch, kind, where, name, empty, subresource="status"),
        partial(api.delete, kind, where, name),
        partial(api.request, "DELETE", api.path(kind, where)),
    ]
    for attempt in attempts:
        await forbidden(attempt)
    after = await owner.get(kind, name)
    assert (after["metadata"]["resourceVersion"], after["spec"]) == (
        before["metadata"]["resourceVersion"],
        before["spec"],
    )
    assert await ledger.held(where) == held != {}


@pytest.mark.parametrize("kind", KINDS)
async def test_statuses_are_the_operators(owner: Person, ledger: Ledger, kind: str) -> None:
    """Not even its own: not by the subresource, and what a create or replace says of status is not heard."""
    name, api, where = KINDS[kind], owner.api, owner.namespace
    before = await owner.get(kind, name)
    held = await ledger.held(where)
    forged = {
        **before["status"],
        "conditions": [],
        "address": "10.0.0.99",
        "addresses": ["10.0.0.99"],
        "capacity": {"free": "1"},
    }
    path = api.path(kind, where, name)
    await forbidden(partial(api.patch, kind, where, name, {"status": forged}, subresource="status"))
    await forbidden(partial(api.request, "PUT", f"{path}/status", body={**before, "status": forged}))
    replaced = owner.kubectl("replace", "--subresource=status", "-f", "-", stdin={**before, "status": forged})
    assert "cannot update resource" in replaced.stderr
    assert replaced.returncode != 0
    await api.patch(kind, where, name, {"status": forged})
    again = await api.request("PUT", path, body={**await owner.get(kind, name), "status": forged})
    assert again["status"] == before["status"]
    born = await api.create({**thing(kind, where, "forged", SPECS[kind]), "status": forged}, dry_run=True)
    assert "10.0.0.99" not in str(born)
    assert (await owner.get(kind, name))["status"] == before["status"]
    assert await ledger.held(where) == held


async def test_a_claim_born_with_a_status_gets_its_own(owner: Person, ledger: Ledger) -> None:
    """An address that it says it has, free or another's, is not taken over from a user's words."""
    taken = (await owner.get("IPClaim", "mine"))["status"]
    for name, address in (("forged-free", "10.0.0.40"), ("forged-taken", taken["address"])):
        status = {**taken, "address": address, "addresses": [address]}
        await owner.api.create({**thing("IPClaim", owner.namespace, name, SPECS["IPClaim"]), "status": status})
        assert await owner.address(name) not in {"10.0.0.40", taken["address"]}
    await ledger.distinct(owner.namespace)


async def test_no_way_to_more_rights(owner: Person, stranger: Person, api: Api) -> None:
    """No roles, no tokens, no impersonation, no secrets, no policies, no Events in another's name, no Namespaces."""
    home, other = stranger.namespace, owner.namespace
    own = stranger.api
    grant = {
        "metadata": {"name": "grant"},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": "ipam-edit"},
        "subjects": [{"kind": "ServiceAccount", "name": USER, "namespace": home}],
    }
    event = {"metadata": {"name": "one"}, "involvedObject": {"namespace": other}, "reason": "Forged"}
    policy = "apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/stamps.ipclaims.ipam.dotmac.io"
    attempts: list[Callable[[], Awaitable[object]]] = [
        *(
            partial(own.request, "POST", f"{RIGHTS}/namespaces/{where}/rolebindings", body=grant)
            for where in (home, other)
        ),
        partial(own.request, "POST", f"{RIGHTS}/clusterrolebindings", body=grant),
        partial(own.request, "POST", "api/v1/namespaces/ipam-system/serviceaccounts/ipam-operator/token", body={}),
        partial(own.request, "GET", api.path("IPClaim", other), as_user=owner.name),
        partial(own.request, "GET", "api/v1/namespaces/ipam-system/secrets"),
        partial(own.request, "DELETE", policy),
        partial(own.request, "POST", api.path("Event", other), body=event),
        partial(own.patch, "Namespace", "", home, {"metadata": {"labels": {"tier": "front"}}}),
        partial(own.patch, "Namespace", "", home, {"metadata": {"annotations": {"ipam.dotmac.io/rate-limits": ""}}}),
        partial(own.list, "Namespace"),
        partial(own.get, "Namespace", "", other),
    ]
    for attempt in attempts:
        await forbidden(attempt)
    assert await api.get("Namespace", "", other)  # somebody can


async def test_the_operators_metrics_are_not_the_api_servers(stranger: Person) -> None:
    """Nor may a tenant read those of the API server, which tell of namespaces."""
    await forbidden(partial(stranger.api.request, "GET", "metrics"))


async def test_an_object_cannot_be_moved(owner: Person, stranger: Person) -> None:
    """A body that says another namespace than the request's is refused, whichever of the two is the user's own."""
    body = thing("IPClaim", owner.namespace, "moved", SPECS["IPClaim"])
    with pytest.raises(ApiError, match="does not match the namespace"):
        await stranger.api.request("POST", stranger.api.path("IPClaim", stranger.namespace), body=body)
    await forbidden(
        partial(
            stranger.api.request,
            "POST",
            stranger.api.path("IPClaim", owner.namespace),
            body=thing("IPClaim", stranger.namespace, "moved", SPECS["IPClaim"]),
        )
    )

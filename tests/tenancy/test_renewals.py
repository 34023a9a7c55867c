"""Leases that live while an object exists: an object of the claim's own namespace."""

import asyncio
from typing import Any

import pytest

from tests.apiserver.support import Ledger, Tenant, eventually
from tests.apiserver.test_renewals import left, may_list_config_maps, ran
from tests.support.cluster import Api
from tests.tenancy.people import Person

__all__ = ["may_list_config_maps"]
OPERATOR = {"IPAM_RENEW_KINDS": "v1/ConfigMap", "IPAM_RENEW_SECONDS": "0.5", "IPAM_RESYNC_SECONDS": "3600"}


@pytest.mark.usefixtures("may_list_config_maps")
async def test_an_object_of_another_namespace_renews_nothing(
    owner: Person, stranger: Person, ledger: Ledger, api: Api
) -> None:
    """The same reference in two namespaces: the lease lives where the object is, and ends where it is not."""
    ref: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "name": "web"}
    await api.request("POST", api.path("ConfigMap", owner.namespace), body={"metadata": {"name": "web"}})
    for person, name in ((owner, "theirs"), (stranger, "wants")):
        await person.claim(name, lease="1h", autoRenew=True, resourceRef=ref)
        await person.bound(name)
    await asyncio.sleep(1.1)  # ends are shown in whole seconds
    await ran(ledger, 40)

    async def renewed() -> bool:
        return (await left(ledger))["theirs"] > 55

    await eventually(renewed, "the owner's lease has begun anew")
    await Tenant(api, stranger.namespace).events("wants", "ResourceGone")
    assert (await left(ledger))["wants"] < 25


async def test_a_reference_has_no_namespace(owner: Person, stranger: Person) -> None:
    """A field that would lead elsewhere is refused by name, and without validation dropped."""
    ref = {"apiVersion": "v1", "kind": "ConfigMap", "name": "web", "namespace": owner.namespace}
    spec = {"poolRef": {"name": "pool"}, "resourceRef": ref}
    body = {
        "apiVersion": "ipam.dotmac.io/v1alpha1", "kind": "IPClaim", "spec": spec,
        "metadata": {"name": "led", "namespace": stranger.namespace},
    }  # fmt: skip
    done = stranger.kubectl("create", "--validate=strict", "-f", "-", stdin=body)
    assert 'unknown field "spec.resourceRef.namespace"' in done.stderr
    assert "namespace" not in (await stranger.api.create(body))["spec"]["resourceRef"]

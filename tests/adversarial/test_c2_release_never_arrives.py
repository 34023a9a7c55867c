"""Row C2: nobody tells of a deletion: the operator is down, finalizers are gone, a whole namespace goes."""

import pytest

from tests.apiserver.support import Launch, Ledger, Tenant, eventually
from tests.support.cluster import ApiError

SETTINGS = {"IPAM_RESYNC_SECONDS": "1", "IPAM_POOL_TIMER_SECONDS": "1"}


async def test_c2_deleted_while_nobody_ran(place: Tenant, books: Ledger, launch: Launch) -> None:
    """By force, without a finalizer, or as usual: each lease ends when the operator is back; who stays holds on."""
    service = launch(SETTINGS)
    await place.space(coolDown="0s")
    await place.claims(["forced", "usual", "stays"])
    await place.bound("forced", "usual", "stays")
    service.kill9()
    await place.delete("IPClaim", "forced", "usual")
    await place.api.patch("IPClaim", place.namespace, "forced", {"metadata": {"finalizers": None}})
    assert set(await place.all("IPClaim")) == {"usual", "stays"}, "its finalizer holds the other one"
    assert set(await books.held(place.namespace)) == {"forced", "usual", "stays"}
    launch(SETTINGS)
    await place.gone("IPClaim", "usual")

    async def ended() -> bool:
        return set(await books.held(place.namespace)) == {"stays"}

    await eventually(ended, "only who exists holds")
    await place.capacity(allocated="1")


@pytest.mark.usefixtures("stamped")
async def test_c2_a_namespace_goes_while_nobody_runs(place: Tenant, books: Ledger, launch: Launch) -> None:
    """Claims, pool and network go in whatever order; the namespace is gone when the operator has seen them off."""
    service = launch(SETTINGS)
    await place.space(coolDown="0s")
    await place.claims([f"c{number}" for number in range(20)])
    await place.bound(*(f"c{number}" for number in range(20)))
    service.kill9()
    await place.api.request("DELETE", f"api/v1/namespaces/{place.namespace}")
    launch(SETTINGS)

    async def gone() -> bool:
        try:
            await place.api.request("GET", f"api/v1/namespaces/{place.namespace}")
        except ApiError as error:
            return error.code == 404
        return False

    await eventually(gone, "the namespace is gone", 60.0)
    assert await books.held(place.namespace) == {}
    assert await books.value("select count(*) from ipam.pool where namespace = $1", place.namespace) == 0
    assert await books.value("select count(*) from ipam.network where namespace = $1", place.namespace) == 0

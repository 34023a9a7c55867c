"""A claim and the store disagree: whoever knows the later lease is right."""

from typing import Any

from tests.apiserver.support import Launch, Ledger, Tenant, eventually
from tests.connections.support import BRISK
from tests.support.cluster import MERGE_PATCH


async def show(place: Tenant, name: str, **status: Any) -> None:
    """A status as of another time."""
    path = f"{place.api.path('IPClaim', place.namespace, name)}/status"
    await place.api.request("PATCH", path, body={"status": status}, content=MERGE_PATCH)


async def test_the_later_lease_is_right(place: Tenant, books: Ledger, launch: Launch) -> None:
    """A status that is behind is written anew, with an Event; one that is ahead is followed by the store."""
    process = launch(BRISK)
    await place.space(coolDown="0s")
    await place.claims(["behind", "ahead"])
    before = await place.bound("behind", "ahead")
    held = await books.held(place.namespace)
    process.terminate()
    await show(place, "behind", address="10.0.0.70", addresses=["10.0.0.70"], leaseGeneration=0)
    await show(place, "ahead", address="10.0.0.80", addresses=["10.0.0.80"], leaseGeneration=1000)
    await books.execute("update ipam.lease set allocated_at = now() - interval '1 hour'")
    launch(BRISK)

    async def agreed() -> bool:
        return await books.held(place.namespace) == {"behind": held["behind"], "ahead": ["10.0.0.80"]}

    await eventually(agreed, "the ledger has the later leases")
    event, *_ = await place.events("behind", "AddressChanged")
    assert "10.0.0.70 was shown here and is not held any more" in event["message"]

    async def told() -> bool:
        after = await place.bound("behind", "ahead")
        shown = {name: one["status"]["addresses"] for name, one in after.items()}
        return shown == {"behind": before["behind"]["status"]["addresses"], "ahead": ["10.0.0.80"]}

    await eventually(told, "statuses show them, after the Event")
    # The next look may come before the status is written, and say so once more.
    assert {one["involvedObject"]["name"] for one in (await place.all("Event")).values()} == {"behind"}

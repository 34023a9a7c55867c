"""A7: two replicas that both believe to lead (mlb#725)."""

from tests.apiserver.support import Launch, Ledger, Tenant, agreement, eventually

NUMBER = 200


async def test_without_election(place: Tenant, books: Ledger, launch: Launch) -> None:
    """Both answer everything: no address is held twice, statuses are the ledger's, and nothing is left in the end."""
    settings = {"IPAM_LEADER_ELECTION": "false", "IPAM_POOL_TIMER_SECONDS": "1", "IPAM_RESYNC_SECONDS": "2"}
    both = [launch(settings), launch(settings)]
    await place.space("10.0.0.0/23", ranges=["10.0.0.1-10.0.0.150"])
    names = [f"c{number:03}" for number in range(NUMBER)]
    await place.claims(names)

    async def full() -> bool:
        return len(await books.held(place.namespace)) == 150

    await eventually(full, "all addresses are held")
    await books.distinct(place.namespace)
    await place.edit("IPPool", "pool", ranges=["10.0.0.1-10.0.1.200"])
    await place.bound(*names)
    await agreement(place, books)
    for process in both:
        assert process.running
        assert process.metrics().total("ipam_store_statements_total", operation="allocate") > 0
    await place.delete_all("IPClaim")
    await place.gone("IPClaim")
    assert await books.held(place.namespace) == {}
    assert await books.queue(place.namespace) == []

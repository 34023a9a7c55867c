"""Where addresses come from, after a restart and from a store that has lost what it knew.

In a module of its own: another's operator would answer these claims from its own store.
"""

from tests.apiserver.support import Launch, Ledger, Tenant, eventually


async def test_a_restart_finds_labels(place: Tenant, launch: Launch) -> None:
    """What changed while nobody ran, a pool's label and a namespace's, is found by the next operator."""
    operator = launch()
    guest = await Tenant.create(place.api)
    await place.space(allowedNamespaces={"from": "Selector", "selector": {"matchLabels": {"tier": "front"}}})
    await place.ask("by-label", poolSelector={"matchLabels": {"tier": "front"}})
    await guest.ask("by-consent", poolRef={"name": "pool", "namespace": place.namespace})
    await place.reason("IPClaim", "by-label", "PoolNotFound")
    await guest.reason("IPClaim", "by-consent", "TenantIsolation")
    assert operator.terminate() == 0
    await place.label("IPPool", "pool", tier="front")
    await guest.label("Namespace", guest.namespace, tier="front")
    launch()
    await place.bound("by-label")
    await guest.bound("by-consent")
    await guest.close()


async def test_what_is_shown_is_adopted_by_its_pool(place: Tenant, books: Ledger, launch: Launch) -> None:
    """A store that lost them takes claims by selector back into the pools that they show."""
    launch({"IPAM_RESYNC_SECONDS": "0.5"})
    await place.network()
    await place.pool("best", ranges=["10.0.0.10-10.0.0.19"], priority=1)
    await place.pool("next", ranges=["10.0.0.20-10.0.0.29"])
    await place.reason("IPPool", "best", "Ready")
    await place.reason("IPPool", "next", "Ready")
    await place.edit("IPPool", "best", paused=True)
    await place.reason("IPPool", "best", "Ready")
    await place.ask("claim", networkRef={"name": "net"})
    assert await place.address() == "10.0.0.20"
    await place.edit("IPPool", "best", paused=False)
    await books.execute(
        "select from ipam.pool for update; delete from ipam.lease; select ipam.rebuild_free_ranges(id) from ipam.pool"
    )

    async def restored() -> bool:
        return bool(await books.held(place.namespace))

    await eventually(restored, "the claim is in the store again")
    assert await books.held(place.namespace) == {"claim": ["10.0.0.20"]}
    assert await place.address() == "10.0.0.20"

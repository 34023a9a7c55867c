"""Rate limits over restarts. In a module of its own: another's operator would answer these claims."""

from tests.apiserver.support import Launch, Ledger, Tenant

LIMITS = {"IPAM_RATE_LIMITS": "true", "IPAM_RESYNC_SECONDS": "3600"}


async def test_a_restart_loses_nothing(place: Tenant, books: Ledger, launch: Launch) -> None:
    """What was held costs nothing again, and who waits has the place and the time that it had."""
    settings = {**LIMITS, "IPAM_RATE_LIMIT_DEFAULTS": "allocate=240/2"}
    operator = launch(settings)
    await place.space()
    names = ["a", "b", "c", "d"]
    for name in names:
        await place.claim(name)
        await place.reason("IPClaim", name, "RateLimited" if name > "b" else "Allocated")
    assert operator.terminate() == 0
    launch(settings)
    await place.bound(*names)
    statement = "select array_agg(name order by generation) from ipam.lease where namespace = $1"
    assert await books.value(statement, place.namespace) == names
    history = "select count(*) from ipam.history where action = 'A'"
    assert await books.value(history) == len(names)


async def test_off_again(place: Tenant, launch: Launch) -> None:
    """Without limits, those that have waited are served at the next start."""
    operator = launch({**LIMITS, "IPAM_RATE_LIMIT_DEFAULTS": "allocate=1/1"})
    await place.space()
    await place.claim("a")
    await place.bound("a")
    await place.claim("b")
    await place.reason("IPClaim", "b", "RateLimited")
    assert operator.terminate() == 0
    launch()
    await place.bound("b")

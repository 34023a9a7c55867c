"""Two replicas, one leader; whoever leads, nothing is lost and nothing granted twice (C4)."""

from tests.apiserver.support import Launch, Ledger, Tenant, agreement, eventually
from tests.support.operator_process import OperatorProcess

BRISK = {"IPAM_LEADER_SECONDS": "3", "IPAM_POOL_TIMER_SECONDS": "1"}


def leads(process: OperatorProcess) -> bool:
    """Whether this replica says that it leads."""
    return process.metrics().total("ipam_leader") == 1


async def test_the_other_takes_over_after_a_crash(place: Tenant, books: Ledger, launch: Launch) -> None:
    """Killed amid claims, the leader is replaced by the standby, which answers all of them with what they hold."""
    first = launch(BRISK)
    second = launch(BRISK, ready=False).wait_live()
    await place.space()
    await place.claims(f"a{number}" for number in range(20))
    await place.bound("a0")
    assert leads(first)
    assert not leads(second)
    await place.claims(f"b{number}" for number in range(50))
    first.kill9()
    held = await books.held(place.namespace)
    await place.claim("after")
    seen = await place.bound(
        "after", *(f"{letter}{number}" for letter, top in (("a", 20), ("b", 50)) for number in range(top))
    )
    assert {name: seen[name]["status"]["addresses"] for name in held} == held
    assert leads(second)
    await agreement(place, books)


def test_who_has_just_begun_to_lead_ends_at_once(launch: Launch) -> None:
    """SIGTERM is ours from the first moment on: by Kopf's own handler the end would take 5 s."""
    assert launch(BRISK).terminate(seconds=3.0) == 0


async def test_the_lead_is_handed_over_at_once(place: Tenant, launch: Launch) -> None:
    """SIGTERM ends the leader with code 0 and resigns, so that the standby need not wait for the lease to lapse."""
    patient = {**BRISK, "IPAM_LEADER_SECONDS": "600"}
    first = launch(patient)
    await place.space()
    # Its standby beats once in 120 s with such a lease; a fresh one asks at once.
    assert first.terminate() == 0
    second = launch(patient)
    await place.claim()
    await place.bound("claim")
    assert leads(second)


async def test_a_frozen_leader_is_deposed(place: Tenant, books: Ledger, launch: Launch) -> None:
    """A leader that was frozen past its lease finds itself replaced and ends; nothing is granted twice."""
    first = launch(BRISK)
    second = launch(BRISK, ready=False).wait_live()
    await place.space()
    await place.claim("before")
    await place.bound("before")
    first.pause()

    async def over() -> bool:
        return leads(second)

    await eventually(over, "the standby leads")
    await place.claims(f"c{number}" for number in range(20))
    await place.bound(*(f"c{number}" for number in range(20)))
    first.resume()
    assert first.wait() == 1
    assert "another replica" in first.log()
    await agreement(place, books)

"""The primary dies and its standby takes over: what a claim shows it keeps, and nobody gets it beside it."""

import asyncio
import time

from hack.postgres import Postgres
from tests.apiserver.support import Ledger, Tenant, eventually
from tests.connections.conftest import Operate
from tests.connections.support import BRISK, assert_sound, compared, figure, ready, shown
from tests.support.standby import Standby, synchronous


def names(word: str, number: int) -> list[str]:
    return [f"{word}-{one:02}" for one in range(number)]


async def test_a_synchronous_standby_loses_nothing(
    place: Tenant, primary: Postgres, standby: Standby, operate: Operate
) -> None:
    """Claims flow while the primary is killed: each has one address, and what was granted before is as it was."""
    await synchronous(primary, on=True)
    process = operate(standby.both(), BRISK)
    await place.space("10.0.0.0/22", coolDown="0s")
    early, late = names("early", 60), names("late", 60)
    await place.claims(early[:30])
    await place.bound(*early[:30])
    flowing = asyncio.create_task(place.claims([*early[30:], *late]))
    await place.bound(*early[30:35])
    before = {name: held for name, held in (await shown(place, early[:35])).items() if held}
    assert len(before) == 35
    primary.kill()
    began = time.monotonic()
    await standby.promote()
    await place.claim("first")
    await place.bound("first")
    figure("synchronous standby, from the primary's end to the first new address, promotion included", began)
    await flowing
    everybody = [*early, *late, "first"]
    await place.bound(*everybody)
    assert await shown(place, before) == before
    await ready(process)
    await assert_sound(standby.url, place, len(everybody))


async def test_what_an_asynchronous_standby_had_not_is_adopted(
    place: Tenant, primary: Postgres, standby: Standby, operate: Operate
) -> None:
    """Grants, releases and grants of what was released are lost with the primary: statuses bring them back."""
    process = operate(standby.both(), BRISK)
    await place.space("10.0.0.0/26", coolDown="0s")
    known, lost, new = names("known", 10), names("lost", 10), names("new", 10)
    await place.claims(known)
    await place.bound(*known)
    await standby.caught_up()
    await standby.pause()
    await place.delete("IPClaim", *known[:5])
    await place.gone("IPClaim", *known[:5])
    await place.claims(lost)
    before = await shown(place, [*known[5:], *await place.bound(*lost)])
    freed = {f"10.0.0.{number}" for number in range(1, 11)} - {held for (held,) in list(before.values())[:5]}
    assert freed & {held for (held,) in list(before.values())[5:]}  # some are of claims that the standby knows
    primary.kill()
    began = time.monotonic()
    await place.claims(new)  # before the standby knows what it lacks
    await standby.promote()
    await place.bound(*new)
    figure("asynchronous standby, the same", began)
    assert await shown(place, before) == before
    async with Ledger(standby.url) as books:

        async def settled() -> bool:
            held = await books.held(place.namespace)
            return held == await shown(place, [*known[5:], *lost, *new])

        await eventually(settled, "what nobody claims is released")
    await ready(process)
    await assert_sound(standby.url, place, 25)


async def test_generations_do_not_go_back(place: Tenant, primary: Postgres, standby: Standby, operate: Operate) -> None:
    """No lease that a standby grants has a generation that a claim has shown: consumers tell by it what is newer."""
    operate(standby.both(), BRISK)
    await place.space("10.0.0.0/24", coolDown="0s")
    await place.claim("one")
    await place.bound("one")
    await standby.caught_up()
    await standby.pause()
    for turn in range(40):  # PostgreSQL logs 32 values of a sequence ahead
        await place.claims([f"burnt-{turn}"])
    lost = await place.bound(*(f"burnt-{turn}" for turn in range(40)))
    highest = max(one["status"]["leaseGeneration"] for one in lost.values())
    primary.kill()
    await standby.promote()
    await place.claim("new")
    assert (await place.bound("new"))["new"]["status"]["leaseGeneration"] > highest
    await compared(standby.url)
    await assert_sound(standby.url, place, 42)

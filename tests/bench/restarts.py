"""A new leader among claims that are answered: it reads them all before it sees who comes next."""

import time

from tests.bench.figures import Figure
from tests.bench.load import Load
from tests.bench.observer import Observer
from tests.bench.progress import say
from tests.bench.rest import Users
from tests.bench.sides import Side, Sides
from tests.bench.usage import peak_memory_mb


async def restarts(users: Users, observer: Observer, sides: Sides, claims: int) -> list[Figure]:
    """Seconds from its start until it is ready, then until a new claim is answered; megabytes at the most."""
    with sides.running(Side.OPERATOR) as pid:
        names = (await Load(users, observer, pid, 0).create(claims)).names
    began = time.monotonic()
    with sides.running(Side.OPERATOR) as pid:
        load, ready = Load(users, observer, pid, 0), time.monotonic() - began
        more, (wait,) = await load.idle(1)
        peak = peak_memory_mb(pid)
        await load.delete([*names, *more])
    what = f"restart among {claims:,} claims"
    say(f"{what}: ready after {ready:.1f} s, a new one answered after {wait:.1f} s more, {peak:.0f} MB")
    return [
        Figure(f"{what}: until it is ready", ready, "s"),
        Figure(f"{what}: until a claim that comes then is answered", wait, "s"),
        Figure(f"{what}: memory at the most", peak, "MB"),
    ]

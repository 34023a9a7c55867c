"""Without the admission policy for a while."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hack.install import GROUP
from tests.bench.rest import Users

SETTLE_SECONDS = 30.0


@asynccontextmanager
async def unstamped(users: Users, pool: str) -> AsyncIterator[None]:
    """Claims are born without our finalizer inside; as before afterwards."""
    bindings = f"{users.server}/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings"
    name = f"stamp.ipclaims.{GROUP}"
    binding = await users.send("GET", f"{bindings}/{name}", absent_is_fine=True)
    if binding:
        await users.send("DELETE", f"{bindings}/{name}")
    try:
        await _until(users, pool, held=False)
        yield
    finally:
        if binding:
            metadata = binding["metadata"]
            kept = {key: metadata[key] for key in ("name", "labels", "annotations") if key in metadata}
            again = {**binding, "metadata": kept}
            await users.send("POST", bindings, again)
            await _until(users, pool, held=True)


async def _until(users: Users, pool: str, *, held: bool) -> None:
    limit = time.monotonic() + SETTLE_SECONDS
    seen = 0
    while seen < 5:  # the API server's admission caches settle one after another
        seen = seen + 1 if await users.born_held(pool) is held else 0
        if time.monotonic() > limit:
            raise TimeoutError("the admission policy does not change its mind")
        await asyncio.sleep(0.1)

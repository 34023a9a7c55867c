"""`migrate`, and what runs before other commands: the database's schema as this program needs it."""

import argparse
import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ipam_operator.config import Settings
from ipam_operator.errors import StoreUnavailableError
from ipam_operator.kube.backoff import CappedBackoff
from ipam_operator.store import migrate

T = TypeVar("T")
_log = logging.getLogger("ipam_operator")


async def bring_up(settings: Settings, options: argparse.Namespace) -> None:
    """The command."""
    applied = await patiently(lambda: as_owner(settings), options.wait)
    print("\n".join(applied) if applied else "up to date")


async def patiently(work: Callable[[], Awaitable[T]], seconds: float = math.inf) -> T:
    """Again and again until the database answers, for so many seconds.

    Raises:
        StoreUnavailableError: it does not.
    """
    limit = time.monotonic() + seconds
    for delay in CappedBackoff(0.5, 5.0):
        try:
            return await work()
        except StoreUnavailableError as error:
            if time.monotonic() + delay > limit:
                raise
            _log.warning("the schema waits for the database: %s", error)
            await asyncio.sleep(delay)
    raise AssertionError("unreachable: the delays are endless")


async def as_owner(settings: Settings) -> list[str]:
    """Migrate, as the schema's owner where that is another login; what was applied."""
    url, owner_url = settings.database_url, settings.owner_database_url
    return await (migrate.migrate_for(url, owner_url) if owner_url else migrate.migrate(url))

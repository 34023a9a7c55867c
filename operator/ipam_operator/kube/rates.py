"""Those who wait for a token of their namespace: looked at again when their turn comes."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final
from uuid import UUID

from ipam_operator import telemetry
from ipam_operator.domain.rates import Operation
from ipam_operator.errors import ClusterUnavailableError, StoreFaultError, StoreUnavailableError
from ipam_operator.kube.apiserver import ApiServer
from ipam_operator.kube.inbox import Item
from ipam_operator.kube.resources import Kind
from ipam_operator.store.rates import Rates, Turn

_GATHER_SECONDS: Final = 0.2
_CALL_SECONDS: Final = 1.0
"""Between two calls of the same object: it needs as long until it is answered."""
_CALLS: Final = 30
"""An object that has not taken its turn by then asks for nothing now, and stands in the others' way."""
_IDLE_SECONDS: Final = 60.0
_log = logging.getLogger(__name__)


class RateTimer:
    """The line stands in the store, which tells whose turn has come; the object is read anew and goes its usual way."""

    def __init__(self, rates: Rates, api: ApiServer, see: Callable[[Kind, Item], None]) -> None:
        self._rates, self._api, self._see = rates, api, see
        self._wake = asyncio.Event()
        self._called: dict[UUID, int] = {}

    def wake(self) -> None:
        """Somebody waits who did not, or limits have changed."""
        self._wake.set()

    async def put(self, annotations: Mapping[str, str | None], *, whole: bool) -> None:
        """Namespaces say this of their limits; see `Rates.put`."""
        await self._rates.put(annotations, whole=whole)
        self.wake()

    async def run(self) -> None:
        """Work until cancelled. Starts with a look, for those who have waited while nobody ran."""
        while True:
            try:
                delay = await self.run_once()
                telemetry.last_success.labels("rates").set_to_current_time()
            except (StoreUnavailableError, StoreFaultError, ClusterUnavailableError) as error:
                _log.warning("those who wait for a token wait longer: %s", error)
                delay = _IDLE_SECONDS / 10
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake.wait()
                await asyncio.sleep(_GATHER_SECONDS)
            self._wake.clear()

    async def run_once(self) -> float:
        """Call those whose turn has come; the seconds until it is time again.

        Raises:
            ClusterUnavailableError, StoreUnavailableError, StoreFaultError: nobody has lost their place.
        """
        turns = await self._rates.turns()
        due = [turn for turn in turns if turn.seconds <= 0]
        self._called = {turn.uid: self._called.get(turn.uid, 0) + 1 for turn in due}
        gone = [turn.uid for turn in due if self._called[turn.uid] > _CALLS or not await self._call(turn)]
        if gone:
            await self._rates.leave(gone)
        if due:
            return _CALL_SECONDS
        return min([_IDLE_SECONDS, *(turn.seconds for turn in turns)])

    async def _call(self, turn: Turn) -> bool:
        kind = Kind.NETWORK if turn.operation is Operation.NETWORK else Kind.CLAIM
        body = await self._api.get(kind, turn.ref)
        if body is None or body["metadata"]["uid"] != str(turn.uid):
            return False
        item = Item.of(kind, body)
        if item.dying:
            return False
        self._see(kind, item)
        return True

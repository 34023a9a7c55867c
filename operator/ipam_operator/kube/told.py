"""What the store has to tell it remembers until it is written: a process may die with the answers in its hands."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Final, Self

from ipam_operator.domain.answers import Untold
from ipam_operator.errors import StoreFaultError, StoreUnavailableError
from ipam_operator.kube.apiserver import Reply
from ipam_operator.kube.backoff import CappedBackoff

Changes = Sequence[Untold]
_DELAYS: Final = CappedBackoff(0.1, 5.0)
_log = logging.getLogger(__name__)


class Handout:
    """Answers of one statement, while they are handed to the writer; calls `done` when the last of them is written."""

    def __init__(self, done: Callable[[], None]) -> None:
        self._done, self._left = done, 0

    def __enter__(self) -> Self:
        self._left += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._one_less()

    def expect(self, *, writing: bool) -> None:
        """Wait for one more, if there is something to write."""
        self._left += writing

    def written(self, _reply: Reply) -> None:
        """One is written, or cannot be: its object is gone, or has a newer answer."""
        self._one_less()

    def _one_less(self) -> None:
        self._left -= 1
        if not self._left:
            self._done()


class Told:
    """Lets the store forget changes of which everybody is told."""

    def __init__(self, forget: Callable[[Changes], Awaitable[None]]) -> None:
        self._forget = forget
        self._queue: asyncio.Queue[Changes] = asyncio.Queue()

    def when_written(self, changes: Changes) -> Handout:
        """To be entered while the answers that tell of these changes are handed to the writer."""
        return Handout(lambda: self._queue.put_nowait(changes) if changes else None)

    async def run(self) -> None:
        """Work until cancelled; what is lost then is told once more."""
        while True:
            changes = await self._queue.get()
            for delay in _DELAYS:
                try:
                    await self._forget(changes)
                    break
                except StoreUnavailableError as error:
                    _log.warning("%d changes that are told wait for the store: %s", len(changes), error)
                    await asyncio.sleep(delay)
                except StoreFaultError:
                    _log.exception("the store does not forget what is told; it is told again")
                    break

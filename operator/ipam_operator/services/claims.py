"""Claims: ask the store once for a batch, and put its answers into words."""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

from ipam_operator.domain import wording
from ipam_operator.domain.answers import Answer, Due, Served, Untold
from ipam_operator.domain.model import ClaimRequest, Identity, ObjectRef, Promise, Release, Renewable, Retained
from ipam_operator.domain.outcome import ClaimOutcome
from ipam_operator.errors import StoreFaultError
from ipam_operator.net.cidr import AddressOrPrefix
from ipam_operator.store.leases import Answers, Leases
from ipam_operator.store.rates import Rates

_log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

SERVE_LIMIT = 1000
"""Waiting claims bound by one statement, so that it holds its pool for tens of milliseconds at most."""

PLACES_LIMIT = 100
"""Claims of a queue that are kept informed of their place: further back it means little, and changes all the time."""

EXPIRY_LIMIT = 16
"""Leases ended by one statement, so that claims of their pools wait for milliseconds at most."""

RENEWABLE_LIMIT = 10_000
"""Leases looked at in one round of renewals, those first that end first."""

RENEW_LIMIT = 25
"""Leases renewed by one statement, for the same reason as `EXPIRY_LIMIT`."""

RETAINED_LIMIT = 10_000
"""Kept addresses in one list: more than people read."""

KEEP_LIMIT = 1000
"""Terms put back by one statement: after a restore they may be all that there are, and their pools are locked."""

ADOPT_LIMIT = 200
"""Claims taken in by one statement: after a restore they may be all that there are, each takes about a millisecond, and
their pool is locked meanwhile."""


class Claims:
    """Allocation, release and adoption. Without state: the store is the only memory."""

    def __init__(self, leases: Leases, rates: Rates | None = None) -> None:
        self._leases = leases
        self._asked: Leases | Rates = rates or leases

    async def allocate(self, pool: ObjectRef, claims: Sequence[ClaimRequest]) -> Served:
        """Answer claims of one pool, or of one selector, whose place `pool` then is.

        A batch that the database refuses as a whole is repeated in halves, so that one bad claim blocks nobody;
        the bad one is left out of the answer and logged.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        known = {claim.identity.uid: claim for claim in claims}

        async def ask(some: Sequence[ClaimRequest]) -> Served:
            return _served(await self._asked.allocate(pool, some), pool, known)

        return _joined(await _tolerant(ask, list(known.values())))

    async def serve(self, pool: ObjectRef, *, tell: bool = False) -> Served:
        """Bind who waits for the pool, as far as addresses are there (at most `SERVE_LIMIT`).

        With `tell`, and a pool that is out of service, those that wait are answered anew.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        return _served(await self._leases.serve(pool, SERVE_LIMIT, tell=tell), pool, {})

    async def told(self, changes: Sequence[Untold]) -> None:
        """Everybody has been told of these changes: nobody has to be again.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        await self._leases.told(changes)

    async def first_in_line(self, pool: ObjectRef) -> Served:
        """How the first `PLACES_LIMIT` claims of each queue stand that the pool serves.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        return _served(await self._leases.first_in_line(pool, PLACES_LIMIT), pool, {})

    async def release(self, ended: Sequence[tuple[Release, ObjectRef]]) -> tuple[list[UUID], tuple[Due, ...]]:
        """End claims, each with the pool that it asked.

        Returns:
            The claims that are ended (all but those that the database refuses, which are logged), and when pools
            with waiting claims have addresses again.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """

        async def end(some: Sequence[tuple[Release, ObjectRef]]) -> tuple[list[UUID], tuple[Due, ...]]:
            releases = [release for release, _ in some]
            due = await self._asked.release([pool for _, pool in some], releases)
            return [release.uid for release in releases], due

        done = await _tolerant(end, ended)
        return [uid for uids, _ in done for uid in uids], tuple(one for _, due in done for one in due)

    async def retained(self, namespace: str | None = None) -> list[Retained]:
        """The first `RETAINED_LIMIT` addresses that are kept for claims (of the namespace) that are gone."""
        return await self._leases.retained(namespace, RETAINED_LIMIT)

    async def end_retention(self, pool: ObjectRef, address: AddressOrPrefix, *, actor: str) -> ObjectRef | None:
        """Let a kept address go; whose it was, as namespace and key. None: it is not kept."""
        return await self._leases.end_retention(pool, address, actor)

    async def expire(self, run: str) -> Served | None:
        """End leases that are over, at most `EXPIRY_LIMIT` of them: their claims' answers, and what comes free.

        None, and nothing ended, when the store is not in the run that was compared with the cluster.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        said = await self._leases.expire(EXPIRY_LIMIT, "ipam-operator:expiry", run)
        return None if said is None else _served(said, ObjectRef("", ""), {})

    async def renewable(self) -> list[Renewable]:
        """The first `RENEWABLE_LIMIT` leases to be renewed for an object of which less than half is left.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        return await self._leases.renewable(RENEWABLE_LIMIT)

    async def renew(self, leases: Sequence[Renewable]) -> Served:
        """Begin at most `RENEW_LIMIT` leases anew: what their claims are told. Who holds no more is left out.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        return _served(await self._leases.renew(leases), ObjectRef("", ""), {})

    async def keep(self, promises: Sequence[Promise]) -> None:
        """Let no lease end before its claim shows; what the database refuses is logged.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        for first in range(0, len(promises), KEEP_LIMIT):
            await _tolerant(self._leases.keep, promises[first : first + KEEP_LIMIT])

    async def adopt(
        self,
        pool: ObjectRef,
        claims: Sequence[tuple[ClaimRequest, Sequence[AddressOrPrefix]]],
        *,
        gone: Collection[UUID] = (),
    ) -> Served:
        """Take claims' shown addresses into the ledger, where they are free; never renumber.

        Args:
            pool: of all the addresses.
            claims: each with what it shows.
            gone: claims that do not exist any more: what they hold is free for who shows it.

        Returns:
            What became of those that held nothing. Nobody may ask for addresses for those that are `unread`: they
            would get others than they show.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        # What a claim shows of one pool may be half of what it asks for.
        known = {claim.identity.uid: replace(claim, selector=None) for claim, _ in claims}
        looked_at: set[UUID] = set()

        async def ask(some: Sequence[tuple[ClaimRequest, Sequence[AddressOrPrefix]]]) -> Served:
            said = await self._leases.adopt(pool, [claim for claim, _ in some], [shown for _, shown in some], gone)
            looked_at.update(claim.identity.uid for claim, _ in some)
            return _served(said, pool, known)

        parts = [claims[first : first + ADOPT_LIMIT] for first in range(0, len(claims), ADOPT_LIMIT)]
        said = [served for part in parts for served in await _tolerant(ask, part)]
        return replace(_joined(said), unread=frozenset(known) - looked_at)


async def _tolerant(ask: Callable[[Sequence[T]], Awaitable[R]], some: Sequence[T]) -> list[R]:
    """Ask for all at once; if the database refuses that, in halves, down to the single ones that it still refuses."""
    try:
        return [await ask(some)]
    except StoreFaultError:
        if len(some) == 1:
            _log.exception("the store refuses %s", some[0])
            return []
    half = len(some) // 2
    return [*await _tolerant(ask, some[:half]), *await _tolerant(ask, some[half:])]


def _joined(parts: Sequence[Served]) -> Served:
    return Served(
        tuple(outcome for served in parts for outcome in served.outcomes),
        tuple(due for served in parts for due in served.due),
    )


def _served(said: Answers, pool: ObjectRef, known: Mapping[UUID, ClaimRequest]) -> Served:
    outcomes = [_outcome(answer, pool, known) for answer in said.answers]
    return Served(tuple(one for one in outcomes if one is not None), said.due, said.untold)


def _outcome(answer: Answer, pool: ObjectRef, known: Mapping[UUID, ClaimRequest]) -> ClaimOutcome | None:
    request = known.get(answer.uid)
    identity: Identity | None = request.identity if request is not None else answer.identity
    if identity is None:
        return None
    if request is None:
        return wording.outcome(answer, identity, pool)
    dual = request.selector is not None and request.selector.dual
    return wording.outcome(answer, identity, pool, count=request.count, dual=dual)

"""Networks and pools: check against their neighbours, then write, in one transaction each.

A refused edit changes nothing: the last accepted spec keeps serving.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from ipam_operator.domain import layout, refusals, wording
from ipam_operator.domain.model import Identity, NetworkRequest, ObjectRef, PoolRequest
from ipam_operator.domain.outcome import Accepted, Held, Refused, Removed
from ipam_operator.net.ranges import Range
from ipam_operator.store.database import Connection, ConstraintError
from ipam_operator.store.parents import KnownPool, Parents, Placed, StoredNetwork
from ipam_operator.store.rates import Rates

_TRIES: Final = 3
"""A constraint that refuses what our checks allowed means a neighbour that came meanwhile: look once more."""

Decision = Callable[[Connection], Awaitable[tuple[Accepted | Refused, bool]]]


class Networks:
    """IPNetworks."""

    def __init__(self, parents: Parents, rates: Rates | None = None) -> None:
        self._parents, self._rates = parents, rates

    async def apply(self, request: NetworkRequest) -> Accepted | Refused:
        """Bring the network's newest spec into service, or say why not.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        return await _decide(self._parents, "network", lambda tx: self._apply(tx, request))

    async def refuse(self, refused: Refused) -> None:
        """Remember that the object's own spec is no good, unless an earlier spec of it serves."""
        await _remember(self._parents, "network", refused)

    async def retire(self, subject: Identity) -> Removed | Held:
        """Take the network out of service unless pools hold it.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        return await self._parents.retire("network", subject)

    async def _apply(self, tx: Connection, request: NetworkRequest) -> tuple[Accepted | Refused, bool]:
        parents, subject = self._parents, request.identity
        there = await parents.network(tx, subject.ref)
        if there is not None and there.identity.uid != subject.uid:
            # A namesake whose deletion never reached us.
            gone = await parents.retire_within(tx, "network", there.identity)
            if not isinstance(gone, Held):
                there = None
            elif there.facts.cidr == request.cidr and there.space_id == await _space(parents, tx, request):
                # The cluster was made anew, and what leases hang on comes again.
                await parents.inherit(tx, "network", there.id, subject)
            else:
                return refusals.namesake(subject, gone), False
        if there is not None and there.facts.cidr != request.cidr:
            return refusals.immutable(subject, "spec.cidr", str(there.facts.cidr)), True
        space = await _space(parents, tx, request)
        if there is not None and there.space_id != space:
            return refusals.immutable(subject, "spec.vrf", "as it was"), True
        neighbours = await parents.overlapping(tx, space, 0, [Range.of(request.cidr)], subject.uid)
        if neighbours:
            return refusals.overlap(subject, [(n.kind, n.ref, n.taken) for n in neighbours]), there is not None
        if there is None:
            limited = None if self._rates is None else await self._rates.create_network(tx, subject)
            if limited is not None:
                return wording.rate_limited(subject, limited), False
            await parents.put_network(tx, request)
            return Accepted(subject), True
        return await self._replace(tx, request, there)

    async def _replace(
        self, tx: Connection, request: NetworkRequest, there: StoredNetwork
    ) -> tuple[Accepted | Refused, bool]:
        facts = layout.NetworkFacts(request.cidr, request.gateway, request.reserved)
        pools = [(pool, _place(there.id, facts, pool.request)) for pool in await self._parents.pools_of(tx, there)]
        for pool, placed in pools:
            refused = await _shrinks(self._parents, tx, request.identity, pool.id, placed, request.gateway)
            if refused is not None:
                return refused, True
        await self._parents.put_network(tx, request)
        for pool, placed in pools:
            await self._parents.put_pool(tx, pool.request, placed)
        return Accepted(request.identity), True


class Pools:
    """IPPools."""

    def __init__(self, parents: Parents) -> None:
        self._parents = parents

    async def apply(self, request: PoolRequest) -> Accepted | Refused:
        """Bring the pool's newest spec into service, or say why not.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        return await _decide(self._parents, "pool", lambda tx: self._apply(tx, request))

    async def refuse(self, refused: Refused) -> None:
        """Remember that the object's own spec is no good, unless an earlier spec of it serves."""
        await _remember(self._parents, "pool", refused)

    async def retire(self, subject: Identity) -> Removed | Held:
        """Take the pool out of service unless leases hold it; cooling addresses do not.

        Raises:
            StoreUnavailableError: ask again later, it is safe.
        """
        return await self._parents.retire("pool", subject)

    async def _apply(self, tx: Connection, request: PoolRequest) -> tuple[Accepted | Refused, bool]:
        parents, subject = self._parents, request.identity
        network = await parents.network(tx, request.network)
        if network is None:
            refusal = await parents.refusal(tx, "network", request.network)
            return refusals.no_network(subject, request.network, refusal), False
        there = await parents.pool(tx, subject.ref)
        if there is not None and there.uid != subject.uid:
            same = there.network_id == network.id and there.of_prefixes == (request.prefixes is not None)
            held = await self._replace(tx, there, subject, same=same)
            if held is not None:
                return refusals.namesake(subject, held), False
            there = await parents.pool(tx, subject.ref)
        if there is not None and there.network_id != network.id:
            return refusals.immutable(subject, "spec.networkRef", "as it was"), True
        if there is not None and there.of_prefixes != (request.prefixes is not None):
            return refusals.immutable(subject, "spec.prefixes", "set" if there.of_prefixes else "unset"), True
        refused = refusals.misplaced(subject, network.facts, request)
        if refused is None:
            placed = _place(network.id, network.facts, request)
            taken = await parents.overlapping(tx, network.space_id, network.id, placed.parts, subject.uid)
            if taken:
                refused = refusals.overlap(subject, [(n.kind, n.ref, n.taken) for n in taken])
            elif there is not None:
                refused = await _shrinks(parents, tx, subject, there.id, placed, network.facts.gateway)
        if refused is not None:
            return refused, there is not None
        await parents.put_pool(tx, request, placed)
        return Accepted(subject), True

    async def _replace(self, tx: Connection, there: KnownPool, heir: Identity, *, same: bool) -> Held | None:
        """A namesake whose deletion never reached us goes, or what leases hang on is the heir's; else who they are."""
        gone = await self._parents.retire_within(tx, "pool", Identity(there.uid, heir.ref, 0))
        if isinstance(gone, Held) and not same:
            return gone
        if isinstance(gone, Held):
            await self._parents.inherit(tx, "pool", there.id, heir)
        return None


async def _space(parents: Parents, tx: Connection, request: NetworkRequest) -> int:
    return await parents.space_id(tx, request.identity.ref.namespace, request.vrf)


def _place(network_id: int, facts: layout.NetworkFacts, pool: PoolRequest) -> Placed:
    effective = layout.effective_ranges(facts, pool.ranges, pool.exclude, pool.type, prefixes=pool.prefixes is not None)
    return Placed(network_id, layout.parts(facts, pool.ranges), effective)


async def _shrinks(  # noqa: PLR0913, PLR0917 - one question about one pool
    parents: Parents, tx: Connection, subject: Identity, pool_id: int, placed: Placed, gateway: object
) -> Refused | None:
    outsiders = await parents.held_outside(tx, pool_id, placed.effective)
    return refusals.shrink(subject, outsiders.total, outsiders.sample, gateway) if outsiders.total else None


async def _decide(parents: Parents, kind: str, decision: Decision) -> Accepted | Refused:
    for attempt in range(_TRIES):
        try:
            outcome, serving = await parents.database.transaction(f"apply_{kind}", decision)
            break
        except ConstraintError:
            if attempt + 1 == _TRIES:
                raise
    if isinstance(outcome, Refused) and not serving:
        await parents.remember_refusal(kind, outcome)
    return outcome


async def _remember(parents: Parents, kind: str, refused: Refused) -> None:
    async def serves(tx: Connection) -> bool:
        ref: ObjectRef = refused.subject.ref
        return (await (parents.network(tx, ref) if kind == "network" else parents.pool(tx, ref))) is not None

    if not await parents.database.transaction(f"refuse_{kind}", serves):
        await parents.remember_refusal(kind, refused)

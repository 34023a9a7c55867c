"""Token buckets in front of the ledger: who may ask for something new now, and who waits for a token."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from ipam_operator import telemetry
from ipam_operator.domain import rates
from ipam_operator.domain.answers import Answer, AnswerKind, Due
from ipam_operator.domain.model import ClaimRequest, Identity, ObjectRef, Release
from ipam_operator.domain.rates import Limits, Operation
from ipam_operator.store.database import Connection, Database, Row
from ipam_operator.store.leases import Answers, Leases

TURNS_LIMIT = 100
"""Objects of all lines that one statement calls."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One that waits in a line, and the seconds (the database's clock) until it may go on; 0: now."""

    uid: UUID
    ref: ObjectRef
    operation: Operation
    seconds: float


class Rates:
    """Limits per namespace and operation, in front of `leases`. Whoever has to wait stands in the store, in a line.

    Each call is one transaction, which holds the rows of the buckets that it needs: nobody spends a token twice.
    """

    def __init__(self, database: Database, leases: Leases, limits: Limits) -> None:
        self._database, self._leases = database, leases
        self._limits = _written(limits)

    async def allocate(self, pool: ObjectRef, claims: Sequence[ClaimRequest]) -> Answers:
        """As `Leases.allocate`; who has to wait for a token is answered `RateLimited` and asks the pool nothing.

        Raises:
            StoreUnavailableError, StoreFaultError: see `Database.transaction`; nothing happened, or all of it.
        """

        async def work(tx: Connection) -> tuple[Answers, list[Row]]:
            asked = [(claim.identity, rates.operation(claim)) for claim in claims]
            admitted, limited = await self._admit(tx, asked)
            late = {row["uid"] for row in limited}
            said = Answers((), ())
            if len(late) < len(claims):
                some = [claim for claim in claims if claim.identity.uid not in late]
                said = await self._leases.within(tx).allocate(pool, some)
            await self._settle(tx, [one for one, _ in asked], admitted, limited)
            return said, limited

        said, limited = await self._database.transaction("allocate_limited", work)
        _count((claim.identity for claim in claims), limited)
        waiting = [Answer(row["uid"], AnswerKind.RATE_LIMITED, facts=_facts(row)) for row in limited]
        return Answers((*said.answers, *waiting), said.due)

    async def release(self, pools: Sequence[ObjectRef], releases: Sequence[Release]) -> tuple[Due, ...]:
        """As `Leases.release`, and counted."""
        uids = [release.uid for release in releases]

        async def work(tx: Connection) -> tuple[tuple[Due, ...], list[Row]]:
            over = await tx.rows("rate_meter", self._limits, uids)
            due = await self._leases.within(tx).release(pools, releases)
            await tx.rows("rate_leave", uids)
            return due, over

        due, over = await self._database.transaction("release_limited", work)
        for row in over:
            telemetry.rate_limited.labels(row["namespace"], Operation.RELEASE.value).inc(row["over"])
        return due

    async def create_network(self, tx: Connection, subject: Identity) -> Mapping[str, Any] | None:
        """A step of the transaction that creates a network, the last one that can fail: None, and it has paid.

        Otherwise what `wording.rate_limited` is made of, and the network waits. It costs nothing before the store is
        compared with the cluster: those that come back then were paid for in another life of the store.
        """
        if not await tx.value("is_compared"):
            return None
        admitted, limited = await self._admit(tx, [(subject, Operation.NETWORK)])
        await self._settle(tx, [subject], admitted, limited)
        _count([subject], limited)
        return _facts(limited[0]) if limited else None

    async def turns(self) -> list[Turn]:
        """Whose turn has come, at most `TURNS_LIMIT`; and, of each line, who is the next and when."""
        return [
            Turn(row["uid"], ObjectRef(row["namespace"], row["name"]), Operation(row["operation"]), row["seconds"])
            for row in await self._database.rows("rate_turns", self._limits, TURNS_LIMIT)
        ]

    async def leave(self, uids: Sequence[UUID]) -> None:
        """These do not wait any more."""
        await self._database.rows("rate_leave", list(uids))

    async def put(self, annotations: Mapping[str, str | None], *, whole: bool) -> None:
        """What namespaces say of their limits; None: nothing. `whole`: these are all namespaces that there are."""
        changes = {
            name: None if text is None else _override(text)
            for name, text in annotations.items()
            if text is not None or not whole
        }
        await self._database.rows("put_rates", self._limits, json.dumps(changes), whole)

    async def _admit(
        self, tx: Connection, asked: Sequence[tuple[Identity, Operation | None]]
    ) -> tuple[list[Row], list[Row]]:
        rows = await tx.rows(
            "rate_admit",
            self._limits,
            [one.uid for one, _ in asked],
            [one.ref.namespace for one, _ in asked],
            [operation for _, operation in asked],
        )
        return [row for row in rows if row["retry_at"] is None], [row for row in rows if row["retry_at"] is not None]

    async def _settle(
        self, tx: Connection, asked: Iterable[Identity], admitted: Sequence[Row], limited: Sequence[Row]
    ) -> None:
        if not admitted and not limited:
            return
        refs = {one.uid: one.ref for one in asked}
        await tx.rows(
            "rate_settle",
            self._limits,
            [row["uid"] for row in admitted],
            [refs[row["uid"]].namespace for row in admitted],
            [row["operation"] for row in admitted],
            [row["uid"] for row in limited],
            [refs[row["uid"]].namespace for row in limited],
            [row["operation"] for row in limited],
            [refs[row["uid"]].name for row in limited],
        )


def _count(asked: Iterable[Identity], limited: Sequence[Row]) -> None:
    namespaces = {one.uid: one.ref.namespace for one in asked}
    for row in limited:
        if not row["waits"]:
            telemetry.rate_limited.labels(namespaces[row["uid"]], row["operation"]).inc()


def _facts(row: Row) -> Mapping[str, Any]:
    return {name: row[name] for name in ("operation", "place", "retry_at", "per_hour", "burst", "fault")}


def _written(limits: Limits) -> str:
    return json.dumps(
        {
            operation.value: {} if limit is None else {"perHour": limit.per_hour, "burst": limit.burst}
            for operation, limit in limits.items()
        }
    )


def _override(text: str) -> Mapping[str, Any]:
    try:
        return {"limits": json.loads(_written(rates.parse(text))), "fault": None}
    except ValueError as error:
        return {"limits": {}, "fault": str(error)}

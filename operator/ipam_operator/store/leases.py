"""Leases and the queue in front of them: each call is one statement for a batch."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain
from typing import Any
from uuid import UUID

from ipam_operator.domain.answers import Answer, AnswerKind, Due, Untold
from ipam_operator.domain.model import (
    ClaimRequest,
    Identity,
    ObjectRef,
    Promise,
    Release,
    Renewable,
    ResourceRef,
    Retained,
    Term,
)
from ipam_operator.domain.outcome import Block
from ipam_operator.net.cidr import AddressOrPrefix
from ipam_operator.store.database import Connection, Database, Row
from ipam_operator.store.inet import as_address_or_prefix, as_prefix

RETENTION = timedelta(days=30)
"""So long the addresses of a claim are kept that wants them retained, unless the settings say otherwise."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What one statement said."""

    answers: tuple[Answer, ...]
    due: tuple[Due, ...]
    untold: tuple[Untold, ...] = ()


class Leases:
    """The ledger as the services see it."""

    def __init__(self, database: Database | Connection, *, retention: timedelta = RETENTION) -> None:
        self._database, self._retention = database, retention

    def within(self, tx: Connection) -> "Leases":
        """The same, as steps of a transaction."""
        return Leases(tx, retention=self._retention)

    async def allocate(self, pool: ObjectRef, claims: Sequence[ClaimRequest]) -> Answers:
        """Answer claims of one pool, or of one selector, which have distinct UIDs; idempotent by UID.

        Raises:
            StoreUnavailableError, StoreFaultError: see `Database.rows`; nothing of the batch happened, or all of it.
        """
        selector = claims[0].selector if claims else None
        if selector is None:
            return _read(await self._database.rows("allocate", pool.namespace, pool.name, *_asked(claims)))
        meaning = (
            selector.tenant,
            json.dumps(dict(selector.labels)),
            selector.type,
            selector.network,
            selector.family,
            selector.length,
            selector.dual,
        )
        return _read(
            await self._database.rows("allocate_selected", pool.namespace, pool.name, *meaning, *_asked(claims))
        )

    async def serve(self, pool: ObjectRef, limit: int, *, tell: bool) -> Answers:
        """Bind at most `limit` of the claims that wait for the pool, in order of arrival.

        With `tell`, and a pool that is out of service, those that wait are answered anew.
        """
        return _read(await self._database.rows("serve", pool.namespace, pool.name, limit, tell))

    async def told(self, changes: Sequence[Untold]) -> None:
        """Forget these changes, but for those that others have followed since."""
        await self._database.rows(
            "told",
            [one.place.namespace for one in changes],
            [one.place.name for one in changes],
            [one.change for one in changes],
        )

    async def first_in_line(self, pool: ObjectRef, limit: int) -> Answers:
        """How the first `limit` claims of each queue stand that the pool serves."""
        return _read(await self._database.rows("first_in_line", pool.namespace, pool.name, limit))

    async def release(self, pools: Iterable[ObjectRef], releases: Sequence[Release]) -> tuple[Due, ...]:
        """End claims, all of them for the same `deleted`; `pools` are those that they may be in the queue of."""
        pools = sorted(set(pools))
        rows = await self._database.rows(
            "release",
            [pool.namespace for pool in pools],
            [pool.name for pool in pools],
            [release.uid for release in releases],
            [release.lease_generation for release in releases],
            [release.actor for release in releases],
            all(release.deleted for release in releases),
            self._retention or None,
            [release.retain for release in releases],
        )
        return _read(rows).due

    async def retained(self, namespace: str | None, limit: int) -> list[Retained]:
        """At most `limit` addresses that are kept for claims of the namespace, or of all."""
        return [
            Retained(
                row["namespace"],
                row["key"],
                row["name"],
                ObjectRef(row["pool_namespace"], row["pool"]),
                as_address_or_prefix(row["addr"]),
                row["until"],
            )
            for row in await self._database.rows("retained", namespace, limit)
        ]

    async def end_retention(self, pool: ObjectRef, address: AddressOrPrefix, actor: str) -> ObjectRef | None:
        """Let a kept address go; whose it was, as namespace and key. None: it is not kept."""
        rows = await self._database.rows("end_retention", pool.namespace, pool.name, address, actor)
        return ObjectRef(rows[0]["namespace"], rows[0]["key"]) if rows else None

    async def expire(self, limit: int, actor: str, run: str) -> Answers | None:
        """End at most `limit` claims' terms that are over, the longest due first.

        None, and nothing done, when the store's run (`Ownership.run`) is not `run`.
        """
        rows = await self._database.rows("expire", limit, actor, run)
        return None if rows and rows[0]["outcome"] == "Uncompared" else _read(rows)

    async def renewable(self, limit: int) -> list[Renewable]:
        """At most `limit` leases that are to be renewed for an object, and of which less than half is left."""
        return [
            Renewable(
                Identity(row["claim_uid"], ObjectRef(row["namespace"], row["name"]), 0),
                row["generation"],
                ResourceRef.read(row["resource"]),
                row["expires_at"],
            )
            for row in await self._database.rows("renewable", limit)
        ]

    async def renew(self, leases: Sequence[Renewable]) -> Answers:
        """Begin these leases anew, as far as they have not ended and are to be renewed still."""
        uids = [lease.claim.uid for lease in leases]
        return _read(await self._database.rows("renew", uids, [lease.lease_generation for lease in leases]))

    async def keep(self, promises: Sequence[Promise]) -> None:
        """Let no term of these claims, which have distinct UIDs, end before they show."""
        terms = [promise.term or Term() for promise in promises]
        await self._database.rows(
            "keep_terms",
            [promise.uid for promise in promises],
            [promise.generation for promise in promises],
            [promise.until for promise in promises],
            [promise.term is not None for promise in promises],
            [term.lease for term in terms],
            [term.renewed_at for term in terms],
            [term.reserved for term in terms],
        )

    async def adopt(
        self,
        pool: ObjectRef,
        claims: Sequence[ClaimRequest],
        shown: Sequence[Sequence[AddressOrPrefix]],
        gone: Iterable[UUID] = (),
    ) -> Answers:
        """Give each claim the very addresses that it shows, if all are free in the pool, cool, or `gone` hold them."""
        rows = await self._database.rows(
            "adopt",
            pool.namespace,
            pool.name,
            *_identities(claim.identity for claim in claims),
            [claim.actor for claim in claims],
            [k for k, addresses in enumerate(shown, 1) for _ in addresses],
            list(chain.from_iterable(shown)),
            list(gone),
        )
        return _read(rows)


def _asked(claims: Sequence[ClaimRequest]) -> tuple[Any, ...]:
    leases, renewals, reserves = _terms(claims)
    details = [claim.detail for claim in claims]
    some = any(detail is not None for detail in details)
    used = any(detail is not None and detail.resource is not None for detail in details)
    wishes = [claim.wanted for claim in claims]
    return (
        *_identities(claim.identity for claim in claims),
        [claim.count for claim in claims],
        wishes if any(wish is not None for wish in wishes) else None,
        [claim.actor for claim in claims],
        [detail and detail.hostname for detail in details] if some else None,
        [detail and detail.assigned_to for detail in details] if some else None,
        [detail and detail.description for detail in details] if some else None,
        [detail and detail.sticky_key for detail in details] if some else None,
        leases,
        renewals,
        [detail and detail.priority for detail in details] if some else None,
        [(detail and detail.mac) or None for detail in details] if any(d and d.mac for d in details) else None,
        [detail and detail.retain for detail in details] if some else None,
        reserves,
        [claim.reservation or None for claim in claims] if any(claim.reservation for claim in claims) else None,
        [claim.length for claim in claims] if any(claim.length is not None for claim in claims) else None,
        [claim.edited for claim in claims] if any(claim.edited for claim in claims) else None,
        [str(detail.resource) if detail and detail.resource else None for detail in details] if used else None,
        [detail and detail.auto_renew for detail in details] if used else None,
    )


def _terms(claims: Sequence[ClaimRequest]) -> tuple[list[Any], list[Any], list[bool]] | tuple[None, None, None]:
    if all(claim.term is None for claim in claims):
        return None, None, None
    terms = [claim.term or Term() for claim in claims]
    return [term.lease for term in terms], [term.renewed_at for term in terms], [term.reserved for term in terms]


def _identities(identities: Iterable[Identity]) -> tuple[list[Any], list[int], list[str], list[str]]:
    known = list(identities)
    return (
        [one.uid for one in known],
        [one.generation for one in known],
        [one.ref.namespace for one in known],
        [one.ref.name for one in known],
    )


def _read(rows: Iterable[Row]) -> Answers:
    answers: list[Answer] = []
    due, untold = [], []
    notes: defaultdict[Any, dict[str, Any]] = defaultdict(dict)
    for row in rows:
        if row["outcome"] == "Note":
            notes[row["claim_uid"]] |= json.loads(row["info"])
        elif row["outcome"] == "Due":
            seconds = float(json.loads(row["info"])["seconds"])
            due.append(Due(ObjectRef(row["namespace"], row["name"]), seconds))
        elif row["outcome"] == "Untold":
            change = int(json.loads(row["info"])["change"])
            untold.append(Untold(ObjectRef(row["namespace"], row["name"]), change))
        else:
            answers.append(_answer(row, notes[row["claim_uid"]]))
    return Answers(tuple(_paired(answers)), tuple(due), tuple(untold))


def _paired(answers: Iterable[Answer]) -> Iterable[Answer]:
    """Grants of two families, which are two rows, as one."""
    found: dict[tuple[UUID, AnswerKind, int], Answer] = {}
    for answer in answers:
        family = answer.block.family if answer.block is not None else 0
        other = found.pop((answer.uid, answer.kind, 10 - family), None)
        if other is None:
            found[answer.uid, answer.kind, family] = answer
        else:
            first, second = (other, answer) if family == 6 else (answer, other)
            # When the lease ends is known when both are there.
            end = {name: value for name, value in answer.facts.items() if name == "expiresAt"}
            found[answer.uid, answer.kind, 0] = replace(first, second=second, facts={**first.facts, **end})
    return found.values()


def _answer(row: Row, noted: dict[str, Any]) -> Answer:
    uid, kind, addresses, generation, at, namespace, name, spec, position, prefix, gateway, dns, info = row
    identity = None if spec is None else Identity(uid, ObjectRef(namespace, name), spec)
    facts = noted | (json.loads(info) if info is not None else {})
    if addresses is None:
        return Answer(uid, AnswerKind(kind), identity=identity, queue_position=position, facts=facts)
    held: tuple[AddressOrPrefix, ...] = tuple(addresses)
    if facts.get("prefixes"):
        prefixes = tuple(as_prefix(address) for address in addresses)
        held, prefix, gateway = prefixes, prefixes[0].prefixlen, None
    block = Block(held[0].version, prefix, gateway, tuple(dns))
    return Answer(uid, AnswerKind(kind), held, generation, at, identity, block=block, facts=facts)

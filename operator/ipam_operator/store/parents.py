"""Networks and pools in the store. Methods that take a `Connection` are steps of one transaction."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from ipam_operator.domain.layout import NetworkFacts
from ipam_operator.domain.model import (
    Consent,
    Fit,
    Identity,
    NetworkRequest,
    ObjectRef,
    PoolRequest,
    Prefixes,
    Strategy,
)
from ipam_operator.domain.outcome import Held, Refused, Removed
from ipam_operator.net.cidr import Address, AddressOrPrefix
from ipam_operator.net.ranges import Range
from ipam_operator.store.database import Connection, Database, Row
from ipam_operator.store.inet import as_address_or_prefix

_SHOWN = 5
"""Holders, conflicts and overlaps named in one message; the total is always given."""


@dataclass(frozen=True, slots=True)
class StoredNetwork:
    """A network in service."""

    id: int
    identity: Identity
    space_id: int
    facts: NetworkFacts


@dataclass(frozen=True, slots=True)
class StoredPool:
    """A pool in service, as last accepted."""

    id: int
    request: PoolRequest


@dataclass(frozen=True, slots=True)
class KnownPool:
    """What of a pool cannot change."""

    id: int
    uid: UUID
    network_id: int
    of_prefixes: bool


@dataclass(frozen=True, slots=True)
class Outsiders:
    """Held addresses that a change would leave outside: a bounded sample of `total`."""

    total: int
    sample: tuple[tuple[AddressOrPrefix, ObjectRef], ...]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What takes space that somebody else asks for."""

    kind: str
    """`network` or `pool`."""
    ref: ObjectRef
    taken: Range


@dataclass(frozen=True, slots=True)
class Placed:
    """A pool's place: the parts it takes from its network, and what of them it may hand out."""

    network_id: int
    parts: tuple[Range, ...]
    effective: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """Which version of an object the store has."""

    kind: str
    """The plural: `ipnetworks` or `ippools`."""
    identity: Identity
    labels: Mapping[str, str]


class Parents:
    """Networks and pools."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def network(self, tx: Connection, ref: ObjectRef) -> StoredNetwork | None:
        """The network in service under this name, locked until the transaction ends."""
        for row in await tx.rows("network_by_name", ref.namespace, ref.name):
            facts = NetworkFacts(row["cidr"], row["gateway"], _ranges(row, "reserved"))
            return StoredNetwork(row["id"], Identity(row["uid"], ref, row["generation"]), row["space_id"], facts)
        return None

    async def put_network(self, tx: Connection, request: NetworkRequest) -> int:
        """Write the network, and its part of the address space when it is new; returns its id."""
        ref = request.identity.ref
        network_id = await tx.value(
            "put_network", request.identity.uid, ref.namespace, ref.name, request.identity.generation, request.vrf,
            request.cidr, request.type, request.gateway, list(request.dns_servers), *_bounds(request.reserved),
        )  # fmt: skip
        return int(network_id)

    async def space_id(self, tx: Connection, namespace: str, vrf: str) -> int:
        """The id of the address space, made when it is new."""
        return int(await tx.value("address_space_id", namespace, vrf))

    async def pool(self, tx: Connection, ref: ObjectRef) -> KnownPool | None:
        """The pool of this name, locked until the transaction ends."""
        await tx.rows("lock_namespace", ref.namespace)
        for row in await tx.rows("pool_by_name", ref.namespace, ref.name):
            return KnownPool(row["id"], row["uid"], row["network_id"], row["of_prefixes"])
        return None

    async def pools_of(self, tx: Connection, network: StoredNetwork) -> list[StoredPool]:
        """The network's pools, locked until the transaction ends."""
        await tx.rows("lock_namespace", network.identity.ref.namespace)
        rows = await tx.rows("pools_of_network", network.id)
        return [StoredPool(row["id"], _pool_request(row, network.identity.ref)) for row in rows]

    async def put_pool(self, tx: Connection, request: PoolRequest, placed: Placed) -> None:
        """Write the pool; its free ranges follow from its effective ranges and the ledger."""
        ref = request.identity.ref
        await tx.value(
            "put_pool", request.identity.uid, ref.namespace, ref.name, request.identity.generation, placed.network_id,
            request.type, request.strategy.value if request.prefixes is None else request.prefixes.fit.value,
            request.cool_down, request.default_lease, request.max_lease,
            request.paused, *_bounds(request.ranges), *_bounds(request.exclude), *_bounds(placed.parts),
            *_bounds(placed.effective), json.dumps(dict(request.labels)), request.priority, request.allowed.source,
            json.dumps(request.allowed.selector), request.quota,
            None if request.prefixes is None else list(request.prefixes.lengths),
            None if request.prefixes is None else request.prefixes.default,
        )  # fmt: skip

    async def held_outside(self, tx: Connection, pool_id: int, effective: Sequence[Range]) -> Outsiders:
        """Addresses of the pool that are held and not in `effective`."""
        rows = await tx.rows("held_outside", pool_id, *_bounds(effective), _SHOWN)
        sample = tuple((as_address_or_prefix(row["addr"]), ObjectRef(row["namespace"], row["name"])) for row in rows)
        return Outsiders(rows[0]["total"] if rows else 0, sample)

    async def overlapping(
        self, tx: Connection, space_id: int, parent_id: int, asked: Sequence[Range], own: UUID
    ) -> list[Neighbour]:
        """Who else has parts of what is asked for, below the same parent (0: none)."""
        rows = await tx.rows("overlapping", space_id, parent_id, *_bounds(asked), own)
        return [
            Neighbour(row["kind"], ObjectRef(row["namespace"], row["name"]), Range(row["lo"], row["hi"]))
            for row in rows
        ]

    async def refusal(self, tx: Connection, kind: str, ref: ObjectRef) -> tuple[str, str] | None:
        """Reason and message of an object that is not in service."""
        for row in await tx.rows("refusal", kind, ref.namespace, ref.name):
            return row["reason"], row["message"]
        return None

    async def remember_refusal(self, kind: str, refused: Refused) -> None:
        """Keep why an object is not in service, for those who ask for it."""
        ref = refused.subject.ref
        await self.database.value(
            "remember_refusal", kind, ref.namespace, ref.name, refused.subject.uid, refused.reason.value,
            refused.message,
        )  # fmt: skip

    async def retire(self, kind: str, subject: Identity) -> Removed | Held:
        """Take a `network` or `pool` out of service, unless it is held."""
        arguments = (subject.uid, subject.ref.namespace, subject.ref.name, _SHOWN)
        return _retired(subject, await self.database.rows(f"retire_{kind}", *arguments))

    async def retire_within(self, tx: Connection, kind: str, subject: Identity) -> Removed | Held:
        """The same, as a step of a transaction."""
        arguments = (subject.uid, subject.ref.namespace, subject.ref.name, _SHOWN)
        return _retired(subject, await tx.rows(f"retire_{kind}", *arguments))

    async def inherit(self, tx: Connection, kind: str, its_id: int, heir: Identity) -> None:
        """Let what is in service under this id, and all that hangs on it, be the heir's: of the same name."""
        await tx.rows(f"inherit_{kind}", heir.uid, its_id)

    async def known(self) -> list[Known]:
        """Every network and pool that is in service."""
        rows = await self.database.rows("parents_in_store")
        return [
            Known(
                row["kind"],
                Identity(row["uid"], ObjectRef(row["namespace"], row["name"]), row["generation"]),
                json.loads(row["labels"]),
            )
            for row in rows
        ]

    async def put_tenants(self, labels: Mapping[str, Mapping[str, str] | None], *, whole: bool) -> list[ObjectRef]:
        """Labels of namespaces; None: it is gone; `whole`: these are all there are.

        Returns the pools that have to be served and told, because somebody is let in or out.
        """
        rows = await self.database.rows("put_tenants", json.dumps(dict(labels)), whole)
        return [ObjectRef(row["namespace"], row["name"]) for row in rows]


def _retired(subject: Identity, rows: list[Row]) -> Removed | Held:
    if not rows:
        return Removed(subject)
    return Held(subject, rows[0]["total"], tuple(ObjectRef(row["namespace"], row["name"]) for row in rows))


def _bounds(ranges: Sequence[Range]) -> tuple[list[Address], list[Address]]:
    return [one.first for one in ranges], [one.last for one in ranges]


def _ranges(row: Row, name: str) -> tuple[Range, ...]:
    return tuple(Range(lo, hi) for lo, hi in zip(row[f"{name}_lo"], row[f"{name}_hi"], strict=True))


def _pool_request(row: Row, network: ObjectRef) -> PoolRequest:
    lengths = row["prefix_lengths"]
    prefixes = None if lengths is None else Prefixes(tuple(lengths), row["default_length"], Fit(row["strategy"]))
    return PoolRequest(
        Identity(row["uid"], ObjectRef(row["namespace"], row["name"]), row["generation"]),
        network,
        row["type"],
        _ranges(row, "asked"),
        _ranges(row, "exclude"),
        Strategy(row["strategy"]) if prefixes is None else Strategy.FIRST_FREE,
        row["cool_down"],
        row["paused"],
        row["default_lease"],
        row["max_lease"],
        json.loads(row["labels"]),
        row["priority"],
        Consent(row["allowed_from"], json.loads(row["allowed_selector"])),
        row["quota"],
        prefixes,
    )

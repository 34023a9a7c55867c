"""What the store says of claims. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from ipam_operator.domain.model import Identity, ObjectRef
from ipam_operator.domain.outcome import Block, ClaimOutcome
from ipam_operator.net.cidr import AddressOrPrefix


class AnswerKind(StrEnum):
    """What the store says of one claim."""

    NEW = "New"
    HELD = "Held"
    VANISHED = "Vanished"
    EXHAUSTED = "Exhausted"
    QUEUED = "Queued"
    PAUSED = "Paused"
    NOT_FOUND = "NotFound"
    CONFLICT = "Conflict"
    MAC_CONFLICT = "MacConflict"
    OUTSIDE = "Outside"
    EXPIRED = "Expired"
    FORBIDDEN = "Forbidden"
    OVER_QUOTA = "OverQuota"
    AMBIGUOUS = "Ambiguous"
    UNMATCHED = "Unmatched"
    UNRESERVED = "Unreserved"
    MISFIT = "Misfit"
    RATE_LIMITED = "RateLimited"


@dataclass(frozen=True, slots=True)
class Answer:
    """The store's answer to one claim; `facts` are what a refusal's message is made of."""

    uid: UUID
    kind: AnswerKind
    addresses: tuple[AddressOrPrefix, ...] = ()
    lease_generation: int = 0
    allocated_at: datetime | None = None
    identity: Identity | None = None
    """Only for claims that waited: the caller knows the others."""
    queue_position: int | None = None
    block: Block | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    second: "Answer | None" = None
    """Of the same grant, what is of IPv6, where this is what is of IPv4."""


@dataclass(frozen=True, slots=True)
class Due:
    """The next address that somebody waits for in `pool` has cooled in `seconds` (the database's clock)."""

    pool: ObjectRef
    seconds: float


@dataclass(frozen=True, slots=True)
class Untold:
    """A change that those who wait at a place have to be told, and the store remembers until they are."""

    place: ObjectRef
    """A pool, or what a selector's queue is named."""
    change: int


@dataclass(frozen=True, slots=True)
class Served:
    """Outcomes, also of claims that waited; and when to look at which pool again."""

    outcomes: tuple[ClaimOutcome, ...]
    due: tuple[Due, ...] = ()
    untold: tuple[Untold, ...] = ()
    unread: frozenset[UUID] = frozenset()
    """Claims that the database refused to look at: whatever they hold, nobody knows now."""

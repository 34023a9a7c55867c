"""How often a namespace may ask for something new. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ipam_operator.domain.model import ClaimRequest

ANNOTATION: Final = "ipam.dotmac.io/rate-limits"
"""Of a Namespace: what its limits are instead of those in the settings."""
LIMIT: Final = 1_000_000
"""The highest number of a limit."""
FORM: Final = (
    "operation=per hour/burst or operation=unlimited, separated by commas, such as allocate=200/20,bulk=unlimited"
)
_ENTRY: Final = re.compile(r"([a-z]+)=(?:([0-9]{1,7})/([0-9]{1,7})|unlimited)")


class Operation(StrEnum):
    """What has a bucket of its own in each namespace."""

    ALLOCATE = "allocate"
    """A claim for one address."""
    NETWORK = "network"
    """A network that is created."""
    BULK = "bulk"
    """A claim for several addresses."""
    RESERVE = "reserve"
    """A claim that reserves one address."""
    RELEASE = "release"
    """The end of a claim: counted, and never held up."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A bucket that holds `burst` tokens at the most and gets `per_hour` of them evenly over an hour."""

    per_hour: int
    burst: int


Limits = Mapping[Operation, Limit | None]
"""None: no limit. What an operation is that is not named depends on where they stand."""


def parse(text: str) -> Limits:
    """Limits as settings and namespaces write them.

    Raises:
        ValueError: saying what is wrong and what would be right.
    """
    found: dict[Operation, Limit | None] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise ValueError(f"{entry[:40]!r} must be {FORM}")
        name, per_hour, burst = match.groups()
        if name not in set(Operation):
            raise ValueError(f"there is no operation {name[:40]!r}, only {', '.join(Operation)}")
        if per_hour is not None and not (0 < int(per_hour) <= LIMIT and 0 < int(burst) <= LIMIT):
            raise ValueError(f"{entry!r} must have numbers from 1 to {LIMIT}")
        if Operation(name) in found:
            raise ValueError(f"{name} stands there twice")
        found[Operation(name)] = None if per_hour is None else Limit(int(per_hour), int(burst))
    return found


def operation(claim: ClaimRequest) -> Operation | None:
    """What a new claim is counted as; None: it takes over what another one was counted for."""
    if claim.reservation:
        return None
    if claim.count > 1:
        return Operation.BULK
    return Operation.RESERVE if claim.term is not None and claim.term.reserved else Operation.ALLOCATE

"""Lists of ranges: their shape, and their way into the domain."""

from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import Field

from ipam_operator.api.fields import Ends
from ipam_operator.api.status import ATOMIC
from ipam_operator.net.cidr import Address
from ipam_operator.net.ranges import Range

RANGES_LIMIT: Final = 64
"""Entries of a list of ranges: far above use, and low enough for the cost that the API server estimates for CEL."""

Ranges = Annotated[list[Ends], Field(max_length=RANGES_LIMIT, json_schema_extra=ATOMIC)]


def to_ranges(field: str, ends: Sequence[tuple[Address, Address]]) -> tuple[Range, ...] | str:
    """The ranges between these ends, or what to change."""
    ranges = []
    for index, (first, last) in enumerate(ends):
        try:
            ranges.append(Range(first, last))
        except ValueError as error:
            return f"spec.{field}[{index}]: {error}"
    return tuple(ranges)

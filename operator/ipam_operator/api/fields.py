"""Field types: what Python reads and what the API server judges, side by side.

CEL rules stand on the leaves, because each one is paid for on every write. `cidr()` and `ip()` fail on junk, so a
message asks `isCIDR` or `isIP` first; `+` on strings exceeds the cost budget, `format` does not.
"""

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field, PlainValidator, WithJsonSchema

from ipam_operator.api.base import Rule
from ipam_operator.net.cidr import Address, Network, parse_address, parse_network
from ipam_operator.net.mac import FORMS, SPELLINGS, UNICAST, parse_mac
from ipam_operator.net.ranges import parse_ends

ADDRESS_LIMIT: Final = 45
"""Characters of the longest spelling of an address, so that it still gets told its canonical one."""
CIDR_LIMIT: Final = ADDRESS_LIMIT + len("/128")
RANGE_LIMIT: Final = 2 * ADDRESS_LIMIT + len("-")
COUNT_LIMIT: Final = 39
"""Decimal digits of 2^128."""
MAX_INTEGER: Final = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 8259 section 6)."""

T = TypeVar("T")


def _text(parse: Callable[[str], T], limit: int) -> PlainValidator:
    def read(value: Any) -> T:
        if not isinstance(value, str):
            raise ValueError("must be a string")  # noqa: TRY004 - pydantic reports ValueError, TypeError escapes
        if len(value) > limit:
            raise ValueError(f"must have at most {limit} characters")
        return parse(value)

    return PlainValidator(read)


def _schema(limit: int, *rules: Rule) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "maxLength": limit, "x-kubernetes-validations": list(rules)})


_ADDRESS_RULE: Final[Rule] = {
    "rule": "isIP(self) && ip.isCanonical(self)",
    "message": "must be a canonical IP address, such as 10.0.0.1 or 2001:db8::1",
    "messageExpression": (
        "isIP(self) ? 'must be written as %s'.format([string(ip(self))])"
        " : 'must be an IP address, such as 10.0.0.1 or 2001:db8::1'"
    ),
}
_CIDR_RULE: Final[Rule] = {
    "rule": "isCIDR(self) && string(cidr(self).masked()) == self",
    "message": "must be a canonical CIDR, such as 10.0.0.0/24 or 2001:db8::/64",
    "messageExpression": (
        "isCIDR(self) ? 'must be written as %s'.format([string(cidr(self).masked())])"
        " : 'must be a CIDR, such as 10.0.0.0/24 or 2001:db8::/64'"
    ),
}
_RANGE_RULE: Final[Rule] = {
    "rule": (
        "self.contains('/') ? isCIDR(self) && string(cidr(self).masked()) == self"
        " : self.split('-').size() <= 2 && self.split('-').all(end, isIP(end) && ip.isCanonical(end))"
        " && ip(self.split('-')[0]).family() == ip(self.split('-')[self.split('-').size() - 1]).family()"
    ),
    "message": "must be an address, a range of one family or a CIDR: 10.0.0.5, 10.0.0.10-10.0.0.20, 2001:db8::/120",
    "messageExpression": (
        "isCIDR(self) ? 'must be written as %s'.format([string(cidr(self).masked())])"
        " : isIP(self) ? 'must be written as %s'.format([string(ip(self))])"
        " : 'must be an address, a range of one family or a CIDR:"
        " 10.0.0.5, 10.0.0.10-10.0.0.20, 2001:db8::/120, each canonical'"
    ),
}
CIDR_STAYS: Final[Rule] = {
    "rule": "self == oldSelf",
    "message": "must stay as it is: make another network instead",
    "messageExpression": "'must stay %s: make another network instead'.format([oldSelf])",
}

IPAddress = Annotated[Address, _text(parse_address, ADDRESS_LIMIT), _schema(ADDRESS_LIMIT, _ADDRESS_RULE)]
"""One canonical address."""

NetworkCIDR = Annotated[Network, _text(parse_network, CIDR_LIMIT), _schema(CIDR_LIMIT, _CIDR_RULE, CIDR_STAYS)]
"""A canonical CIDR that stays as it was created."""

Ends = Annotated[tuple[Address, Address], _text(parse_ends, RANGE_LIMIT), _schema(RANGE_LIMIT, _RANGE_RULE)]
"""The ends of an address, range or CIDR. Which one is lower is for `to_domain`: CEL cannot order addresses."""

_DURATION: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(h|ms|m|s)")
_UNITS: Final = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_DURATION_LIMIT: Final = 16
"""With six digits a number, too short for a sum that overflows Go's int64 of nanoseconds: that would be an error
of the rule instead of an answer of it."""


def _bounded(shortest: timedelta, longest: timedelta, words: str) -> Callable[[str], timedelta]:
    def parse(text: str) -> timedelta:
        parts = list(_DURATION.finditer(text))
        if not parts or "".join(part.group() for part in parts) != text:
            raise ValueError(words)
        total = timedelta(milliseconds=sum(float(part[1]) * _UNITS[part[2]] for part in parts))
        if not shortest <= total <= longest:
            raise ValueError(words)
        return total

    return parse


def _duration_rule(bounds: str, words: str) -> WithJsonSchema:
    shape = r"self.matches('^([0-9]{1,6}([.][0-9]{1,3})?(h|ms|m|s))+$')"
    return _schema(_DURATION_LIMIT, {"rule": f"{shape} && {bounds}", "message": words})


_COOL_DOWN_WORDS: Final = "must be a duration from 0s to 720h, such as 30s, 5m or 1h30m"
_LEASE_WORDS: Final = "must be a duration from 300s to 8760h, such as 30m, 24h or 720h"
parse_duration: Final = _bounded(timedelta(0), timedelta(hours=720), _COOL_DOWN_WORDS)
"""A Go duration, down to milliseconds and up to 30 days; ValueError for all else."""

Duration = Annotated[
    timedelta,
    _text(parse_duration, _DURATION_LIMIT),
    _duration_rule("duration(self) <= duration('720h')", _COOL_DOWN_WORDS),
]
"""A Go duration up to 30 days."""

LeaseDuration = Annotated[
    timedelta,
    _text(_bounded(timedelta(seconds=300), timedelta(hours=8760), _LEASE_WORDS), _DURATION_LIMIT),
    _duration_rule("duration(self) >= duration('300s') && duration(self) <= duration('8760h')", _LEASE_WORDS),
]
"""A Go duration from five minutes to a year."""

_RESERVE_WORDS: Final = "must be from 60s to 24h"
ReserveDuration = Annotated[
    timedelta,
    _text(_bounded(timedelta(seconds=60), timedelta(hours=24), _RESERVE_WORDS), _DURATION_LIMIT),
    _duration_rule("duration(self) >= duration('60s') && duration(self) <= duration('24h')", _RESERVE_WORDS),
]
"""A Go duration from a minute to a day."""

_MOMENT_WORDS: Final = "must be a moment in UTC, such as 2026-01-31T12:00:00Z"
_MOMENT: Final = re.compile("[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,6})?Z")


def parse_moment(text: str) -> datetime:
    """A moment as RFC 3339 has it, in UTC.

    Raises:
        ValueError: anything else.
    """
    if _MOMENT.fullmatch(text) is None:
        raise ValueError(_MOMENT_WORDS)
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(_MOMENT_WORDS) from error


Renewal = Annotated[
    datetime,
    _text(parse_moment, 27),
    # With this format CEL would see a timestamp, which has no text to match.
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 27, "pattern": f"^{_MOMENT.pattern}$"}),
]
"""RFC 3339 in UTC."""


MacAddress = Annotated[
    str,
    _text(parse_mac, 17),
    _schema(
        17,
        {
            "rule": f"self.matches('^({SPELLINGS})$') && self.matches('^.[02468ACEace]') && !self.matches('^[0:.-]*$')",
            "message": FORMS,
            "messageExpression": f"self.matches('^({SPELLINGS})$') ? \"{UNICAST}\" : '{FORMS}'",
        },
    ),
]
"""The MAC address of one interface, in any of four spellings."""


def _matching(pattern: str, words: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(words)
        return text

    return check


def _named(limit: int, pattern: str, words: str) -> tuple[PlainValidator, WithJsonSchema]:
    rule = {"rule": f"self.matches('^{pattern}$')", "message": words}
    return _text(_matching(pattern, words), limit), _schema(limit, rule)


_LABEL: Final = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOSTNAME: Final = _named(
    253, f"{_LABEL}([.]{_LABEL})*", "must be a host name in lower case, such as web-1.example.com"
)
_VRF: Final = _named(
    63,
    "[A-Za-z0-9]([A-Za-z0-9._:-]*[A-Za-z0-9])?",
    "must consist of letters, digits, '.', '_', ':' and '-', such as mpls-blue or 65000:100",
)

Hostname = Annotated[str, _HOSTNAME[0], _HOSTNAME[1]]
"""RFC 1123."""

VRF = Annotated[str, _VRF[0], _VRF[1]]
"""A name or a route distinguisher."""

ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
"""The name of an object of ours. Anything else would wait for ever for an object that cannot be made."""

LABELS_LIMIT: Final = 8
_LABEL_NAME_LIMIT: Final = 317
_LABEL_NAME: Final = "([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?"
LabelKey = Annotated[str, Field(min_length=1, max_length=_LABEL_NAME_LIMIT, pattern=f"^{_LABEL_NAME}$")]
"""The name of a label, as Kubernetes has it: its prefix up to 253 characters, itself up to 63."""
LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$")]


def misnamed(field: str, labels: Iterable[str]) -> str:
    """What to change when a key is no name of a label, for which a structural schema has no words; else ''."""
    for name in labels:
        if len(name) > _LABEL_NAME_LIMIT or re.fullmatch(_LABEL_NAME, name) is None:
            return (
                f"{field}: {name[:_LABEL_NAME_LIMIT]!r} must be the name of a label, such as tier or example.com/tier"
            )
    return ""


def _line(limit: int) -> Any:
    return Field(min_length=1, max_length=limit, pattern=r"^[^\x00-\x1f\x7f]*$")


Line100 = Annotated[str, _line(100)]
Line200 = Annotated[str, _line(200)]
"""Text on one line."""

Prose = Annotated[str, Field(max_length=1024, pattern=r"^[^\x00]*$")]
"""Text of several lines. PostgreSQL cannot store a NUL."""

Count = Annotated[str, Field(max_length=COUNT_LIMIT, pattern="^[0-9]+$")]
"""A number of addresses; a string because it may exceed 2^53."""

Percent = Annotated[str, Field(max_length=6, pattern=r"^[0-9]{1,3}([.][0-9]{1,2})?$")]
"""At most two decimals, no percent sign."""

Moment = Annotated[str, Field(max_length=32, json_schema_extra={"format": "date-time"})]
"""RFC 3339."""

PrefixLength = Annotated[int, Field(ge=1, le=128)]
"""Bits."""

Generation = Annotated[int, Field(ge=0, le=MAX_INTEGER)]

AddressText = Annotated[str, Field(max_length=CIDR_LIMIT)]
"""Written by the operator, hence without rules: they would be paid for on every status write."""

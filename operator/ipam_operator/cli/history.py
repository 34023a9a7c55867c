"""`history`: who had which address when, and who asked."""

import argparse
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from ipam_operator.app import opened
from ipam_operator.cli.table import table
from ipam_operator.config import Settings
from ipam_operator.domain.model import Change

_ABOUT = """\
What happened to addresses, the last first, and who asked for it. Conditions are joined by "and". Who had an address at
some time: --address 10.0.0.10 --until 2026-11-25T12:00Z --limit 1
"""
_HEADINGS = ("AT", "ACTION", "ADDRESS", "POOL", "CLAIM", "ACTOR", "REASON")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", address: Callable[[str], object]) -> None:
    """Add the command to those there are; `address` reads one."""
    shown = commands.add_parser("history", help="show who had which address when", description=_ABOUT)
    shown.add_argument("--address", type=address, help="or of a prefix that it lies in; or a prefix, as granted")
    shown.add_argument("--namespace", help="of the claim")
    shown.add_argument("--claim", metavar="NAME", help="of the claim")
    shown.add_argument("--actor", metavar="USER", help="who asked")
    shown.add_argument("--until", type=_time, metavar="TIME", help="leave out what came later (default offset: UTC)")
    shown.add_argument("--limit", type=_number, default=100, metavar="ROWS", help="at most so many (default: 100)")
    shown.add_argument("--output", choices=["table", "json"], default="table", help="json: a list of objects")


async def show(settings: Settings, options: argparse.Namespace) -> None:
    """Print what is asked for."""
    async with opened(settings) as app:
        found = await app.history.changes(
            address=options.address,
            namespace=options.namespace,
            claim=options.claim,
            actor=options.actor,
            until=options.until,
            limit=options.limit,
        )
    rows = [_words(one) for one in found]
    if options.output == "json":
        names = [name.lower() for name in _HEADINGS]
        print(json.dumps([dict(zip(names, row, strict=True)) for row in rows], indent=2))
    else:
        print(table(_HEADINGS, *rows))


def _words(change: Change) -> Sequence[str]:
    pool = "" if change.pool is None else str(change.pool)
    at = f"{change.at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
    return at, change.action, str(change.address), pool, str(change.claim), change.actor, change.reason


def _time(text: str) -> datetime:
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} must be a time such as 2026-11-25T12:00Z") from error
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _number(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number from 1 to 1000000")
    return int(text)

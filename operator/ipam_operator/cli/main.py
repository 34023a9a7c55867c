"""`ipam-operator`: run, operator run, migrate, rebuild, confirm, history, retained, release-retained. Calls, prints."""

import argparse
import asyncio
import getpass
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Sequence

from ipam_operator import __version__
from ipam_operator.app import opened
from ipam_operator.cli import history, laptop, schema
from ipam_operator.cli.command import Work
from ipam_operator.cli.loops import Loop
from ipam_operator.cli.table import table
from ipam_operator.config import Settings, load
from ipam_operator.domain.model import ObjectRef
from ipam_operator.errors import IpamError, SettingsError
from ipam_operator.net.cidr import AddressOrPrefix, parse_address_or_prefix


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 2 for what was asked wrongly, 1 for what failed."""
    options = _parser().parse_args(arguments)
    try:
        work = _work(options.command)
        settings = load(laptop.environment(options, os.environ) if options.command == "operator" else None)
        _log_from(settings.log_level)
        with asyncio.Runner(loop_factory=Loop) as runner:
            return runner.run(_until_sigterm(work(settings, options))) or 0
    except KeyboardInterrupt:  # where nothing had begun that would have to be ended in order
        return 130
    except asyncio.CancelledError:
        return 128 + signal.SIGTERM
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except IpamError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def _work(command: str) -> Work:
    alone: dict[str, Work] = {
        "migrate": schema.bring_up,
        "confirm": _confirm,
        "history": history.show,
        "retained": _retained,
        "release-retained": _release_retained,
    }
    if command in alone:
        return alone[command]
    # Not before it is needed: Kopf and all that it brings take longer to load than the other commands take.
    from ipam_operator.cli import serving

    return serving.COMMANDS[command]


def _log_from(level: str) -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", stream=sys.stderr)
    # Kopf tells of every event that it has handed over; our own answers are what matters.
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLogger().level))
    # It connects anew by itself and warns of each attempt with a traceback; who waits for the store is told by us.
    logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ipam-operator", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run the operator until SIGTERM (settings: IPAM_* variables)")
    laptop.add(commands)
    migrated = commands.add_parser("migrate", help="bring the database's schema up to date")
    migrated.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="for a database, or a login of the operator, that is not there yet (default: 0)",
    )
    rebuilt = commands.add_parser("rebuild", help="fill an empty store with what the cluster's claims show")
    rebuilt.add_argument("--merge", action="store_true", help="also a store that is not empty; what it has stays")
    confirm = commands.add_parser("confirm", help="let through what a brake has stopped")
    confirm.add_argument("what", choices=["release"], help="release: leases whose IPClaims are gone")
    confirm.add_argument("--minutes", type=float, default=10.0, help="how long the consent holds (default: 10)")
    history.add(commands, _address)
    retained = commands.add_parser("retained", help="list the addresses that are kept for deleted claims")
    retained.add_argument("--namespace", help="of the claims; absent: all")
    freed = commands.add_parser("release-retained", help="let an address go that is kept for a deleted claim")
    freed.add_argument("pool", type=_pool, metavar="NAMESPACE/POOL")
    freed.add_argument("address", type=_address, help="as `retained` lists it")
    return parser


def _address(text: str) -> AddressOrPrefix:
    try:
        return parse_address_or_prefix(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _pool(text: str) -> ObjectRef:
    namespace, found, name = text.partition("/")
    if not (namespace and found and name):
        raise argparse.ArgumentTypeError(f"{text!r} must be NAMESPACE/POOL, such as team-a/office-hosts")
    return ObjectRef(namespace, name)


async def _until_sigterm(work: Awaitable[int | None]) -> int | None:
    """For what handles the signal no better. The first process of a pod is not ended by it otherwise."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


async def _confirm(settings: Settings, options: argparse.Namespace) -> None:
    async with opened(settings) as app:
        await app.ownership.confirm(options.what, options.minutes * 60)
    print(f"confirmed {options.what} for {options.minutes:g} minutes")


async def _retained(settings: Settings, options: argparse.Namespace) -> None:
    async with opened(settings) as app:
        kept = await app.claims.retained(options.namespace)
    lines = [
        (one.namespace, one.key, one.claim, str(one.pool), str(one.address), f"{one.until:%Y-%m-%dT%H:%M:%SZ}")
        for one in kept
    ]
    print(table(("NAMESPACE", "KEY", "CLAIM", "POOL", "ADDRESS", "UNTIL"), *lines))


async def _release_retained(settings: Settings, options: argparse.Namespace) -> int:
    async with opened(settings) as app:
        owner = await app.claims.end_retention(
            options.pool, options.address, actor=f"ipam-operator:{getpass.getuser()}"
        )
    if owner is None:
        print(f"{options.address} of pool {options.pool} is not kept; see: kubectl-ipam retained", file=sys.stderr)
        return 1
    print(f"{options.address} is not kept for {owner.name} of namespace {owner.namespace} any more")
    return 0

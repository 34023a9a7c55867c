"""`ipam-operator`: run, migrate, confirm. Parse, call, print."""

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence

import uvloop

from ipam_operator import __version__
from ipam_operator.app import opened
from ipam_operator.config import Settings, load
from ipam_operator.errors import IpamError, SettingsError, StoreUnavailableError
from ipam_operator.kube import operator
from ipam_operator.kube.backoff import CappedBackoff
from ipam_operator.store import migrate

_log = logging.getLogger("ipam_operator")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = load()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", stream=sys.stderr
    )
    # Kopf tells of every event that it has handed over; our own answers are what matters.
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLogger().level))
    work = {"run": _run, "migrate": _migrate, "confirm": _confirm}[options.command]
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work(settings, options))
    except IpamError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ipam-operator", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run the operator until SIGTERM (settings: IPAM_* variables)")
    commands.add_parser("migrate", help="bring the database's schema up to date")
    confirm = commands.add_parser("confirm", help="let through what a brake has stopped")
    confirm.add_argument("what", choices=["release"], help="release: leases whose IPClaims are gone")
    confirm.add_argument("--minutes", type=float, default=10.0, help="how long the consent holds (default: 10)")
    return parser


async def _run(settings: Settings, _options: argparse.Namespace) -> None:
    for delay in CappedBackoff(0.5, 5.0):
        try:
            await (migrate.migrate if settings.migrate else migrate.verify)(settings.database_url)
            break
        except StoreUnavailableError as error:
            _log.warning("the schema waits for the database: %s", error)
            await asyncio.sleep(delay)
    await operator.run(settings)


async def _migrate(settings: Settings, _options: argparse.Namespace) -> None:
    applied = await migrate.migrate(settings.database_url)
    print("\n".join(applied) if applied else "up to date")


async def _confirm(settings: Settings, options: argparse.Namespace) -> None:
    async with opened(settings) as app:
        await app.ownership.confirm(options.what, options.minutes * 60)
    print(f"confirmed {options.what} for {options.minutes:g} minutes")

"""`ipam-operator`: run, operator run, migrate, rebuild, confirm, history, retained, release-retained. Calls, prints."""

import argparse
import asyncio
import getpass
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from ipam_operator import __version__
from ipam_operator.app import opened
from ipam_operator.cli import history, laptop
from ipam_operator.cli.loops import Loop
from ipam_operator.cli.table import table
from ipam_operator.config import Settings, load
from ipam_operator.domain.model import ObjectRef
from ipam_operator.errors import IpamError, SettingsError, StoreUnavailableError
from ipam_operator.kube import operator, rebuild
from ipam_operator.kube.apiserver import Login, login
from ipam_operator.kube.backoff import CappedBackoff
from ipam_operator.net.cidr import AddressOrPrefix, parse_address_or_prefix
from ipam_operator.store import migrate

T = TypeVar("T")
Work = Callable[[Settings, argparse.Namespace], Coroutine[Any, Any, int | None]]
_log = logging.getLogger("ipam_operator")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 2 for what was asked wrongly, 1 for what failed."""
    options = _parser().parse_args(arguments)
    work: Work = {
        "run": _run,
        "operator": _run_here,
        "migrate": _migrate,
        "rebuild": _rebuild,
        "confirm": _confirm,
        "history": history.show,
        "retained": _retained,
        "release-retained": _release_retained,
    }[options.command]
    try:
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


def _log_from(level: str) -> None:
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s", stream=sys.stderr)
    # Kopf tells of every event that it has handed over; our own answers are what matters.
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLogger().level))


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


async def _run(settings: Settings, _options: argparse.Namespace) -> None:
    await _serve(settings)


async def _run_here(settings: Settings, options: argparse.Namespace) -> None:
    context, line = laptop.chosen(options, settings.database_url)
    print(line, flush=True)
    await _serve(settings, context.login)


async def _serve(settings: Settings, login: Login = login) -> None:
    await _patiently(lambda: (migrate.migrate if settings.migrate else migrate.verify)(settings.database_url))
    await operator.run(settings, login)


async def _patiently(work: Callable[[], Awaitable[T]], seconds: float = math.inf) -> T:
    limit = time.monotonic() + seconds
    for delay in CappedBackoff(0.5, 5.0):
        try:
            return await work()
        except StoreUnavailableError as error:
            if time.monotonic() + delay > limit:
                raise
            _log.warning("the schema waits for the database: %s", error)
            await asyncio.sleep(delay)
    raise AssertionError("unreachable: the delays are endless")


async def _migrate(settings: Settings, options: argparse.Namespace) -> None:
    applied = await _patiently(lambda: _as_owner(settings), options.wait)
    print("\n".join(applied) if applied else "up to date")


async def _as_owner(settings: Settings) -> list[str]:
    url, owner_url = settings.database_url, settings.owner_database_url
    return await (migrate.migrate_for(url, owner_url) if owner_url else migrate.migrate(url))


async def _rebuild(settings: Settings, options: argparse.Namespace) -> int:
    await (_as_owner(settings) if settings.migrate else migrate.verify(settings.database_url))
    done = await rebuild.rebuild(settings, merge=options.merge)
    left = done.taken_in.left
    print(f"{done.networks} networks and {done.pools} pools are in service")
    print(
        f"{done.claims} claims hold addresses; of {done.taken_in.shown} that showed some {len(left)} do not hold them"
    )
    for item in left:
        conditions = {one["type"]: one for one in item.status.get("conditions") or ()}
        message = conditions.get("Ready", {}).get("message", "")
        print(
            f"  {item.identity.ref} {', '.join(item.status['addresses'][:3])}: {item.status.get('reason')}: {message}"
        )
    print("not rebuilt: history, addresses kept for deleted claims, what those had last, and places in queues")
    return int(bool(left))


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

"""Commands that talk to a cluster: run, operator run, rebuild."""

import argparse
from collections.abc import Mapping
from typing import Final

from ipam_operator.cli import schema
from ipam_operator.cli.command import Work
from ipam_operator.config import Settings
from ipam_operator.errors import SettingsError
from ipam_operator.kube import operator, rebuild
from ipam_operator.kube.apiserver import Login, login
from ipam_operator.kube.kubeconfig import Context, read
from ipam_operator.store import migrate
from ipam_operator.store.database import whereabouts


async def _run(settings: Settings, _options: argparse.Namespace) -> None:
    await _serve(settings)


async def _run_here(settings: Settings, options: argparse.Namespace) -> None:
    context, line = _chosen(options, settings.database_url)
    print(line, flush=True)
    await _serve(settings, context.login)


def _chosen(options: argparse.Namespace, database_url: str) -> tuple[Context, str]:
    """The context that was asked for, and a line that says what is about to be served.

    Raises:
        SettingsError: the kubeconfig or the URL cannot be used, in one line with what could.
    """
    context = read(options.kubeconfig.expanduser(), options.context)
    try:
        store = whereabouts(database_url)
    except ValueError as error:
        raise SettingsError(f"the store's URL {error}") from error
    return context, f"serving cluster {context.server} (context {context.name}) from database {store}"


async def _serve(settings: Settings, login: Login = login) -> None:
    await schema.patiently(lambda: (migrate.migrate if settings.migrate else migrate.verify)(settings.database_url))
    await operator.run(settings, login)


async def _rebuild(settings: Settings, options: argparse.Namespace) -> int:
    await (schema.as_owner(settings) if settings.migrate else migrate.verify(settings.database_url))
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


COMMANDS: Final[Mapping[str, Work]] = {
    "run": _run,
    "operator": _run_here,
    "rebuild": _rebuild,
}

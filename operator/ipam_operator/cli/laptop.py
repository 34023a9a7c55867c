"""`operator run`: the operator on this machine, for a cluster that a kubeconfig names."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from ipam_operator.errors import SettingsError

DATABASE = "IPAM_DATABASE_URL"
_ABOUT = """\
Run the operator on this machine until Ctrl-C, for a cluster elsewhere: to try a change, or where nothing can be
installed in the cluster. Its CRDs must be there. The other settings are the variables IPAM_*; probes and metrics listen
on a port that is free unless IPAM_HEALTH_PORT names one. An operator in the cluster on the same database and this one
exclude each other: whoever comes second waits until the first ends. The schema is brought up to date unless
IPAM_MIGRATE=false.
"""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those there are."""
    actions = commands.add_parser("operator", help="run the operator on this machine").add_subparsers(
        dest="action", required=True
    )
    run = actions.add_parser("run", help="... for the cluster of a kubeconfig", description=_ABOUT)
    run.add_argument(
        "--kubeconfig", metavar="PATH", type=Path, help="file that names the cluster; KUBECONFIG is not read"
    )
    run.add_argument("--context", metavar="NAME", help="context of that file (default: its current one)")
    run.add_argument(
        "--database-url",
        metavar="URL",
        help=f"PostgreSQL URL of the store (default: {DATABASE}, which other users of this machine cannot see)",
    )


def environment(options: argparse.Namespace, given: Mapping[str, str]) -> dict[str, str]:
    """Variables that the settings are read from.

    Raises:
        SettingsError: something is missing, in one line with what would do.
    """
    url = options.database_url or given.get(DATABASE)
    if options.kubeconfig is None:
        raise SettingsError("--kubeconfig is missing: say which cluster, such as --kubeconfig ~/.kube/config")
    if not url:
        raise SettingsError(
            "the store is missing: say --database-url postgresql://USER:PASSWORD@HOST:5432/DATABASE, "
            f"or set {DATABASE} to that"
        )
    return {"IPAM_HEALTH_PORT": "0", **given, DATABASE: url}

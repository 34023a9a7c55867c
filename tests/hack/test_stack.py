"""The stack of `make up` and `make demo`, started as they start it."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from hack.places import ROOT
from hack.postgres import OPERATOR, OWNER
from hack.stack import Stack
from tests.tenancy.support import session

pytestmark = [pytest.mark.apiserver, pytest.mark.integration]
LOGINS = "select distinct usename from pg_stat_activity where datname = 'ipam' and pid <> pg_backend_pid()"
TOOLS = ("retained", "confirm release", "migrate")


def test_operator_and_tools_log_in_with_few_rights(tmp_path: Path) -> None:
    """The operator and whoever sources `env` read the ledger and cannot change it; the owner's login is beside it."""
    pids: dict[str, int] = {}
    with Stack(tmp_path, durable=False, started=lambda name, pid: pids.update({name: pid})) as stack:
        told = stack.environment()
        assert f"export IPAM_DATABASE_URL={told['IPAM_DATABASE_URL']}\n" in stack.environment_file.read_text()
        seen = Path(f"/proc/{pids['operator']}/environ").read_bytes().decode().split("\0")
        assert [line for line in seen if "DATABASE_URL=" in line] == [f"IPAM_DATABASE_URL={told['IPAM_DATABASE_URL']}"]

        asyncio.run(rights(told["IPAM_DATABASE_URL"], told["IPAM_OWNER_DATABASE_URL"]))

        environment = {**os.environ, **told, "PYTHONPATH": str(ROOT / "operator")}
        for tool in TOOLS:
            command = [sys.executable, "-m", "ipam_operator", *tool.split()]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
            assert done.returncode == 0, f"{tool}\n{done.stdout}{done.stderr}"


async def rights(operator: str, owner: str) -> None:
    """The operator's login reads and does not write, and is the one that is used."""
    async with session(operator) as served, session(owner) as administrator:
        assert await served.fetchval("select session_user") == OPERATOR
        assert await served.fetchval("select count(*) from ipam.lease") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await served.execute("delete from ipam.lease")
        assert await administrator.fetchval("select session_user") == OWNER
        assert [row["usename"] for row in await administrator.fetch(LOGINS)] == [OPERATOR]

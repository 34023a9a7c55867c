"""Backups as people make them: pg_dump, and pg_restore into a database made anew."""

import os
import subprocess
from pathlib import Path

import asyncpg

from hack.postgres import LOOPBACK, OWNER, Postgres
from tests.support.postgres import MAINTENANCE


def dump(postgres: Postgres, database: str, file: Path) -> Path:
    """Write the database to a file."""
    _run(postgres, "pg_dump", "--format=custom", f"--file={file}", database)
    return file


async def restore(postgres: Postgres, database: str, file: Path) -> None:
    """Replace the database by what the file has, whoever is connected to it."""
    await empty(postgres, database)
    _run(postgres, "pg_restore", "--exit-on-error", "--single-transaction", f"--dbname={database}", str(file))


async def restore_without(postgres: Postgres, database: str, file: Path, kind: str) -> None:
    """Replace the database by what a restore that makes one thing after the other has before it makes any `kind`."""
    await empty(postgres, database)
    entries = _run(postgres, "pg_restore", "--list", str(file), local=True).splitlines()
    assert any(f" {kind} " in entry for entry in entries)
    chosen = file.with_suffix(".list")
    chosen.write_text("\n".join(entry for entry in entries if f" {kind} " not in entry))
    _run(postgres, "pg_restore", "--exit-on-error", f"--use-list={chosen}", f"--dbname={database}", str(file))


async def empty(postgres: Postgres, database: str) -> None:
    """Replace the database by an empty one, whoever is connected to it."""
    connection = await asyncpg.connect(postgres.url_for(MAINTENANCE))
    try:
        await connection.execute(f'drop database "{database}" with (force)')
        await connection.execute(f'create database "{database}"')
    finally:
        await connection.close()


def _run(postgres: Postgres, program: str, *arguments: str, local: bool = False) -> str:
    where = () if local else (f"--host={LOOPBACK}", f"--port={postgres.port}", f"--username={OWNER}")
    done = subprocess.run(
        [str(postgres.bin / program), *where, *arguments],
        env={**os.environ, "PGPASSWORD": postgres.password},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{program} failed:\n{done.stderr}")
    return done.stdout

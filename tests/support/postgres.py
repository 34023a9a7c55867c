"""A migrated template database once, and a copy of it for each test."""

import asyncio
from uuid import uuid4

import asyncpg

from hack.postgres import Postgres

MAINTENANCE = "postgres"
TEMPLATE = "template_ipam"


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def make_template(postgres: Postgres) -> str:
    """Create the template database by our own migrations; returns its name."""
    from ipam_operator.store.migrate import migrate

    async def make() -> None:
        await _execute(postgres.url_for(MAINTENANCE), f'CREATE DATABASE "{TEMPLATE}"')
        await migrate(postgres.url_for(TEMPLATE))

    asyncio.run(make())
    return TEMPLATE


async def create_database(postgres: Postgres, template: str | None = None) -> str:
    """Create a database of a new name, empty or as a copy; returns its name."""
    name = f"t_{uuid4().hex[:12]}"
    source = f' TEMPLATE "{template}"' if template else ""
    await _execute(postgres.url_for(MAINTENANCE), f'CREATE DATABASE "{name}"{source}')
    return name


async def drop_database(postgres: Postgres, name: str) -> None:
    """Drop a database, whoever is still connected; a server that a test left stopped is started first."""
    if not postgres.pid:
        postgres.start()
    await _execute(postgres.url_for(MAINTENANCE), f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

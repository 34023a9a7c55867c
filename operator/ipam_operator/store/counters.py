"""Numbers for statuses and metrics, and the sweep that keeps them true."""

import json
from collections.abc import Sequence
from uuid import UUID

from ipam_operator.domain.capacity import NetworkCount, PoolCount
from ipam_operator.domain.model import ObjectRef
from ipam_operator.net.ranges import Range
from ipam_operator.store.database import Database

_SWEEP_LIMIT = 10_000
"""Addresses returned to one pool in one statement: about 0.25 s of work."""


class Counters:
    """Each call is one statement for all objects that are due."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sweep(self, pools: Sequence[UUID]) -> int:
        """Make cooled addresses free again, merged with their neighbours; returns how many."""
        return int(await self._database.value("sweep_pools", list(pools), _SWEEP_LIMIT))

    async def pools(self, uids: Sequence[UUID]) -> list[PoolCount]:
        """Counters of the pools among `uids` that are in service."""
        return [
            PoolCount(
                uid=row["uid"],
                ref=ObjectRef(row["namespace"], row["name"]),
                network=row["network"],
                paused=row["paused"],
                size=int(row["size"]),
                free=int(row["free"]),
                cooling=int(row["cooling"]),
                waiting=row["waiting"],
                largest=tuple(
                    Range(lo, hi) for lo, hi in zip(row["largest_lo"] or (), row["largest_hi"] or (), strict=True)
                ),
                ranges=tuple(row["ranges"]),
                retained=int(row["retained"]),
                unlent=json.loads(row["unlent"] or "{}"),
            )
            for row in await self._database.rows("pool_counters", list(uids))
        ]

    async def networks(self, uids: Sequence[UUID]) -> list[NetworkCount]:
        """Counters of the networks among `uids` that are in service."""
        return [
            NetworkCount(
                uid=row["uid"],
                cidr=row["cidr"],
                address_space=f"{row['namespace']}/{row['vrf']}" if row["vrf"] else row["namespace"],
                pools=row["pools"],
                pool_size=int(row["pool_size"]),
                free=int(row["free"]),
                cooling=int(row["cooling"]),
                reserved=tuple(Range(lo, hi) for lo, hi in zip(row["reserved_lo"], row["reserved_hi"], strict=True)),
                gateway=row["gateway"],
            )
            for row in await self._database.rows("network_counters", list(uids))
        ]

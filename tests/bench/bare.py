"""The bare writer: watches and sends the operator's PATCHes, and nothing else. A process of its own.

The limit that the operator is held against: the same client, event loop, connections and bodies, but no store, no
framework, no queue of changes, no memory.
"""

import argparse
import asyncio
import gc
import json
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import uvloop

from ipam_operator.config import Settings
from ipam_operator.domain.model import Identity, ObjectRef
from ipam_operator.domain.outcome import Block, Granted
from ipam_operator.kube import status
from ipam_operator.kube.resources import FINALIZER, GROUP, VERSION
from tests.bench.credentials import credentials
from tests.bench.watching import events

HEADERS = {"Content-Type": "application/json-patch+json"}
WORKERS: int = Settings.model_fields["api_connections"].default
UID = UUID(int=0)
Json = dict[str, Any]


def answer() -> str:
    """The operator's own patch of a claim's status, for the UID of all zeros."""
    now = datetime.now(UTC)
    block = Block(4, 12, ip_address("10.64.0.1"), (ip_address("10.64.0.2"),))
    claim = Identity(UID, ObjectRef("ipam-bench", "claim"), 1)
    granted = Granted(claim, ObjectRef("ipam-bench", "bulk"), (ip_address("10.70.123.210"),), 12345, now, block)
    document = status.for_claim(granted, now=now)
    guard = {"op": "test", "path": "/metadata/uid", "value": str(UID)}
    return json.dumps([guard, {"op": "add", "path": "/status", "value": document}])


class BareWriter:
    """As many writes in flight as the operator allows itself."""

    def __init__(self, server: str, session: aiohttp.ClientSession) -> None:
        self._root = f"{server}/apis/{GROUP}/{VERSION}"
        self._session = session
        self._before, self._after = answer().split(str(UID))
        self._queue: asyncio.Queue[tuple[str, Json]] = asyncio.Queue()

    async def run(self, watching: aiohttp.ClientSession, ready: Path) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())
            async for event in events(watching, f"{self._root}/ipclaims", ready.touch):
                self._queue.put_nowait(event)

    async def _work(self) -> None:
        while True:
            kind, claim = await self._queue.get()
            meta = claim["metadata"]
            held = FINALIZER in meta.get("finalizers", ())
            if kind == "ADDED":
                if not held:
                    same = {"op": "test", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]}
                    hold = {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]}
                    await self._patch(meta, _guarded(meta, same, hold))
                await self._patch(meta, f"{self._before}{meta['uid']}{self._after}", "/status")
            elif kind == "MODIFIED" and held and "deletionTimestamp" in meta:
                at = f"/metadata/finalizers/{meta['finalizers'].index(FINALIZER)}"
                mine, off = {"op": "test", "path": at, "value": FINALIZER}, {"op": "remove", "path": at}
                await self._patch(meta, _guarded(meta, mine, off))

    async def _patch(self, meta: Json, body: str, subresource: str = "") -> None:
        url = f"{self._root}/namespaces/{meta['namespace']}/ipclaims/{meta['name']}{subresource}"
        async with self._session.patch(url, data=body, headers=HEADERS) as response:
            text = await response.read()
            if response.status != 200:
                raise RuntimeError(f"PATCH {url}: HTTP {response.status} {text[:300]!r}")


def _guarded(meta: Json, *operations: Json) -> str:
    return json.dumps([{"op": "test", "path": "/metadata/uid", "value": meta["uid"]}, *operations])


async def run(kubeconfig: Path, ready: Path) -> None:
    """Write until killed; `ready` appears when the watch stands."""
    server, tls, headers = credentials(kubeconfig)
    connector = aiohttp.TCPConnector(limit=WORKERS, keepalive_timeout=75, ssl=tls)
    timeout = aiohttp.ClientTimeout(total=30.0, connect=10.0)
    endless = aiohttp.ClientTimeout(total=None, connect=10.0)
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), headers=headers, timeout=endless) as watching,
    ):
        gc.collect()
        gc.freeze()
        await BareWriter(server, session).run(watching, ready)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kubeconfig", type=Path)
    parser.add_argument("ready", type=Path)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(options.kubeconfig, options.ready))


if __name__ == "__main__":
    main()

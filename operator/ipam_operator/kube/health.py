"""Probes and metrics over HTTP. Kopf's own liveness answers 200 while nothing works, and it has no metrics."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from aiohttp import web
from prometheus_client import generate_latest

from ipam_operator import telemetry

Check = Callable[[], str]
"""What is wrong, in words; empty when nothing is."""


async def serve(checks: dict[str, Check], *, host: str, port: int, port_file: str) -> None:
    """Serve until cancelled; `port` 0 lets the kernel choose, `port_file` is told the choice."""

    async def probe(request: web.Request) -> web.Response:
        wrong = checks[request.path]()
        return web.Response(status=503 if wrong else 200, text=(wrong or "ok") + "\n")

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(telemetry.REGISTRY), content_type="text/plain", charset="utf-8")

    app = web.Application()
    app.add_routes([*(web.get(path, probe) for path in checks), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        if port_file:
            await asyncio.to_thread(_announce, Path(port_file), runner.addresses[0][1])
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _announce(file: Path, port: int) -> None:
    draft = file.with_suffix(".part")
    draft.write_text(f"{port}\n")
    draft.replace(file)

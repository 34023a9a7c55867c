"""Probes and metrics over HTTP. Kopf's own liveness answers 200 while nothing works, and it has no metrics."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import generate_latest

from ipam_operator import telemetry

Check = Callable[[], str]
"""What is wrong, in words; empty when nothing is."""


def probes(checks: dict[str, Check]) -> web.Application:
    """What answers for these paths, and for `/metrics`."""

    async def probe(request: web.Request) -> web.Response:
        wrong = checks[request.path]()
        return web.Response(status=503 if wrong else 200, text=(wrong or "ok") + "\n")

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(telemetry.REGISTRY), content_type="text/plain", charset="utf-8")

    app = web.Application()
    app.add_routes([*(web.get(path, probe) for path in checks), web.get("/metrics", metrics)])
    return app

"""A web server on one port."""

import asyncio
import ssl
from pathlib import Path

from aiohttp import web


async def listen(
    app: web.Application, *, host: str, port: int, port_file: str, encrypted: ssl.SSLContext | None = None
) -> None:
    """Serve until cancelled; `port` 0 lets the kernel choose, `port_file` (empty: none) is told the choice."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=encrypted).start()
        if port_file:
            await asyncio.to_thread(_announce, Path(port_file), runner.addresses[0][1])
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _announce(file: Path, port: int) -> None:
    draft = file.with_suffix(".part")
    draft.write_text(f"{port}\n")
    draft.replace(file)

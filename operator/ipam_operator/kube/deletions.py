"""Who deletes claims. The API server says so to an admission webhook alone, and this is one that judges nothing.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

import asyncio
import hmac
import logging
import ssl
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from ipam_operator import telemetry
from ipam_operator.api.reviews import DeletionReview
from ipam_operator.config import Settings
from ipam_operator.errors import SettingsError, StoreFaultError, StoreUnavailableError
from ipam_operator.kube.listening import listen
from ipam_operator.store.deletions import Deletions

_NOTE_SECONDS: Final = 2.0
"""Whoever deletes does not wait longer for the store."""
_PAUSE_SECONDS: Final = 10.0
"""So long nobody waits after one has waited in vain: a namespace of a thousand claims would take half an hour to go."""
_REVIEW_BYTES: Final = 4 << 20
"""More than the API server stores of one object."""
_RELOAD_SECONDS: Final = 60.0
"""Certificates are replaced long before they end."""
_UNNOTED: Final = "who deletes this claim cannot be noted: the allocation store does not answer; try again in a moment"
_log = logging.getLogger(__name__)


class Credentials:
    """Certificate, and the token in the URL that the API server alone is told; both as the files say now.

    Args:
        directory: with `tls.crt`, `tls.key` and `token`.

    Raises:
        SettingsError: one of them is missing or cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.token = b""
        try:
            self.read()
        except (OSError, ValueError) as error:
            raise SettingsError(f"IPAM_WEBHOOK_DIRECTORY: {directory}: {error}") from error

    def read(self) -> None:
        """Take both from the files.

        Raises:
            OSError: one cannot be read, or certificate and key are not of one another.
            ValueError: the token is empty.
        """
        token = (self._directory / "token").read_bytes().strip()
        if not token:
            raise ValueError("the token is empty")
        pair = (self._directory / "tls.crt", self._directory / "tls.key")
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(*pair)  # one that fails loses what it had
        self.context.load_cert_chain(*pair)
        self.token = token

    async def follow(self) -> None:
        """Read the files again and again, until cancelled."""
        while True:
            await asyncio.sleep(_RELOAD_SECONDS)
            try:
                self.read()  # not in a thread: OpenSSL may be showing the certificate to somebody in this one
            except (OSError, ValueError) as error:
                _log.warning("the webhook keeps its certificate: %s", error)


class _Notes:
    """Who asks, noted in the store as long as that answers."""

    def __init__(self, deletions: Deletions) -> None:
        self._deletions = deletions
        self._pause_until = 0.0
        for result in ("noted", "lost"):  # from zero on: of what has no value before, no increase can be told
            telemetry.deletions.labels(result)

    async def take(self, asked: DeletionReview) -> bool:
        """Note who asks, or count it as lost."""
        noted = time.monotonic() >= self._pause_until and await self._noted(asked)
        telemetry.deletions.labels("noted" if noted else "lost").inc()
        return noted

    async def _noted(self, asked: DeletionReview) -> bool:
        try:
            async with asyncio.timeout(_NOTE_SECONDS):
                await self._deletions.note(asked.claim, asked.actor)
        except (TimeoutError, StoreUnavailableError, StoreFaultError) as error:
            if isinstance(error, TimeoutError):
                self._pause_until = time.monotonic() + _PAUSE_SECONDS
            _log.warning("who asks to delete claim %s could not be noted: %r", asked.claim, error)
            return False
        return True


def reviews(deletions: Deletions, token: Callable[[], bytes], leaving: Callable[[], bool]) -> web.Application:
    """What answers the API server: yes, once it is noted who asks; and once `leaving`, not to come again.

    Else 500, whose text alone the API server passes on, and the webhook's `failurePolicy` decides. Nobody else knows
    the path, so nobody else is believed.
    """
    notes = _Notes(deletions)

    async def review(request: web.Request) -> web.Response:
        if not hmac.compare_digest(request.match_info["token"].encode(), token()):
            raise web.HTTPNotFound
        try:
            asked = DeletionReview.read(await request.read())
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        if asked.decides and not await notes.take(asked):
            raise web.HTTPInternalServerError(text=_UNNOTED)
        return web.json_response(asked.allowed())

    async def part(_request: web.Request, response: web.StreamResponse) -> None:
        # Of a connection that is kept the API server learns only by a failure that this replica has gone.
        if leaving():
            response.force_close()
            response.headers["Connection"] = "close"  # which aiohttp decides before it asks here

    app = web.Application(client_max_size=_REVIEW_BYTES)
    app.on_response_prepare.append(part)
    app.add_routes([web.post("/deletions/{token}", review)])
    return app


def serving(deletions: Deletions, settings: Settings, asked: asyncio.Event) -> list[Coroutine[Any, Any, None]]:
    """What serves, until cancelled; once it is `asked` to end, for the last requests.

    Raises:
        SettingsError: certificate, key or token are not there.
    """
    credentials = Credentials(Path(settings.webhook_directory))
    answering = listen(
        reviews(deletions, lambda: credentials.token, asked.is_set),
        host=settings.webhook_host,
        port=settings.webhook_port,
        port_file=settings.webhook_port_file,
        encrypted=credentials.context,
    )
    return [answering, credentials.follow()]

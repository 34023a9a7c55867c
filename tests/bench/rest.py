"""The measuring side's client: what users do, over connections of its own as the administrator."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from hack.install import FINALIZER
from ipam_operator.kube.resources import GROUP, VERSION
from tests.bench.credentials import credentials

NAMESPACE = "ipam-bench"
_JSON = {"Content-Type": "application/json"}
Json = dict[str, Any]


class Refusal(RuntimeError):  # noqa: N818 - an answer, not an accident
    """The API server said no."""


class Users:
    """Creates and deletes objects in our namespace."""

    def __init__(self, server: str, session: aiohttp.ClientSession) -> None:
        self.server, self.session = server, session
        self.finalizers: list[str] = []
        """What claims are created with."""

    def url(self, plural: str, name: str = "") -> str:
        """Of a collection or an object of ours."""
        return f"{self.server}/apis/{GROUP}/{VERSION}/namespaces/{NAMESPACE}/{plural}" + (f"/{name}" if name else "")

    async def send(self, method: str, url: str, body: Json | None = None, *, absent_is_fine: bool = False) -> Json:
        """One request.

        Raises:
            Refusal: any answer above 299, except 404 with `absent_is_fine`.
        """
        data = None if body is None else json.dumps(body)
        async with self.session.request(method, url, data=data, headers=_JSON) as response:
            text = await response.text()
            if response.status < HTTPStatus.MULTIPLE_CHOICES:
                return dict(json.loads(text))
            if absent_is_fine and response.status == HTTPStatus.NOT_FOUND:
                return {}
            raise Refusal(f"{method} {url}: HTTP {response.status} {text[:300]}")

    async def make(self, kind: str, plural: str, name: str, spec: Json) -> None:
        """Create one of our objects."""
        await self.send("POST", self.url(plural), _body(kind, name, spec))

    async def claim(self, name: str, pool: str) -> None:
        """Create a claim; the answer is not even parsed, so that measuring costs little."""
        body = _body("IPClaim", name, {"poolRef": {"name": pool}})
        if self.finalizers:
            body["metadata"]["finalizers"] = self.finalizers
        await self._quick("POST", self.url("ipclaims"), json.dumps(body))

    async def delete(self, name: str) -> None:
        """Delete a claim."""
        await self._quick("DELETE", self.url("ipclaims", name), None)

    async def born_held(self, pool: str) -> bool:
        """Whether admission puts our finalizer on new claims."""
        body = _body("IPClaim", "probe", {"poolRef": {"name": pool}})
        made = await self.send("POST", self.url("ipclaims") + "?dryRun=All", body)
        return FINALIZER in (made["metadata"].get("finalizers") or ())

    async def until(self, plural: str, name: str, check: Callable[[Json], bool], seconds: float = 60.0) -> None:
        """Wait until the object ({} when there is none) is as wanted.

        Raises:
            TimeoutError: with the object as it is.
        """
        limit = time.monotonic() + seconds
        while not check(found := await self.send("GET", self.url(plural, name), absent_is_fine=True)):
            if time.monotonic() > limit:
                raise TimeoutError(f"{plural} {name} after {seconds:.0f} s: {json.dumps(found.get('status'))}")
            await asyncio.sleep(0.05)

    async def text(self, path: str) -> str:
        """The body of a GET."""
        async with self.session.get(self.server + path) as response:
            return await response.text()

    async def _quick(self, method: str, url: str, data: str | None) -> None:
        async with self.session.request(method, url, data=data, headers=_JSON) as response:
            body = await response.read()
            if response.status >= HTTPStatus.MULTIPLE_CHOICES:
                raise Refusal(f"{method} {url}: HTTP {response.status} {body[:300]!r}")


def _body(kind: str, name: str, spec: Json) -> Json:
    metadata: Json = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, "metadata": metadata, "spec": spec}


@asynccontextmanager
async def users(kubeconfig: Path, connections: int) -> AsyncIterator[Users]:
    """A client of at most so many connections, and our namespace."""
    server, tls, headers = credentials(kubeconfig)
    connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=75, ssl=tls)
    timeout = aiohttp.ClientTimeout(total=None, connect=10.0)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:
        yield Users(server, session)

"""A thin asynchronous client of the API server for tests: waits on watch events, never sleeps."""

import asyncio
import base64
import json
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import aiohttp
import yaml

from ipam_operator.api.names import GROUP, VERSION
from tests.support.metrics import Samples, parse

Json = dict[str, Any]
T = TypeVar("T")
OURS: Final = ("IPClaim", "IPPool", "IPNetwork")
#: Kind to the path of its group and its plural; others are added by tests as they need them.
KINDS: Final = {
    "IPNetwork": (f"apis/{GROUP}/{VERSION}", "ipnetworks"),
    "IPPool": (f"apis/{GROUP}/{VERSION}", "ippools"),
    "IPClaim": (f"apis/{GROUP}/{VERSION}", "ipclaims"),
    "Namespace": ("api/v1", "namespaces"),
    "ConfigMap": ("api/v1", "configmaps"),
    "Event": ("api/v1", "events"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
}
MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
PARALLEL: Final = 32
SWEEP_SECONDS: Final = 90.0
"""As long as a restarted API server may refuse claims, see `hack.install`."""


class ApiError(Exception):
    """A refusal of the API server: `code`, and its whole `Status` object."""

    def __init__(self, code: int, status: Json) -> None:
        super().__init__(f"{code}: {status.get('message', status)}")
        self.code = code
        self.status = status


def _credentials(kubeconfig: Path) -> tuple[str, ssl.SSLContext, dict[str, str]]:
    """Server, TLS and headers of the current context: certificates or a token, in files or inline."""
    content = yaml.safe_load(kubeconfig.read_text())
    context = next(row for row in content["contexts"] if row["name"] == content["current-context"])["context"]
    cluster = next(row for row in content["clusters"] if row["name"] == context["cluster"])["cluster"]
    user = next(row for row in content["users"] if row["name"] == context["user"])["user"]

    def text(entry: Mapping[str, str], key: str) -> str:
        inline = entry.get(f"{key}-data")
        return base64.b64decode(inline).decode() if inline else Path(entry[key]).read_text()

    tls = ssl.create_default_context(cadata=text(cluster, "certificate-authority"))
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    if not headers:
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:  # ssl reads chains from files only
            pair.write(text(user, "client-certificate") + text(user, "client-key"))
            pair.flush()
            tls.load_cert_chain(pair.name)
    return str(cluster["server"]), tls, headers


class Api:
    """Objects by kind, namespace and name, as whom a kubeconfig says."""

    def __init__(self, kubeconfig: Path) -> None:
        self.server, self._tls, self._headers = _credentials(kubeconfig)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=2 * PARALLEL)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content: str = "application/json",
        as_user: str = "",
        **query: str,
    ) -> Json:
        """One request, as another user where that is said; its answer as JSON.

        Raises:
            ApiError: the server refused.
        """
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content} | ({"Impersonate-User": as_user} if as_user else {})
        async with self._open().request(
            method, f"{self.server}/{path}", data=data, params=query, headers=headers
        ) as response:
            answer: Json = await response.json(content_type=None)
            if response.status >= 400:
                raise ApiError(response.status, answer)
            return answer

    async def create(self, body: Json, *, dry_run: bool = False) -> Json:
        """Create an object; its namespace stands in its metadata."""
        query = {"dryRun": "All"} if dry_run else {}
        path = self.path(body["kind"], body["metadata"].get("namespace", ""))
        return await self.request("POST", path, body=body, **query)

    async def get(self, kind: str, namespace: str, name: str) -> Json:
        """Read one object."""
        return await self.request("GET", self.path(kind, namespace, name))

    async def list(self, kind: str, namespace: str = "", **query: str) -> list[Json]:
        """Read all of a namespace, or of the cluster; `labelSelector` and `fieldSelector` as in the API."""
        items: list[Json] = (await self.request("GET", self.path(kind, namespace), **query))["items"]
        return items

    async def patch(
        self, kind: str, namespace: str, name: str, body: Any, *, subresource: str = "", content: str = MERGE_PATCH
    ) -> Json:
        """Patch one object, or its status."""
        path = self.path(kind, namespace, name, subresource)
        return await self.request("PATCH", path, body=body, content=content)

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Ask for the deletion of one object; finalizers may hold it."""
        await self.request("DELETE", self.path(kind, namespace, name))

    async def wait_for(
        self,
        kind: str,
        namespace: str,
        name: str,
        predicate: Callable[[Json | None], bool],
        *,
        seconds: float = 30.0,
    ) -> Json | None:
        """Watch until the object satisfies `predicate`, which sees None while it does not exist.

        Raises:
            TimeoutError: it did not in time; with the object as last seen.
        """
        last: Json | None = None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    listed = await self.request(
                        "GET", self.path(kind, namespace), fieldSelector=f"metadata.name={name}"
                    )
                    last = next(iter(listed["items"]), None)
                    if predicate(last):
                        return last
                    version = listed["metadata"]["resourceVersion"]
                    async for event, seen in self.watch(kind, namespace, version, name):
                        last = None if event == "DELETED" else seen
                        if predicate(last):
                            return last
        except TimeoutError as slow:
            raise TimeoutError(f"{kind} {namespace}/{name} after {seconds:.0f} s: {json.dumps(last)}") from slow

    async def watch(self, kind: str, namespace: str, version: str, name: str = "") -> Any:
        """Yield (type, object) of each change after `version`, until the server ends the stream."""
        query = {"watch": "1", "resourceVersion": version}
        if name:
            query["fieldSelector"] = f"metadata.name={name}"
        url = f"{self.server}/{self.path(kind, namespace)}"
        forever = aiohttp.ClientTimeout(total=None)
        async with self._open().get(url, params=query, timeout=forever) as stream:
            try:
                async for line in stream.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":  # 410: list again
                        return
                    yield event["type"], event["object"]
            finally:  # a busy server's farewell of TLS can outlast the test's event loop
                if stream.connection is not None and stream.connection.transport is not None:
                    stream.connection.transport.abort()

    async def wait_reason(self, kind: str, namespace: str, name: str, *reasons: str, seconds: float = 30.0) -> Json:
        """Watch until `Ready` of the object's present generation has one of these reasons."""

        def settled(seen: Json | None) -> bool:
            if seen is None or "status" not in seen:
                return False
            current = seen["status"].get("observedGeneration") == seen["metadata"]["generation"]
            ready = condition(seen, "Ready")
            return current and ready is not None and ready["reason"] in reasons

        found = await self.wait_for(kind, namespace, name, settled, seconds=seconds)
        assert found is not None
        return found

    async def wait_gone(self, kind: str, namespace: str, name: str, *, seconds: float = 30.0) -> None:
        """Watch until the object does not exist."""
        await self.wait_for(kind, namespace, name, lambda seen: seen is None, seconds=seconds)

    async def requests(self, **labels: str) -> float:
        """Sum of `apiserver_request_total` with these labels, such as resource, verb, subresource, code."""
        return (await self.metrics()).total("apiserver_request_total", **labels)

    async def metrics(self) -> Samples:
        """All metrics of the API server."""
        async with self._open().get(f"{self.server}/metrics") as response:
            return parse(await response.text())

    async def sweep(self, namespace: str = "") -> None:
        """Delete all our objects, whoever holds them: for when no operator runs."""
        gate = asyncio.Semaphore(PARALLEL)

        async def remove(kind: str, item: Json) -> None:
            where = (kind, item["metadata"]["namespace"], item["metadata"]["name"])
            async with gate:
                try:
                    await insist(partial(self.delete, *where))
                    await insist(partial(self.patch, *where, {"metadata": {"finalizers": None}}))
                except ApiError as refusal:
                    if refusal.code != 404:
                        raise

        for kind in OURS:
            items = await insist(partial(self.list, kind, namespace))
            await asyncio.gather(*(remove(kind, item) for item in items))

    @staticmethod
    def path(kind: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Path of a kind, an object or a part of it."""
        group, plural = KINDS[kind]
        parts = [group, *(["namespaces", namespace] if namespace else []), plural, name, subresource]
        return "/".join(part for part in parts if part)

    def _open(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use `async with`"
        return self._session


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat while the server is waking up: 429 and 5xx are its words for that."""
    limit = time.monotonic() + SWEEP_SECONDS
    while True:
        try:
            return await call()
        except (ApiError, aiohttp.ClientConnectionError) as refusal:
            if (isinstance(refusal, ApiError) and refusal.code < 429) or time.monotonic() > limit:
                raise
        await asyncio.sleep(0.2)


def condition(seen: Json, kind: str) -> Json | None:
    """A condition of an object's status by its type."""
    rows: list[Json] = seen.get("status", {}).get("conditions", [])
    return next((row for row in rows if row["type"] == kind), None)


def thing(kind: str, namespace: str, name: str, spec: Json, **metadata: Any) -> Json:
    """An object of one of our kinds."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name, **metadata},
        "spec": spec,
    }

"""The few requests we send to the API server ourselves, on our own bounded connections.

JSON patches with a `test` on the UID, because a merge patch of `/status` ignores a wrong UID and answers 200:
a namesake would get our address.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID

import aiohttp
import kopf

from ipam_operator import telemetry
from ipam_operator.domain.model import ObjectRef
from ipam_operator.errors import ClusterUnavailableError
from ipam_operator.kube.connection import Connection
from ipam_operator.kube.resources import GROUP, PROTECTION, VERSION, Kind

Json = dict[str, Any]
Login = Callable[[], kopf.ConnectionInfo]

_JSON_PATCH: Final = {"Content-Type": "application/json-patch+json"}
_PAGE: Final = 500
_TURN: Final = 50
"""Objects of a page after which others have a turn: claims are answered while all are listed."""
_READS: Final = 4
"""Connections beside those of writes: a comparison must not wait until a storm of answers is written."""
_TIMEOUT: Final = aiohttp.ClientTimeout(total=30.0, connect=10.0, sock_connect=5.0, sock_read=15.0)
"""Seconds. Nothing here is a watch: Kopf has those on a session of its own. Who is silent for `sock_read` is gone; not
less, because the server's priority and fairness may keep a request in its queue for so long."""


@dataclass(frozen=True, slots=True)
class Target:
    """One object, by name for the URL and by UID for the truth."""

    kind: Kind
    ref: ObjectRef
    uid: UUID


@dataclass(frozen=True, slots=True)
class Reply:
    """The status code of a write, and how long the server asks us to wait (seconds)."""

    code: int
    retry_after: float | None = None
    body: str = ""

    @property
    def done(self) -> bool:
        """The change is stored."""
        return self.code < HTTPStatus.MULTIPLE_CHOICES

    @property
    def gone(self) -> bool:
        """The object we meant is not there any more, or was not the one we meant."""
        return self.code in {HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY}


def login() -> kopf.ConnectionInfo:
    """Credentials of the pod, else of KUBECONFIG.

    Raises:
        ClusterUnavailableError: when there are neither.
    """
    settings = kopf.OperatorSettings()
    info = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)
    if info is None:
        raise ClusterUnavailableError("no service account and no KUBECONFIG: run in a pod, or set KUBECONFIG")
    return Connection.of(info)


_POLICIES = "/apis/admissionregistration.k8s.io/v1"
_PROTECTIVE = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class ApiServer:
    """An API server; logs in again after a 401.

    Args:
        connections: at most, and a few more for reads.
        login: called in a thread, since it may start a program that asks somebody else.
    """

    def __init__(self, connections: int, login: Login = login) -> None:
        self.login, self._connections = login, connections
        self._session: aiohttp.ClientSession | None = None
        self._server, self._headers = "", dict[str, str]()

    async def __aenter__(self) -> Self:
        info = await asyncio.to_thread(self.login)
        connector = aiohttp.TCPConnector(
            limit=self._connections + _READS, keepalive_timeout=75, ssl=info.as_ssl_context()
        )
        self._server, self._headers = info.server.rstrip("/"), info.as_http_headers()
        self._session = aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def patch(self, target: Target, operations: list[Json], *, subresource: str = "") -> Reply:
        """Apply JSON patch operations to the object that has this UID.

        Raises:
            ClusterUnavailableError: the server could not be reached; the patch may or may not be applied.
        """
        guard = {"op": "test", "path": "/metadata/uid", "value": str(target.uid)}
        path = f"{self._path(target.kind, target.ref.namespace)}/{target.ref.name}{subresource}"
        reply = await self._send("PATCH", path, json.dumps([guard, *operations]), _JSON_PATCH)
        write = subresource.removeprefix("/") or "metadata"
        telemetry.api_writes.labels(target.kind.value, write, str(reply.code)).inc()
        return reply

    async def protects_stamps(self) -> bool:
        """Whether our admission policy is there by which nobody can write false stamps, and denies.

        Raises:
            ClusterUnavailableError: nobody can tell.
        """
        replies = [await self._send("GET", f"{_POLICIES}/{kind}/{PROTECTION}") for kind in _PROTECTIVE]
        if any(reply.code >= HTTPStatus.INTERNAL_SERVER_ERROR for reply in replies):
            raise ClusterUnavailableError(f"reading {PROTECTION}: HTTP {[reply.code for reply in replies]}")
        if not all(reply.done for reply in replies):  # not there, or not to be seen by us
            return False
        binding = json.loads(replies[1].body)["spec"]
        return "Deny" in binding.get("validationActions", ()) and "matchResources" not in binding

    async def post_event(self, namespace: str, event: Json) -> Reply:
        """Create an Event (core/v1)."""
        path = f"/api/v1/namespaces/{namespace}/events"
        reply = await self._send("POST", path, json.dumps(event), {"Content-Type": "application/json"})
        telemetry.api_writes.labels("events", "create", str(reply.code)).inc()
        return reply

    async def get(self, kind: Kind, ref: ObjectRef) -> Json | None:
        """The object of this name as it stands; None: there is none.

        Raises:
            ClusterUnavailableError: not reachable, or it does not say.
        """
        reply = await self._send("GET", f"{self._path(kind, ref.namespace)}/{ref.name}")
        if reply.code == HTTPStatus.NOT_FOUND:
            return None
        if not reply.done:
            raise ClusterUnavailableError(f"reading {kind.value} {ref}: HTTP {reply.code}")
        body: Json = json.loads(reply.body)
        return body

    async def objects(self, kind: Kind) -> AsyncIterator[Json]:
        """Every object of a kind of ours in the cluster, in pages of one consistent snapshot.

        Raises:
            ClusterUnavailableError: the list is not complete; nothing may be concluded from what came so far.
        """
        async for item in self._pages(self._path(kind)):
            yield item

    async def namespaces(self) -> AsyncIterator[Json]:
        """Every Namespace of the cluster, likewise.

        Raises:
            ClusterUnavailableError: the list is not complete; nothing may be concluded from what came so far.
        """
        async for item in self._pages("/api/v1/namespaces"):
            yield item

    async def names(self, api_version: str, kind: str) -> frozenset[tuple[str, str]]:
        """Namespace and name of every object of any kind of the cluster; of the objects only their metadata is read.

        Raises:
            ClusterUnavailableError: the list is not complete, or there is no such kind.
        """
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        reply = await self._send("GET", root)
        if not reply.done:
            raise ClusterUnavailableError(f"looking for kinds at {root}: HTTP {reply.code}")
        resources = json.loads(reply.body)["resources"]
        plural = next((one["name"] for one in resources if one["kind"] == kind and "/" not in one["name"]), None)
        if plural is None:
            raise ClusterUnavailableError(f"there is no kind {kind} in {api_version}")
        found = self._pages(f"{root}/{plural}", {"Accept": _METADATA_ONLY})
        return frozenset([(one["metadata"].get("namespace", ""), one["metadata"]["name"]) async for one in found])

    async def _pages(self, path: str, headers: dict[str, str] | None = None) -> AsyncIterator[Json]:
        following: asyncio.Task[Reply] | None = asyncio.create_task(self._page(path, "", headers))
        try:
            while following is not None:
                page = json.loads((await following).body)
                token = page["metadata"].get("continue", "")
                # The server makes the next page while this one is read.
                following = asyncio.create_task(self._page(path, token, headers)) if token else None
                for number, item in enumerate(page["items"]):
                    if number % _TURN == 0:
                        await asyncio.sleep(0)
                    yield item
        finally:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def _page(self, path: str, token: str, headers: dict[str, str] | None) -> Reply:
        query = f"?limit={_PAGE}" + (f"&continue={token}" if token else "")
        reply = await self._send("GET", path + query, headers=headers)
        if not reply.done:
            raise ClusterUnavailableError(f"listing {path}: HTTP {reply.code}")
        return reply

    async def cluster_uid(self) -> UUID:
        """The UID of `kube-system`, which is what names a cluster.

        Raises:
            ClusterUnavailableError: not reachable, or RBAC does not allow to read that namespace.
        """
        reply = await self._send("GET", "/api/v1/namespaces/kube-system")
        if not reply.done:
            raise ClusterUnavailableError(f"reading namespace kube-system: HTTP {reply.code}")
        return UUID(json.loads(reply.body)["metadata"]["uid"])

    @staticmethod
    def _path(kind: Kind, namespace: str | None = None) -> str:
        scope = f"/namespaces/{namespace}" if namespace is not None else ""
        return f"/apis/{GROUP}/{VERSION}{scope}/{kind.value}"

    async def _send(
        self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        reply = await self._once(method, path, body, headers or {})
        if reply.code == HTTPStatus.UNAUTHORIZED:  # a rotated token
            self._headers = (await asyncio.to_thread(self.login)).as_http_headers()
            reply = await self._once(method, path, body, headers or {})
        return reply

    async def _once(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> Reply:
        if self._session is None:
            raise ClusterUnavailableError("the session is not open")
        try:
            async with self._session.request(
                method, self._server + path, data=body, headers={**self._headers, **headers}
            ) as response:
                text = await response.text()
                after = response.headers.get("Retry-After", "")
                return Reply(response.status, float(after) if after.isdigit() else None, text)
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as error:
            raise ClusterUnavailableError(f"{method} {path}: {error!r}") from error

"""Namespaces and their labels, by which pools give consent: kept in the store, where it is judged."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from ipam_operator.domain.model import ObjectRef
from ipam_operator.errors import StoreFaultError, StoreUnavailableError
from ipam_operator.kube.apiserver import ApiServer
from ipam_operator.kube.backoff import CappedBackoff
from ipam_operator.store.parents import Parents

_log = logging.getLogger(__name__)


class Serve(Protocol):
    """Looks again at who waits for a pool."""

    def __call__(self, pool: ObjectRef, *, tell: bool) -> None:
        """With `tell`, also those that go without are told how it stands."""


class Tenants:
    """What events tell is written at once, all of it together; the resync writes all there are."""

    def __init__(self, api: ApiServer, parents: Parents, serve: Serve) -> None:
        self._api, self._parents, self._serve = api, parents, serve
        self._changes: dict[str, Mapping[str, str] | None] = {}
        self._listing: dict[str, Mapping[str, str] | None] | None = None
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()

    def see(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Take note of a Namespace."""
        name, labels = body["metadata"]["name"], None if event == "DELETED" else _labels(body)
        self._changes[name] = labels
        if self._listing is not None:
            self._listing[name] = labels
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled; a store that is away gets it later."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            for delay in CappedBackoff(0.2, 5.0):
                try:
                    async with self._turn:
                        changes, self._changes = self._changes, {}
                        await self._put(changes, whole=False)
                    break
                except StoreUnavailableError as error:
                    _log.warning("%d namespaces wait for the store: %s", len(changes), error)
                    self._changes = {**changes, **self._changes}
                    await asyncio.sleep(delay)
                except StoreFaultError:
                    _log.exception("the store refuses namespaces; the resync tries again")
                    break

    async def run_once(self) -> None:
        """Write all that there are.

        Raises:
            ClusterUnavailableError, StoreUnavailableError: nothing is written.
        """
        # What events tell while we read is newer than the list, and what they tell while we write comes after it.
        newer: dict[str, Mapping[str, str] | None] = {}
        self._listing = newer
        labels = {body["metadata"]["name"]: _labels(body) async for body in self._api.namespaces()}
        async with self._turn:
            self._listing = None
            await self._put({**labels, **newer}, whole=True)

    async def _put(self, labels: Mapping[str, Mapping[str, str] | None], *, whole: bool) -> None:
        for pool in await self._parents.put_tenants(labels, whole=whole):
            self._serve(pool, tell=True)


def _labels(body: Mapping[str, Any]) -> Mapping[str, str]:
    return body["metadata"].get("labels") or {}

"""Namespaces: their labels, by which pools give consent, and their limits. Kept in the store, where both are judged."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from ipam_operator.domain.model import ObjectRef
from ipam_operator.domain.rates import ANNOTATION
from ipam_operator.errors import StoreFaultError, StoreUnavailableError
from ipam_operator.kube.apiserver import ApiServer
from ipam_operator.kube.backoff import CappedBackoff
from ipam_operator.kube.newcomers import LetIn
from ipam_operator.store.parents import Parents

_log = logging.getLogger(__name__)


class Serve(Protocol):
    """Looks again at who waits for a pool."""

    def __call__(self, pool: ObjectRef, *, tell: bool) -> None:
        """With `tell`, also those that go without are told how it stands."""


class PutLimits(Protocol):
    """Takes what namespaces say of their limits."""

    async def __call__(self, annotations: Mapping[str, str | None], *, whole: bool) -> None:
        """`whole`: these are all namespaces that there are."""


class _Facts(NamedTuple):
    """What we keep of a Namespace; None instead: it is gone."""

    labels: Mapping[str, str]
    limits: str | None


class Tenants:
    """What events tell is written at once, all of it together; the resync writes all there are."""

    def __init__(
        self,
        api: ApiServer,
        parents: Parents,
        serve: Serve,
        put_limits: PutLimits | None = None,
        let_in: LetIn | None = None,
    ) -> None:
        self._api, self._parents, self._serve = api, parents, serve
        self._put_limits, self._let_in = put_limits, let_in
        self._changes: dict[str, _Facts | None] = {}
        self._listing: dict[str, _Facts | None] | None = None
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()

    def see(self, event: str | None, body: Mapping[str, Any]) -> None:
        """Take note of a Namespace."""
        name, facts = body["metadata"]["name"], None if event == "DELETED" else _facts(body)
        self._changes[name] = facts
        if self._listing is not None:
            self._listing[name] = facts
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
        newer: dict[str, _Facts | None] = {}
        self._listing = newer
        facts = {body["metadata"]["name"]: _facts(body) async for body in self._api.namespaces()}
        async with self._turn:
            self._listing = None
            await self._put({**facts, **newer}, whole=True)

    async def _put(self, facts: Mapping[str, _Facts | None], *, whole: bool) -> None:
        if self._put_limits is not None:
            await self._put_limits({name: one and one.limits for name, one in facts.items()}, whole=whole)
        labels = {name: one if one is None else one.labels for name, one in facts.items()}
        for pool in await self._parents.put_tenants(labels, whole=whole):
            self._serve(pool, tell=True)
        if self._let_in is not None:
            self._let_in({name: one is not None for name, one in facts.items()}, whole=whole)


def _facts(body: Mapping[str, Any]) -> _Facts:
    meta = body["metadata"]
    return _Facts(meta.get("labels") or {}, (meta.get("annotations") or {}).get(ANNOTATION))

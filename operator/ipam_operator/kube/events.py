"""Events for people: one on each transition that only the user can mend, aggregated per pool and namespace of claims.

Never the only record of anything (the condition is), never in anybody's way (fire and forget, bounded).
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from ipam_operator.errors import ClusterUnavailableError
from ipam_operator.kube.apiserver import ApiServer, Json, Target
from ipam_operator.kube.resources import GROUP, VERSION
from ipam_operator.kube.status import MESSAGE_LIMIT, rfc3339

PER_MINUTE: Final = 10
"""Above so many events about one group (a pool, say) within a minute, one summary says how many more there were."""
PER_NAMESPACE: Final = 100
"""Likewise of one namespace: whoever names ever new pools must not use up what others are told by."""
_WINDOW: Final = 60.0
_BACKLOG: Final = 1000

_log = logging.getLogger(__name__)


class Events:
    """A bounded recorder; what does not fit is counted in the group's summary."""

    def __init__(self, api: ApiServer, clock: Callable[[], float] = time.monotonic) -> None:
        self._api, self._clock = api, clock
        self._queue: asyncio.Queue[tuple[str, Json]] = asyncio.Queue(_BACKLOG)
        self._counts: Counter[str] = Counter()
        self._began = clock()

    def post(self, target: Target, reason: str, message: str, *, group: str = "") -> None:
        """Queue a Warning about `target`; `group` is what the rate is counted for (default: the object)."""
        if self._clock() - self._began >= _WINDOW:
            self._began = self._clock()
            self._counts.clear()
        namespace = f"/{target.ref.namespace}"
        if self._counts[namespace] >= PER_NAMESPACE:
            return
        key = group or str(target.uid)
        self._counts[key] += 1
        count = self._counts[key]
        if count > PER_MINUTE + 1:
            return
        self._counts[namespace] += 1
        if count == PER_MINUTE + 1:
            message = f"{message} (more of the same within a minute; each object's conditions tell)"
        if not self._queue.full():
            self._queue.put_nowait((target.ref.namespace, _event(target, reason, message)))

    async def run(self) -> None:
        """Post until cancelled; an event that fails is dropped."""
        while True:
            namespace, event = await self._queue.get()
            try:
                reply = await self._api.post_event(namespace, event)
                if not reply.done:
                    _log.debug("event in %s: HTTP %d", namespace, reply.code)
            except ClusterUnavailableError as error:
                _log.debug("%s", error)


def _event(target: Target, reason: str, message: str) -> Json:
    now = rfc3339(datetime.now(UTC))
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{target.ref.name[:200]}.{uuid4().hex[:16]}",
            "namespace": target.ref.namespace,
        },
        "involvedObject": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": target.kind.api_kind,
            "namespace": target.ref.namespace,
            "name": target.ref.name,
            "uid": str(target.uid),
        },
        "reason": reason,
        "message": message[:MESSAGE_LIMIT],
        "type": "Warning",
        "source": {"component": "ipam-operator"},
        "reportingComponent": f"{GROUP}/ipam-operator",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }

"""Whether what claims say of who asked can be believed: only while the API server refuses false stamps."""

import asyncio
import logging
from typing import Final

from ipam_operator.errors import ClusterUnavailableError
from ipam_operator.kube.apiserver import ApiServer
from ipam_operator.kube.inbox import Item
from ipam_operator.kube.resources import CHANGED_BY, REQUESTED_BY

_SECONDS: Final = 60.0
_log = logging.getLogger(__name__)


class Stamps:
    """Looks once a minute. What it cannot see it does not believe; a server that is away changes nothing."""

    def __init__(self, api: ApiServer) -> None:
        self._api = api
        self._told: bool | None = None
        self.believed = False
        self.looked = asyncio.Event()
        """There was a look since we lead: no claim is answered before."""

    def actor(self, item: Item) -> str:
        """Who asked, as admission stamped it; else with what, which is all that can be believed of the object."""
        annotations = (item.meta.get("annotations") or {}) if self.believed else {}
        stamped = annotations.get(CHANGED_BY) or annotations.get(REQUESTED_BY)
        return str(stamped or (f"manager {item.manager}" if item.manager else "unknown"))

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self.run_once()
            self.looked.set()
            await asyncio.sleep(_SECONDS)

    async def run_once(self) -> None:
        """One look."""
        try:
            self.believed = await self._api.protects_stamps()
        except ClusterUnavailableError as error:
            _log.warning("whether stamps are protected is not known: %s", error)
            return
        if self.believed is not self._told:
            self._told = self.believed
            if not self.believed:
                _log.warning(
                    "history will name programs instead of users: nothing keeps users from writing other names into"
                    " their claims; apply manifests/install/admission/protect-stamps.yaml"
                )

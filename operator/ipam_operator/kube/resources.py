"""Names that the API server knows us by."""

from enum import StrEnum
from typing import Final

from ipam_operator.api.names import GROUP, VERSION

__all__ = ["CHANGED_BY", "FINALIZER", "GROUP", "PROTECTION", "REQUESTED_BY", "TIMER_FINALIZER", "VERSION", "Kind"]

FINALIZER: Final = f"{GROUP}/release"
"""Held from before the first allocation until the store has let go."""
TIMER_FINALIZER: Final = f"{GROUP}/timer"
"""Kopf's own, for the timers of pools and networks; never `FINALIZER`, which Kopf would remove by itself."""
REQUESTED_BY: Final = f"{GROUP}/requested-by"
CHANGED_BY: Final = f"{GROUP}/changed-by"
PROTECTION: Final = f"stamps.ipclaims.{GROUP}"
"""Of the ValidatingAdmissionPolicy that keeps those two true, and of its binding."""


class Kind(StrEnum):
    """Our kinds, by the plural that stands in their URLs."""

    NETWORK = "ipnetworks"
    POOL = "ippools"
    CLAIM = "ipclaims"

    @property
    def api_kind(self) -> str:
        """The `kind` field of an object."""
        return {"ipnetworks": "IPNetwork", "ippools": "IPPool", "ipclaims": "IPClaim"}[self.value]

"""Faults. A refusal is never one of these: refusals are values (`domain.outcome`)."""


class IpamError(Exception):
    """Anything of ours that is broken rather than refused."""


class StoreUnavailableError(IpamError):
    """The database cannot answer now; the same call may be repeated and will be safe."""


class StoreUncomparedError(StoreUnavailableError):
    """The store may have forgotten what claims show, and grants nothing before it is compared with them.

    Nor does it release while a restore is under way.
    """


class StoreFaultError(IpamError):
    """The database refused a statement that should have worked; repeating it singly tells which one."""


class SchemaMismatchError(IpamError):
    """The database's schema is not the one this program was built for."""


class ForeignStoreError(IpamError):
    """The store belongs to another cluster (design rule 12); it must be adopted explicitly."""


class ClusterUnavailableError(IpamError):
    """The API server cannot answer now; the same call may be repeated."""


class SettingsError(IpamError):
    """A setting is missing, unknown or out of bounds; the message names each."""

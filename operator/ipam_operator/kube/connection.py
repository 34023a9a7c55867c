"""How we connect to an API server: as Kopf does, but as lenient with its certificate as kubectl is."""

import ssl
from typing import Self

import kopf


class Connection(kopf.ConnectionInfo):
    """Credentials and trust of one cluster; trusts an authority that says less of itself than RFC 5280 asks for.

    From Python 3.13 on such an authority is refused (4.2.1: key usage and key identifiers), by kubectl and by
    Kubernetes' own components it is not, and authorities of clusters live for ten years. Chain, names and dates are
    verified as ever.
    """

    @classmethod
    def of(cls, info: kopf.ConnectionInfo) -> Self:
        """The same credentials."""
        return cls(**vars(info))

    def as_ssl_context(self) -> ssl.SSLContext:
        """For the sessions with that API server."""
        context = super().as_ssl_context()
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context

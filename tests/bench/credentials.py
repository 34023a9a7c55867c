"""What a kubeconfig says, in aiohttp's words."""

import ssl
from pathlib import Path
from typing import Any

import kopf
import yaml


def credentials(kubeconfig: Path) -> tuple[str, ssl.SSLContext, dict[str, str]]:
    """Server, TLS context and headers of the current context, which is a client certificate or a token."""
    content = yaml.safe_load(kubeconfig.read_text())
    context = _named(content["contexts"], content["current-context"])["context"]
    cluster = _named(content["clusters"], context["cluster"])["cluster"]
    user = _named(content["users"], context["user"])["user"]
    info = kopf.ConnectionInfo(
        server=cluster["server"],
        ca_path=cluster.get("certificate-authority"),
        ca_data=cluster.get("certificate-authority-data"),
        certificate_path=user.get("client-certificate"),
        certificate_data=user.get("client-certificate-data"),
        private_key_path=user.get("client-key"),
        private_key_data=user.get("client-key-data"),
        token=user.get("token"),
    )
    tls = info.as_ssl_context()
    if not isinstance(tls, ssl.SSLContext):
        raise TypeError(f"{kubeconfig} leads to a server without TLS")
    return info.server.rstrip("/"), tls, dict(info.as_http_headers())


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)

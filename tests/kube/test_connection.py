"""Whose certificates are trusted."""

import ssl
from pathlib import Path
from typing import Any

import kopf
import pytest

from hack.pki import NEW_KEY, openssl
from ipam_operator.kube.connection import Connection

NAME = "127.0.0.1"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority as older tools made it, with no word of what its key is for, and a server's certificate of it."""
    made = tmp_path_factory.mktemp("old")
    openssl("req", "-x509", *NEW_KEY, "-subj", "/CN=old", "-keyout", made / "ca.key", "-out", made / "ca.crt")
    (made / "names").write_text(f"subjectAltName=IP:{NAME}\n")
    openssl("req", *NEW_KEY, "-subj", "/CN=server", "-keyout", made / "server.key", "-out", made / "server.csr")
    authority = ("-CA", made / "ca.crt", "-CAkey", made / "ca.key", "-CAcreateserial", "-extfile", made / "names")
    openssl("x509", "-req", "-in", made / "server.csr", *authority, "-out", made / "server.crt")
    return made


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python is as strict as those from 3.13 on."""
    lenient = ssl.create_default_context

    def create(*arguments: Any, **options: Any) -> ssl.SSLContext:
        context = lenient(*arguments, **options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(ssl, "create_default_context", create)


def shake_hands(client: ssl.SSLContext, certificate: Path, name: str = NAME) -> None:
    """With a server of this certificate, which is looked for by this name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(back, there, server_hostname=name)
    answering = context.wrap_bio(there, back, server_side=True)
    for side in (asking, answering, asking, answering):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue


def test_an_old_authority_is_trusted(old: Path) -> None:
    """As by kubectl; Python from 3.13 on would refuse it."""
    info = kopf.ConnectionInfo(server="https://127.0.0.1", ca_path=old / "ca.crt", token="t")
    with pytest.raises(ssl.SSLCertVerificationError, match="key usage"):
        shake_hands(info.as_ssl_context(), old / "server.crt")
    ours = Connection.of(info)
    shake_hands(ours.as_ssl_context(), old / "server.crt")
    assert vars(ours) == vars(info)


def test_what_matters_is_verified(old: Path) -> None:
    """The name, and the authority."""
    ours = Connection(server="https://127.0.0.1", ca_path=old / "ca.crt").as_ssl_context()
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        shake_hands(ours, old / "server.crt", "127.0.0.2")
    stranger = Connection(server="https://127.0.0.1").as_ssl_context()
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        shake_hands(stranger, old / "server.crt")

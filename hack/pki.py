"""Throw-away certificates, made by the openssl program."""

import ssl
import subprocess
from pathlib import Path

LOOPBACK = "127.0.0.1"
SERVICE_ADDRESS = "10.0.0.1"
DAYS = "365"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
AUTHORITY = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
SIGNED = """\
basicConstraints=critical,CA:false
keyUsage=critical,digitalSignature
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""
"""What RFC 5280 asks of either (4.2.1), and Python from 3.13 on insists on."""


def openssl(*args: str | Path) -> None:
    """Run one openssl command.

    Raises:
        RuntimeError: with its own words.
    """
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {args[0]} failed: {done.stderr}")


class Pki:
    """Certificates of one control plane: an authority, the server, an administrator, token keys.

    Args:
        directory: where they lie.
        address: the server's, beside loopback and its address as a service.
    """

    def __init__(self, directory: Path, address: str = LOOPBACK) -> None:
        self.dir = directory
        self.address = address
        self.authority = directory / "ca.crt"

    def make(self) -> None:
        """Make what is missing; an existing set is kept, so that a restarted server knows its tokens."""
        done = self.dir / "complete"
        if done.exists():
            return
        self.dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        subject = ("-days", DAYS, "-subj", "/CN=local-ca")
        openssl("req", "-x509", *NEW_KEY, *subject, *AUTHORITY, "-keyout", self.dir / "ca.key", "-out", self.authority)
        addresses = ",".join(f"IP:{each}" for each in sorted({LOOPBACK, SERVICE_ADDRESS, self.address}))
        names = f"DNS:localhost,DNS:kubernetes.default.svc,{addresses}"
        self._sign("apiserver", "/CN=kube-apiserver", f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n")
        self._sign("admin", "/O=system:masters/CN=local-admin", "extendedKeyUsage=clientAuth\n")
        key = self.dir / "sa.key"
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        openssl("ec", "-in", key, "-pubout", "-out", self.dir / "sa.pub")
        for file in self.dir.iterdir():
            file.chmod(0o600)
        done.touch()

    def admin_context(self) -> ssl.SSLContext:
        """TLS as the administrator."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.load_cert_chain(self.dir / "admin.crt", self.dir / "admin.key")
        return context

    def _sign(self, name: str, subject: str, extensions: str) -> None:
        base = self.dir / name
        request, extra = base.with_suffix(".csr"), base.with_suffix(".ext")
        extra.write_text(SIGNED + extensions)
        openssl("req", *NEW_KEY, "-subj", subject, "-keyout", base.with_suffix(".key"), "-out", request)
        authority = ("-CA", self.authority, "-CAkey", self.dir / "ca.key", "-CAcreateserial")
        openssl("x509", "-req", "-days", DAYS, "-in", request, *authority, "-extfile", extra,
                "-out", base.with_suffix(".crt"))  # fmt: skip

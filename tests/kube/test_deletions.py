"""The webhook's certificate and token are those that the files hold now."""

import asyncio
import ssl
from pathlib import Path

import pytest
from aiohttp import web

from hack.pki import Pki
from ipam_operator.errors import SettingsError
from ipam_operator.kube import deletions
from ipam_operator.kube.deletions import Credentials
from ipam_operator.kube.listening import listen
from tests.apiserver.support import eventually

LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> list[Pki]:
    """Two, each with a certificate for a server on loopback."""
    made = [Pki(tmp_path_factory.mktemp(name)) for name in ("first", "second")]
    for one in made:
        one.make()
    return made


def give(directory: Path, authority: Pki, token: str) -> None:
    """Put the files there."""
    for end in ("crt", "key"):
        (directory / f"tls.{end}").write_bytes((authority.dir / f"apiserver.{end}").read_bytes())
    (directory / "token").write_text(token)


async def trusted_by(authorities: list[Pki], port: int) -> list[bool]:
    """Who of them has signed what the server shows."""

    async def trusts(one: Pki) -> bool:
        context = ssl.create_default_context(cafile=str(one.authority))
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, port, ssl=context)
        except ssl.SSLCertVerificationError:
            return False
        writer.close()
        return True

    return [await trusts(one) for one in authorities]


async def test_new_files_need_no_restart(
    authorities: list[Pki], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewed certificate is shown to who connects next; files that are no pair, or half written, change nothing."""
    give(tmp_path, authorities[0], "old\n")
    credentials = Credentials(tmp_path)
    told = tmp_path / "port"
    serving = listen(web.Application(), host=LOOPBACK, port=0, port_file=str(told), encrypted=credentials.context)

    async def renewed(port: int) -> bool:
        return await trusted_by(authorities, port) == [False, True]

    monkeypatch.setattr(deletions, "_RELOAD_SECONDS", 0.02)
    tasks = [asyncio.create_task(serving), asyncio.create_task(credentials.follow())]
    try:
        async with asyncio.timeout(20):
            await eventually(lambda: asyncio.to_thread(told.exists), "it listens")
            port = int(told.read_text())
            assert await trusted_by(authorities, port) == [True, False]
            (tmp_path / "tls.crt").write_bytes((authorities[1].dir / "apiserver.crt").read_bytes())
            await asyncio.sleep(0.2)
            assert await trusted_by(authorities, port) == [True, False]
            give(tmp_path, authorities[1], "")
            await asyncio.sleep(0.2)
            assert await trusted_by(authorities, port) == [True, False]
            assert credentials.token == b"old"
            give(tmp_path, authorities[1], "new")
            await eventually(lambda: renewed(port), "the new certificate is shown")
            assert credentials.token == b"new"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("missing", ["tls.crt", "tls.key", "token"])
def test_each_file_is_needed(authorities: list[Pki], tmp_path: Path, missing: str) -> None:
    """The refusal names the setting and the directory."""
    give(tmp_path, authorities[0], "t")
    (tmp_path / missing).unlink()
    with pytest.raises(SettingsError, match=f"IPAM_WEBHOOK_DIRECTORY: {tmp_path}"):
        Credentials(tmp_path)

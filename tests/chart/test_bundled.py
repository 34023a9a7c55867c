"""The start script of the bundled database, with real programs and as the user of a pod: not root, no home."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from hack.places import temporary
from hack.postgres import LOOPBACK, free_port, server_user
from hack.postgres_binaries import find
from ipam_operator.errors import SchemaMismatchError
from ipam_operator.store.migrate import migrate, migrate_for, verify
from tests.chart.support import CHART

pytestmark = pytest.mark.db

SCRIPT = CHART / "files" / "postgres.sh"
SECONDS = 30.0
ODD = 'it\'s \\ odd; "$HOME"'


class Bundled:
    """A directory as the pod's volume, and whatever runs on it."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        self.home, self.secrets = directory / "data", directory / "passwords"
        self.home.mkdir()
        self.secrets.mkdir()
        shutil.copy(SCRIPT, directory / "start.sh")
        self._user = server_user()
        self.own(self.home)
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, password: str, *, wait: bool = True, path: str = "") -> None:
        """Start with this password in the owner's Secret, and twice the same in the operator's."""
        self._starts += 1
        (self.secrets / "owner").write_text(password)
        (self.secrets / "operator").write_text(password * 2)
        guard = [] if self._user is None else ["setpriv", f"--reuid={self._user.pw_uid}", "--clear-groups"]
        environment = {
            "PATH": path or f"{find()}{os.pathsep}{os.environ['PATH']}",
            "PGHOME": str(self.home),
            "IPAM_PASSWORDS": str(self.secrets),
        }
        options = [f"--port={self.port}", "--fsync=off", f"--unix_socket_directories={self.home}"]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*guard, "/bin/sh", self.directory / "start.sh", *options],
                env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/",
            )  # fmt: skip
        limit = time.monotonic() + SECONDS
        while wait and not self._answers():
            assert time.monotonic() < limit, self.log()
            assert self._process.poll() is None, self.log()
            time.sleep(0.05)

    def own(self, path: Path) -> None:
        """Give it to the user of the pod."""
        if self._user is not None:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def _answers(self) -> bool:
        return self.log().count("ready to accept connections") == self._starts

    def stop(self, how: signal.Signals | None = signal.SIGINT) -> int:
        """Signal the server as the pod's preStop does, or only wait for its end; its exit code."""
        if self._process is None:
            return 0
        if how is not None and self._process.poll() is None:
            self._process.send_signal(how)
        code = self._process.wait(SECONDS)
        self._process = None
        return code

    def log(self) -> str:
        """What script and server have said."""
        return (self.directory / "log").read_text()


@pytest.fixture
def bundled() -> Iterator[Bundled]:
    """An empty volume."""
    with temporary("bundled") as directory:
        made = Bundled(directory)
        yield made
        made.stop()


async def ask(bundled: Bundled, password: str, query: str, user: str = "ipam") -> object:
    """One value, by default as the schema's owner."""
    connection = await asyncpg.connect(host=LOOPBACK, port=bundled.port, user=user, database="ipam", password=password)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def url(bundled: Bundled, password: str, user: str = "ipam") -> str:
    """What stands in a Secret."""
    return f"postgresql://{user}:{password}@{LOOPBACK}:{bundled.port}/ipam"


async def test_volume_outlives_its_secret(bundled: Bundled) -> None:
    """Its owner can make the schema and is no superuser; data stay, and new passwords open them, both."""
    bundled.start("first")
    await migrate_for(url(bundled, "firstfirst", "ipam_service"), url(bundled, "first"))
    assert await ask(bundled, "first", "select rolsuper from pg_roles where rolname = current_user") is False
    before = await ask(bundled, "first", "select count(*) from ipam.migration")
    assert bundled.stop() == 0, bundled.log()
    bundled.start(ODD)
    assert await ask(bundled, ODD, "select count(*) from ipam.migration") == before
    assert await ask(bundled, ODD * 2, "select count(*) from ipam.migration", "ipam_service") == before
    for user, password in (("ipam", "first"), ("ipam_service", "firstfirst"), ("ipam_service", ODD)):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(bundled, password, "select 1", user)


async def test_the_operators_login_cannot_change_the_ledger(bundled: Bundled) -> None:
    """It reads, and neither writes nor becomes the owner."""
    bundled.start("p")
    await migrate_for(url(bundled, "pp", "ipam_service"), url(bundled, "p"))
    assert await ask(bundled, "pp", "select count(*) from ipam.lease", "ipam_service") == 0
    for query in ("delete from ipam.lease", "set role ipam", "create table public.mine (a int)"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(bundled, "pp", query, "ipam_service")


async def test_volume_of_before_the_second_login(bundled: Bundled) -> None:
    """A volume that knows the owner alone gets roles and login at the next start, and rights by the next migration."""
    bundled.start("p")
    await migrate(url(bundled, "p"))
    administrator = await asyncpg.connect(host=str(bundled.home), port=bundled.port, user="postgres", database="ipam")
    try:
        for role in ("ipam_service", "ipam_operator", "ipam_tenant"):
            await administrator.execute(f"drop owned by {role}; drop role {role}")
    finally:
        await administrator.close()
    assert await migrate(url(bundled, "p")) == [], "the older operator starts again"
    bundled.stop()
    bundled.start("p")
    with pytest.raises(SchemaMismatchError):
        await verify(url(bundled, "pp", "ipam_service"))
    await migrate_for(url(bundled, "pp", "ipam_service"), url(bundled, "p"))
    await verify(url(bundled, "pp", "ipam_service"))


async def test_start_after_a_crash(bundled: Bundled) -> None:
    """Neither half a volume is in the way nor, after a crash, a lock file whose process is somebody else's by now."""
    half = bundled.home / "pgdata.new"
    half.mkdir()
    (half / "PG_VERSION").touch()
    bundled.own(half)
    bundled.start("p")
    bundled.stop(signal.SIGQUIT)
    (bundled.home / "pgdata" / "postmaster.pid").write_text(f"{os.getpid()}\n/var/lib\n1\n5432\n\n*\n")
    bundled.start("p")
    assert await ask(bundled, "p", "select 1") == 1
    assert not half.exists()


def test_data_of_another_version_are_left_alone(bundled: Bundled) -> None:
    """An image of another major version is refused in words, before it touches anything."""
    data = bundled.home / "pgdata"
    data.mkdir()
    (data / "PG_VERSION").write_text("9\n")
    bundled.start("p", wait=False)
    assert bundled.stop(None) != 0
    assert "go back to 9" in bundled.log()


def test_identity_gives_any_uid_a_name(tmp_path: Path) -> None:
    """The file that the pod mounts as /etc/passwd names whoever runs it."""
    done = subprocess.run(["/bin/sh", SCRIPT, "identity", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(":") for line in (tmp_path / "passwd").read_text().splitlines()]
    assert str(os.getuid()) in {row[2] for row in rows}
    assert all(len(row) == 7 for row in rows)

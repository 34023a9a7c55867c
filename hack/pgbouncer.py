"""A PgBouncer of our own in transaction mode, the strictest kind: no session state survives a statement.

Debian's program, installed or unpacked beside it: installing would start a service.
"""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from hack.places import cache, is_root, locked, open_ground, temporary
from hack.postgres import LOOPBACK, OWNER, Postgres, free_port, server_user
from hack.processes import TIED, end, spawn, wait_ready
from hack.steps import step

INSTALL = "apt-get install -y --no-install-recommends pgbouncer"
SERVERS = 3
"""Connections to PostgreSQL per database: fewer than clients, so that two statements of one client get two of them."""
START_SECONDS = 20.0


def find() -> tuple[Path, Mapping[str, str]]:
    """The program, and the environment that it runs in: the system's, else Debian's packages unpacked.

    Raises:
        RuntimeError: neither; with the command that installs it.
    """
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
    if installed := shutil.which("pgbouncer", path=places):
        return Path(installed), {}
    return _unpacked()


def _unpacked() -> tuple[Path, Mapping[str, str]]:
    base = open_ground() / "cache" if is_root() else cache()
    home = base / "pgbouncer"
    program = home / "usr" / "sbin" / "pgbouncer"
    with locked(home):
        if not _runs(program, home):
            with step("PgBouncer: none on this machine, unpacking Debian's"):
                shutil.rmtree(home, ignore_errors=True)
                _download(home)
    if not _runs(program, home):
        raise RuntimeError(f"no PgBouncer: {INSTALL}")
    return program, _libraries(home)


def _libraries(home: Path) -> Mapping[str, str]:
    return {"LD_LIBRARY_PATH": os.pathsep.join(str(path) for path in sorted(home.glob("usr/lib/*-linux-gnu")))}


def _runs(program: Path, home: Path) -> bool:
    try:
        command = [str(program), "--version"]
        return subprocess.run(command, env=_libraries(home), capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _download(home: Path) -> None:
    """Debian's package, and of its dependencies the libraries that few machines have."""
    home.mkdir()
    try:
        if is_root():  # an image's package lists are often empty
            _quietly("apt-get", "update", directory=home)
        needs = _quietly("apt-cache", "depends", "pgbouncer", directory=home)
        libraries = re.findall(r"Depends: (libc-?ares\S*|libevent\S*)", needs)
        unconfined = ("-o", "APT::Sandbox::User=root") if is_root() else ()
        _quietly("apt-get", *unconfined, "download", "pgbouncer", *libraries, directory=home)
        for package in sorted(home.glob("*.deb")):
            _quietly("dpkg-deb", "--extract", str(package), ".", directory=home)
            package.unlink()
    except (OSError, subprocess.CalledProcessError) as failure:
        words = getattr(failure, "stderr", "") or str(failure)
        raise RuntimeError(f"no PgBouncer: {INSTALL} (and no package: {words.strip()})") from failure


def _quietly(*command: str, directory: Path) -> str:
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout


class PgBouncer:
    """In front of every database of a server, on loopback, for the server's own user and `logins` with passwords."""

    def __init__(
        self, postgres: Postgres, *, servers: int = SERVERS, logins: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._postgres, self.servers, self._logins = postgres, servers, logins
        self._stack = ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def url_for(self, database: str) -> str:
        """Of one of the server's databases, through us; `pgbouncer` is our own console."""
        return f"postgresql://{OWNER}:{self._postgres.password}@{LOOPBACK}:{self.port}/{database}"

    @property
    def pid(self) -> int:
        """Of the process; 0 while stopped."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def __enter__(self) -> Self:
        program, environment = find()
        with ExitStack() as stack:
            directory = stack.enter_context(temporary("pgbouncer"))
            for last in (False, False, True):
                try:
                    self._launch(program, environment, directory)
                    break
                except RuntimeError:  # another took our port
                    if last:
                        raise
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        self._stack.close()

    def _stop(self) -> None:
        if self._process is not None:
            end(self._process)
            self._process = None

    def _launch(self, program: Path, environment: Mapping[str, str], directory: Path) -> None:
        self.port = free_port()
        log = directory / "pgbouncer.log"
        users, settings = directory / "users.txt", directory / "pgbouncer.ini"
        logins = {OWNER: self._postgres.password, **self._logins}
        self._write(users, [f'"{name}" "{password}"' for name, password in logins.items()])
        self._write(settings, self._settings(users))
        user = server_user()
        guard = [] if user is None else [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        process = spawn(
            [program, settings],
            log,
            environment={"PATH": os.environ.get("PATH", ""), **environment},
            directory=Path("/"),
            guard=[*guard, *TIED],
        )

        def ready() -> bool:
            with socket.socket() as probe:
                return process.poll() is None and probe.connect_ex((LOOPBACK, self.port)) == 0

        self._process = process
        try:
            wait_ready(ready, process, log, START_SECONDS)
        except RuntimeError:
            self._stop()
            raise

    def _settings(self, users: Path) -> Sequence[str]:
        return (
            "[databases]",
            f"* = host={LOOPBACK} port={self._postgres.port}",
            "[pgbouncer]",
            f"listen_addr = {LOOPBACK}",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = scram-sha-256",
            f"auth_file = {users}",
            f"admin_users = {OWNER}",
            "pool_mode = transaction",
            f"default_pool_size = {self.servers}",
            "max_client_conn = 500",
            # Nothing is reset and no start-up parameter is ignored: whatever we left behind or asked for would show.
            "server_reset_query =",
            "ignore_startup_parameters =",
            "server_round_robin = 1",
            "autodb_idle_timeout = 60",
            # While the server is away whoever waits is told so, and not after two minutes: as we tell people to.
            "query_wait_timeout = 5",
        )

    @staticmethod
    def _write(file: Path, lines: Sequence[str]) -> None:
        file.touch(mode=0o600)
        file.write_text("\n".join(lines) + "\n")
        if (user := server_user()) is not None:
            os.chown(file, user.pw_uid, user.pw_gid)

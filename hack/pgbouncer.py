"""A PgBouncer of our own in transaction mode, the strictest kind: no session state survives a statement.

Debian's program, installed or unpacked beside it: installing would start a service.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from hack.debian import unpacked
from hack.places import temporary
from hack.postgres import LOOPBACK, OWNER, Postgres, free_port, server_user
from hack.processes import TIED, children, end, spawn, wait_ready

PROGRAM = Path("usr", "sbin", "pgbouncer")
"""Where Debian's package has it."""
SERVERS = 3
"""Connections to PostgreSQL per database: fewer than clients, so that two statements of one client get two of them."""
START_SECONDS = 20.0
SUPERVISED = """
trap 'kill -9 $pid; wait $pid; exit' TERM
while began=$(date +%s); "$@" & pid=$!; ! wait $pid; do [ $(($(date +%s) - began)) -ge 2 ] || exit 1; done
"""
"""For the shell: start it again, as systems do. Before 1.21 it ends with FATAL by cancel requests (its issue 822).

Who ends within two seconds of its start could not: another may have taken the port.
"""
PROVEN_SECONDS = 2.5
"""Who has run so long is surely started again."""


def find() -> tuple[Path, Mapping[str, str]]:
    """The program, and the environment that it runs in: the system's, else Debian's packages unpacked.

    Raises:
        RuntimeError: neither; with the command that installs it.
    """
    places = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
    if installed := shutil.which("pgbouncer", path=places):
        return Path(installed), {}
    home = unpacked("pgbouncer", _runs, r"libc-?ares\S*|libevent\S*")
    return home / PROGRAM, _libraries(home)


def _libraries(home: Path) -> Mapping[str, str]:
    return {"LD_LIBRARY_PATH": os.pathsep.join(str(path) for path in sorted(home.glob("usr/lib/*-linux-gnu")))}


def _runs(home: Path) -> bool:
    try:
        command = [str(home / PROGRAM), "--version"]
        return subprocess.run(command, env=_libraries(home), capture_output=True, check=False).returncode == 0
    except OSError:
        return False


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
        """Of the process; 0 while stopped. It is another one after it has ended by itself."""
        if self._process is None or self._process.poll() is not None:
            return 0
        return next(iter(children(self._process.pid)), 0)

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
            ["sh", "-c", SUPERVISED, "pgbouncer", "setpriv", *TIED, "--", program, settings],
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

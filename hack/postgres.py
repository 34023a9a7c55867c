"""A PostgreSQL server of our own: loopback and a private socket, ended with the process that started it."""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg

from hack.pki import Pki
from hack.places import NAME, is_root, make_temporary
from hack.postgres_binaries import find, has_extension
from hack.processes import TIED, children, end, spawn, tail, wait_ready

LOOPBACK = "127.0.0.1"
OWNER = "ipam"
DATABASE = "ipam"
OPERATOR = "ipam_service"
START_SECONDS = 60.0
CERTIFICATE = {"cert": "crt", "key": "key"}
#: Another took our port, or the backends of a crashed server are not all gone yet: try again.
PASSING = ("could not bind", "pre-existing shared memory block")
#: sun_path holds 107 bytes; the file is called .s.PGSQL.65535.
SOCKET_PATH_LIMIT = 90


def free_port() -> int:
    """A port nobody listens on right now; another process may still take it before we do."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def server_user() -> pwd.struct_passwd | None:
    """PostgreSQL refuses root: whom to run it as instead; None for ourselves."""
    if not is_root():
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


class Postgres:
    """A server with the database `ipam`, owned by the superuser `ipam`.

    Args:
        state_dir: where data, socket and log lie; kept when stopped, and started again from there.
            None makes a temporary one and removes it. As root it must be readable by others.
        durable: False turns fsync off: for tests, whose data nobody misses after a power cut.
        address: where it listens beside loopback, and the host of its URLs: for pods, which cannot reach ours.
        pki: whose server certificate it shows; None speaks no TLS. With it, who comes from elsewhere must.
    """

    def __init__(
        self,
        state_dir: Path | None = None,
        *,
        durable: bool = False,
        address: str = LOOPBACK,
        pki: Pki | None = None,
    ) -> None:
        self._temporary = state_dir is None
        self._user = server_user()
        self.dir = make_temporary("pg") if state_dir is None else state_dir
        self.durable = durable
        self.address = address
        self.pki = pki
        self.bin = find()
        self.port = 0
        self.password = ""
        self.log = self.dir / "postgres.log"
        self.socket_dir = self.dir / "socket"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Of the database `ipam`, over TCP, as superuser."""
        return self.url_for(DATABASE)

    def url_for(self, database: str) -> str:
        """The same of another database."""
        return f"postgresql://{OWNER}:{self.password}@{self.address}:{self.port}/{database}"

    async def operator_url(self) -> str:
        """Of the database `ipam`, for a login that may do what the operator has to, with a new password each time.

        Migrations make the role that it is a member of, so these come first.
        """
        password = secrets.token_hex(16)
        connection = await asyncpg.connect(self.url)
        try:
            known = await connection.fetchval("select count(*) from pg_roles where rolname = $1", OPERATOR)
            await connection.execute(f"{'alter' if known else 'create'} role {OPERATOR} login password '{password}'")
            await connection.execute(f"grant ipam_operator to {OPERATOR}")
        finally:
            await connection.close()
        return f"postgresql://{OPERATOR}:{password}@{self.address}:{self.port}/{DATABASE}"

    @property
    def pid(self) -> int:
        """Of the postmaster; 0 while stopped."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> Self:
        """Initialise where that is still to do, start, and wait until it answers.

        Raises:
            RuntimeError: it did not start; with the end of its log.
        """
        if self.pid:
            return self
        self._prepare()
        chosen = self.port != 0  # a port that is in use already may not change, a fresh one may
        for last in (False, False, True):
            self.port = self.port or free_port()
            try:
                self._launch()
            except RuntimeError as failure:
                if last or not any(words in str(failure) for words in PASSING):
                    raise
                self.port = self.port if chosen else 0
                time.sleep(1.0)
            else:
                break
        return self

    def stop(self, first: signal.Signals = signal.SIGINT) -> None:
        """Stop it; SIGINT is PostgreSQL's fast shutdown. Data and port stay."""
        if self._process is not None:
            end(self._process, first)
            self._process = None

    def kill(self) -> None:
        """End it as a crash would: no shutdown, and recovery at the next start on the same port."""
        self.stop(signal.SIGQUIT)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Its processes' clocks stand still meanwhile: connections stay, and nobody answers."""
        self._signal_all(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        for pid in (self.pid, *children(self.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def restart(self) -> None:
        """Stop and start on the same port."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop for good, and remove what was temporary."""
        self.stop()
        if self._temporary:
            shutil.rmtree(self.dir, ignore_errors=True)
        if self.socket_dir.parent != self.dir:
            shutil.rmtree(self.socket_dir, ignore_errors=True)

    def _give(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def _guard(self) -> list[str]:
        if self._user is None:
            return []
        return [f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}", "--clear-groups"]

    def _run(self, *args: str | Path, text: str = "") -> None:
        command = [*(["setpriv", *self._guard(), "--"] if self._user else []), *map(str, args)]
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, cwd="/", env=environment
        )
        if done.returncode != 0:
            raise RuntimeError(f"{Path(args[0]).name} failed:\n{done.stdout}{done.stderr}")

    def _prepare(self) -> None:
        self.dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        if len(str(self.socket_dir)) > SOCKET_PATH_LIMIT:
            self.socket_dir = Path(tempfile.mkdtemp(prefix=f"{NAME}-socket-"))
        self.socket_dir.mkdir(exist_ok=True, mode=0o700)
        self.log.touch(mode=0o600)
        secret = self.dir / "password"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text(secrets.token_hex(16))
        self.password = secret.read_text()
        for path in (self.socket_dir, self.log, secret):
            self._give(path)
        if self.pki is not None:
            self._take_certificate(self.pki)
        data = self.dir / "data"
        if (data / "initialised").exists():
            self._forget_stranger(data / "postmaster.pid")
            return
        shutil.rmtree(data, ignore_errors=True)  # half an initdb is none
        data.mkdir(mode=0o700)
        self._give(data)
        authentication = ("--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}")
        self._run(
            self.bin / "initdb", "--no-sync", "--locale=C", "--encoding=UTF8", f"--username={OWNER}",
            *authentication, f"--pgdata={data}",
        )  # fmt: skip
        if self.address != LOOPBACK:
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write(f"{'hostssl' if self.pki else 'host'} all all all scram-sha-256\n")
        self._run(self.bin / "postgres", "--single", "-D", data, "postgres", text=f"CREATE DATABASE {DATABASE}\n")
        (data / "initialised").touch()

    def _take_certificate(self, pki: Pki) -> None:
        """It must be the server's own, and nobody else's to read."""
        pki.make()
        for ending in ("crt", "key"):
            path = self.dir / f"server.{ending}"
            path.touch(mode=0o600)
            path.write_bytes((pki.dir / f"apiserver.{ending}").read_bytes())
            self._give(path)

    @staticmethod
    def _forget_stranger(pid_file: Path) -> None:
        """A crashed server's lock file whose pid now is another program's would forbid the start."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(pid_file.read_text().splitlines()[0])
            if b"postgres" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                pid_file.unlink()

    def _settings(self) -> dict[str, str]:
        fast = {} if self.durable else {"fsync": "off", "full_page_writes": "off"}
        watch = {}
        if has_extension(self.bin, "pg_stat_statements"):
            watch = {"shared_preload_libraries": "pg_stat_statements"}
        tls = {}
        if self.pki is not None:
            tls = {"ssl": "on", **{f"ssl_{what}_file": f"{self.dir}/server.{end}" for what, end in CERTIFICATE.items()}}
        return {
            "listen_addresses": ",".join(sorted({LOOPBACK, self.address})),
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_dir),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "shared_buffers": "256MB",
            "max_wal_size": "2GB",
            "timezone": "UTC",
            **fast,
            **watch,
            **tls,
        }

    def _launch(self) -> None:
        data = self.dir / "data"
        pid_file = data / "postmaster.pid"
        before = len(tail(self.log, 1 << 30))
        settings = [f"--{name}={value}" for name, value in self._settings().items()]
        process = spawn(
            [self.bin / "postgres", "-D", data, *settings],
            self.log,
            guard=[*self._guard(), *TIED],
            directory=Path("/"),
        )

        def ready() -> bool:
            try:
                lines = pid_file.read_text().splitlines()
            except OSError:
                return False
            return len(lines) > 7 and lines[0] == str(process.pid) and lines[7].strip() in {"ready", "standby"}

        self._process = process
        try:
            wait_ready(ready, process, self.log, START_SECONDS)
        except RuntimeError as failure:
            self.kill()
            raise RuntimeError(f"PostgreSQL did not start:\n{tail(self.log, 1 << 30)[before:]}") from failure

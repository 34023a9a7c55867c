"""The stack: PostgreSQL, a control plane that knows our kinds, and the operator as its own ServiceAccount."""

import asyncio
import os
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from hack.acquire import acquire
from hack.cluster import Cluster, ExternalCluster, KindCluster
from hack.control_plane import ControlPlane
from hack.install import NAMESPACE, SERVICE_ACCOUNT, install
from hack.places import ROOT, clone_key, server_state
from hack.postgres import LOOPBACK, Postgres
from hack.processes import end, spawn, wait_ready
from hack.samples import ROLE, SETTINGS
from hack.source import Source, Way
from hack.steps import step

OPERATOR_SECONDS = 60.0


def open_cluster(source: Source, state: Path, *, durable: bool = False) -> Cluster:
    """The cluster that a source leads to, not yet started; its files in `state`."""
    match source.way:
        case Way.KUBECONFIG:
            return ExternalCluster(source.path)
        case Way.KIND:
            return KindCluster(state, f"ipam-{clone_key(state)}")
        case Way.ASSETS | Way.CACHE | Way.BUILD:
            return ControlPlane(source.path.resolve(), state, durable=durable)


def operator_environment(database_url: str, kubeconfig: Path, overrides: Mapping[str, str]) -> dict[str, str]:
    """All that an operator's process sees: our settings, and nothing `IPAM_*` from the shell around us."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("IPAM_", "KUBE"))}
    return {
        **kept,
        "PYTHONPATH": str(ROOT / "operator"),
        "PYTHONUNBUFFERED": "1",
        "IPAM_DATABASE_URL": database_url,
        "KUBECONFIG": str(kubeconfig),
        "IPAM_HEALTH_PORT": "0",
        **overrides,
    }


def answers(url: str) -> bool:
    """Whether a GET of this loopback URL says 200."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as response:
            return bool(response.status == 200)
    except urllib.error.HTTPError as refusal:
        refusal.close()
    except OSError:
        pass
    return False


class Stack:
    """All of it as children of this process, started in order and stopped in reverse.

    Args:
        state: kubeconfig, env file and logs lie here.
        durable: fsync on, as a user's data deserves.
        operator: False leaves the operator out.
        started: told the name and pid of each process.
    """

    def __init__(
        self,
        state: Path,
        *,
        durable: bool = True,
        operator: bool = True,
        started: Callable[[str, int], None] = lambda _name, _pid: None,
    ) -> None:
        self.state = state.resolve()
        self.logs = self.state / "log"
        self.kubeconfig = self.state / "kubeconfig"
        self.operator_kubeconfig = self.state / "operator.kubeconfig"
        self.environment_file = self.state / "env"
        self.database_url = ""
        self.owner_database_url = ""
        self._durable = durable
        self._with_operator = operator
        self._started = started
        self._postgres: Postgres | None = None
        self._cluster: Cluster | None = None
        self._operator: subprocess.Popen[bytes] | None = None

    @property
    def cluster(self) -> Cluster:
        """The running cluster."""
        if self._cluster is None:
            raise RuntimeError("the stack is not up")
        return self._cluster

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop what runs, the last started first."""
        self.environment_file.unlink(missing_ok=True)
        if self._operator is not None:
            end(self._operator)
            self._operator = None
        if self._cluster is not None:
            self._cluster.stop()
            self._cluster = None
        if self._postgres is not None:
            self._postgres.close()
            self._postgres = None

    def environment(self) -> dict[str, str]:
        """What a shell needs to use this stack; `PATH` is what stands before the usual one."""
        directories = [Path(sys.executable).parent]
        if self.cluster.kubectl.parent != Path():
            directories.insert(0, self.cluster.kubectl.parent)
        return {
            "KUBECONFIG": str(self.kubeconfig),
            "IPAM_DATABASE_URL": self.database_url,
            "IPAM_OWNER_DATABASE_URL": self.owner_database_url,
            "PATH": os.pathsep.join(map(str, directories)),
        }

    def check(self) -> None:
        """Notice a process that died.

        Raises:
            RuntimeError: naming it.
        """
        if self._postgres is not None and not self._postgres.pid:
            raise RuntimeError(f"postgres died, see {self.logs}/postgres.log")
        if isinstance(self._cluster, ControlPlane) and (dead := self._cluster.dead()):
            raise RuntimeError(f"{', '.join(dead)} died, see {self.logs}")
        if self._operator is not None and self._operator.poll() is not None:
            raise RuntimeError(f"operator died (exit {self._operator.returncode}), see {self.logs}/operator.log")

    def _start(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        with step("control plane: choose"):
            source = acquire()
        with step("PostgreSQL"):
            postgres = self._start_postgres()
        with step("control plane"):
            self._start_cluster(source)
        with step("CRDs and permissions"):
            install(self.cluster)
            self.cluster.run_kubectl("apply", "--server-side", "--force-conflicts", "-f", ROLE)
            self.cluster.service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT, self.operator_kubeconfig)
        with step("schema of the store"):
            asyncio.run(self._migrate(postgres))
        if self._with_operator:
            with step("operator"):
                self._start_operator()
        self._write_environment()

    def _start_postgres(self) -> Postgres:
        self._postgres = postgres = Postgres(server_state(self.state), durable=self._durable)
        postgres.start()
        self._started("postgres", postgres.pid)
        self._link_log("postgres.log", postgres.log)
        return postgres

    def _start_cluster(self, source: Source) -> None:
        directory = self.state / "control-plane"
        directory.mkdir(exist_ok=True, mode=0o700)
        self._cluster = open_cluster(source, directory, durable=self._durable)
        self._cluster.start()
        if isinstance(self._cluster, ControlPlane):
            for name, pid in self._cluster.pids.items():
                self._started(name, pid)
                self._link_log(f"{name}.log", self._cluster.log(name))
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_bytes(self._cluster.kubeconfig.read_bytes())

    async def _migrate(self, postgres: Postgres) -> None:
        from ipam_operator.store.migrate import migrate

        self.owner_database_url = postgres.url
        await migrate(self.owner_database_url)
        self.database_url = await postgres.operator_url()

    def _start_operator(self) -> None:
        port_file, log = self.state / "operator.port", self.logs / "operator.log"
        port_file.unlink(missing_ok=True)
        settings = {"IPAM_HEALTH_PORT_FILE": str(port_file), **SETTINGS}
        environment = operator_environment(self.database_url, self.operator_kubeconfig, settings)
        command = [sys.executable, "-m", "hack.as_in_image", "run"]
        self._operator = spawn(command, log, environment=environment, directory=ROOT)
        self._started("operator", self._operator.pid)

        def ready() -> bool:
            port = port_file.read_text().strip() if port_file.exists() else ""
            return bool(port) and answers(f"http://{LOOPBACK}:{port}/readyz")

        wait_ready(ready, self._operator, log, OPERATOR_SECONDS)

    def _link_log(self, name: str, log: Path) -> None:
        link = self.logs / name
        link.unlink(missing_ok=True)
        link.symlink_to(log)

    def _write_environment(self) -> None:
        lines = [f"# {time.strftime('%F %T')}: source me, . {self.environment_file}"]
        for name, value in self.environment().items():
            rest = f'{os.pathsep}"$PATH"' if name == "PATH" else ""
            lines.append(f"export {name}={shlex.quote(value)}{rest}")
        self.environment_file.touch(mode=0o600)
        self.environment_file.write_text("\n".join(lines) + "\n")

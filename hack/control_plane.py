"""A real Kubernetes API on loopback: etcd, kube-apiserver, kube-controller-manager; no node."""

import json
import shutil
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from typing_extensions import override

from hack.cluster import Cluster, write_kubeconfig
from hack.pki import LOOPBACK, Pki
from hack.places import NAME
from hack.postgres import free_port
from hack.processes import STOP_SECONDS, end, spawn, wait_ready

#: What an operator meets: owner references, finalizers, namespace deletion, service accounts.
CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "clusterrole-aggregation-controller",
    "resourcequota-controller",
)
ETCD, APISERVER, CONTROLLER_MANAGER = "etcd", "kube-apiserver", "kube-controller-manager"
LOST_PORT = "address already in use"
#: An API server waits for its watchers to leave before it goes; its data is etcd's, so we do not.
PATIENCE = {APISERVER: 3.0}


class ControlPlane(Cluster):
    """etcd, kube-apiserver and kube-controller-manager as children of this process.

    Args:
        assets: directory of the programs.
        state: where files and logs lie; None makes a temporary directory and removes it.
            Started again on the same directory, it finds its objects again.
        apiserver_args: appended last, so they win.
        seconds: patience with each server.
        durable: False lets etcd skip fsync.
        address: where the API server listens; pods cannot reach loopback.
        controllers: what the controller manager runs.
    """

    def __init__(  # noqa: PLR0913 - all but two by keyword
        self,
        assets: Path,
        state: Path | None = None,
        *,
        apiserver_args: Sequence[str] = (),
        seconds: float = 60.0,
        durable: bool = False,
        address: str = LOOPBACK,
        controllers: Sequence[str] = CONTROLLERS,
    ) -> None:
        self.assets = assets
        self.address = address
        self.controllers = controllers
        self.kubectl = assets / "kubectl"
        self.apiserver_args = apiserver_args
        self.seconds = seconds
        self.durable = durable
        self._temporary = state is None
        self.dir = (Path(tempfile.mkdtemp(prefix=f"{NAME}-api-")) if state is None else state).resolve()
        self.pki = Pki(self.dir / "pki", address)
        self.kubeconfig = self.dir / "admin.kubeconfig"
        self.server = ""
        self._clients = self._peers = ""
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._tls: ssl.SSLContext | None = None

    @override
    def start(self) -> Self:
        try:
            self.dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.pki.make()
            self._tls = self.pki.admin_context()
            try:
                self._launch()
            except RuntimeError as failure:  # a port taken between free_port() and its server: once more
                if LOST_PORT not in str(failure):
                    raise
                self._stop_processes()
                self._launch()
        except BaseException:
            self.stop()
            raise
        return self

    @override
    def stop(self) -> None:
        self._stop_processes()
        if self._temporary:
            shutil.rmtree(self.dir, ignore_errors=True)

    @property
    def pids(self) -> dict[str, int]:
        """Name to pid of what runs."""
        return {name: process.pid for name, process in self._processes.items()}

    def dead(self) -> list[str]:
        """Names of servers that ended by themselves."""
        return [name for name, process in self._processes.items() if process.poll() is not None]

    def log(self, name: str) -> Path:
        """The log of one of the servers."""
        return self.dir / f"{name}.log"

    def get(self, path: str) -> bytes | None:
        """The body of a GET as the administrator; None for any error, also 403 and 404."""
        return self._fetch(self.server + path)

    @override
    def version(self) -> str:
        return str(json.loads(self.get("/version") or b"{}").get("gitVersion", "unknown"))

    def stop_apiserver(self, *, kill: bool = False) -> None:
        """Begin an outage: the API server ends, etcd and its data stay."""
        process = self._processes.pop(APISERVER)
        if kill:
            process.kill()
        end(process, seconds=PATIENCE[APISERVER])

    def start_apiserver(self) -> None:
        """End an outage: the API server again, on the same port, with the same data."""
        if APISERVER in self._processes and APISERVER not in self.dead():
            return
        files = self.pki.dir
        arguments = [
            f"--etcd-servers={self._clients}",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--secure-port={self.server.rpartition(':')[2]}",
            f"--tls-cert-file={files}/apiserver.crt",
            f"--tls-private-key-file={files}/apiserver.key",
            f"--client-ca-file={files}/ca.crt",
            "--authorization-mode=RBAC",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={files}/sa.pub",
            f"--service-account-signing-key-file={files}/sa.key",
            "--endpoint-reconciler-type=none",  # it refuses a loopback address, and no pod needs it
            *self.apiserver_args,
        ]
        self._run(APISERVER, f"{self.server}/readyz", arguments)

    def _launch(self) -> None:
        self._clients, self._peers = (f"http://{LOOPBACK}:{free_port()}" for _ in range(2))
        self.server = f"https://{self.address}:{free_port()}"
        files = self.pki.dir
        admin = {"client-certificate": f"{files}/admin.crt", "client-key": f"{files}/admin.key"}
        write_kubeconfig(self.kubeconfig, self.server, self.pki.authority, admin)
        etcd = [
            "--name=local",
            f"--data-dir={self.dir}/etcd",
            f"--listen-client-urls={self._clients}",
            f"--advertise-client-urls={self._clients}",
            f"--listen-peer-urls={self._peers}",
            f"--initial-advertise-peer-urls={self._peers}",
            f"--initial-cluster=local={self._peers}",
            "--log-level=warn",
        ]
        self._run(ETCD, f"{self._clients}/health", etcd if self.durable else [*etcd, "--unsafe-no-fsync"])
        self.start_apiserver()
        manager = [
            f"--kubeconfig={self.kubeconfig}",
            "--secure-port=0",
            "--leader-elect=false",
            f"--controllers={','.join(self.controllers)}",
            f"--service-account-private-key-file={files}/sa.key",
            f"--root-ca-file={files}/ca.crt",
        ]
        answer = f"{self.server}/api/v1/namespaces/default/serviceaccounts/default"
        self._run(CONTROLLER_MANAGER, answer, manager)

    def _run(self, name: str, ready_url: str, arguments: Sequence[str]) -> None:
        log = self.log(name)
        log.write_bytes(b"")  # a retry must not read the first attempt's words
        process = spawn([self.assets / name, *arguments], log)
        self._processes[name] = process
        wait_ready(lambda: self._fetch(ready_url) is not None, process, log, self.seconds)

    def _fetch(self, url: str) -> bytes | None:
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._tls)
        )
        try:
            with opener.open(url, timeout=2) as response:
                return bytes(response.read())
        except urllib.error.HTTPError as refusal:
            refusal.close()
        except OSError:
            pass
        return None

    def _stop_processes(self) -> None:
        # etcd last, whatever was started when: an API server that loses its etcd hangs in its shutdown.
        for name in (CONTROLLER_MANAGER, APISERVER, ETCD):
            if (process := self._processes.pop(name, None)) is not None:
                end(process, seconds=PATIENCE.get(name, STOP_SECONDS))

"""What the stack and the tests need of a Kubernetes API, wherever it comes from."""

import json
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from typing_extensions import override

from hack.steps import say

#: A year: longer than any local stack lives.
TOKEN_DURATION = "8760h"  # noqa: S105 - a length of time, not a secret


def write_kubeconfig(path: Path, server: str, authority: Path | str, user: dict[str, str]) -> None:
    """Write one cluster, one user, one context; JSON is YAML.

    Args:
        path: the file, readable by us alone.
        server: URL of the API server.
        authority: file of its certificate authority, or that certificate in base64.
        user: the `user` entry: a token, or certificate files.
    """
    key = "certificate-authority" if isinstance(authority, Path) else "certificate-authority-data"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "local",
        "clusters": [{"name": "local", "cluster": {"server": server, key: str(authority)}}],
        "users": [{"name": "local", "user": user}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": "local"}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content, indent=1))


class Cluster(ABC):
    """A running Kubernetes API: `kubeconfig` is the administrator's, `kubectl` its program."""

    kubeconfig: Path
    kubectl: Path

    @abstractmethod
    def start(self) -> Self:
        """Make it answer."""

    @abstractmethod
    def stop(self) -> None:
        """Leave nothing behind."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def run_kubectl(self, *args: str | Path, text: str | None = None) -> str:
        """Run kubectl as the administrator; returns what it prints.

        Raises:
            RuntimeError: it failed; with its own words.
        """
        command = [str(self.kubectl), f"--kubeconfig={self.kubeconfig}", *map(str, args)]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(map(str, args))} failed:\n{done.stderr}{done.stdout}")
        return done.stdout

    def version(self) -> str:
        """The version that the running server reports."""
        return str(json.loads(self.run_kubectl("get", "--raw", "/version"))["gitVersion"])

    def has_resource(self, group: str, name: str) -> bool:
        """Whether the server has this resource, in any version of its group."""
        return f"{name}.{group}" in self.run_kubectl("api-resources", f"--api-group={group}", "-o", "name").split()

    def service_account_kubeconfig(self, namespace: str, name: str, path: Path) -> Path:
        """Write a kubeconfig that speaks as this ServiceAccount, by a fresh token."""
        token = self.run_kubectl("create", "token", name, f"--namespace={namespace}", f"--duration={TOKEN_DURATION}")
        shown = self.run_kubectl("config", "view", "--minify", "--flatten", "-o", "json")
        cluster: dict[str, Any] = json.loads(shown)["clusters"][0]["cluster"]
        authority = str(cluster.get("certificate-authority-data", ""))
        write_kubeconfig(path, str(cluster["server"]), authority, {"token": token.strip()})
        return path

    def within(self, namespace: str, path: Path) -> "ExternalCluster":
        """The same cluster for a kubectl that points at this namespace, by a kubeconfig in `path`."""
        shown = json.loads(self.run_kubectl("config", "view", "--minify", "--flatten", "-o", "json"))
        shown["contexts"][0]["context"]["namespace"] = namespace
        path.touch(mode=0o600)
        path.write_text(json.dumps(shown))
        return ExternalCluster(path, self.kubectl)


class ExternalCluster(Cluster):
    """A cluster that somebody named explicitly; never started and never stopped by us."""

    def __init__(self, kubeconfig: Path, kubectl: Path = Path("kubectl")) -> None:
        self.kubeconfig = kubeconfig
        self.kubectl = kubectl

    @override
    def start(self) -> Self:
        self.version()
        return self

    @override
    def stop(self) -> None:
        return


class KindCluster(Cluster):
    """A cluster made by kind in docker, and deleted again. `config`: kind's own, for other nodes than one."""

    def __init__(self, state: Path, name: str, config: Path | None = None) -> None:
        self.name, self._config = name, config
        self.kubeconfig = state / "admin.kubeconfig"
        self.kubectl = Path("kubectl")

    @override
    def start(self) -> Self:
        self.kubeconfig.parent.mkdir(parents=True, exist_ok=True)
        self.stop()  # what a crashed run of the same name left
        create = [*f"kind create cluster --name {self.name} --wait 120s --kubeconfig".split(), str(self.kubeconfig)]
        nodes = [] if self._config is None else ["--config", str(self._config)]
        try:
            if subprocess.run([*create, *nodes], check=False).returncode != 0:
                raise RuntimeError(f"kind could not create {self.name}")
        except BaseException:
            self.stop()
            raise
        return self

    @override
    def stop(self) -> None:
        done = subprocess.run(
            ["kind", "delete", "cluster", "--name", self.name, "--kubeconfig", self.kubeconfig],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            say(f"kind could not delete {self.name}: {done.stderr}")

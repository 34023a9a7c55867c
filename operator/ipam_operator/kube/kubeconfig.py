"""One context of a kubeconfig file: where its cluster is, and how to log in there.

Kopf's own reading follows the current context alone, takes relative paths from wherever the program was started, and
starts no plugin.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import kopf
import yaml

from ipam_operator.errors import ClusterUnavailableError, SettingsError
from ipam_operator.kube.connection import Connection

_PLUGIN_SECONDS: Final = 60.0
_API: Final = "client.authentication.k8s.io/v1"
_FOREIGN: Final = ("as", "as-uid", "as-groups", "as-user-extra", "auth-provider")
"""Fields of a user that would have us be somebody else if we passed over them."""
_SERVER_NAME: Final = "tls-server-name"


@dataclass(frozen=True, slots=True)
class Context:
    """A context that is there, with its cluster and its user."""

    file: Path
    name: str
    cluster: Mapping[str, Any]
    user: Mapping[str, Any]

    @property
    def server(self) -> str:
        """URL of the API server."""
        return str(self.cluster["server"])

    def login(self) -> kopf.ConnectionInfo:
        """Credentials as they are now: files are read and a plugin is run anew at each call.

        Raises:
            ClusterUnavailableError: a file cannot be read, or the plugin gives nothing.
        """
        user = {**self.user, **(self._ask(self.user["exec"]) if "exec" in self.user else {})}
        token = user.get("token")
        try:
            if "tokenFile" in user:  # it wins, as with kubectl
                token = self._path(user["tokenFile"]).read_text().strip()
        except OSError as error:
            raise ClusterUnavailableError(f"user of context {self.name}: {error}") from error
        return Connection(
            server=self.server,
            insecure=self.cluster.get("insecure-skip-tls-verify"),
            proxy_url=self.cluster.get("proxy-url"),
            username=user.get("username"),
            password=user.get("password"),
            token=token,
            **self._either("ca", self.cluster, "certificate-authority"),
            **self._either("certificate", user, "client-certificate"),
            **self._either("private_key", user, "client-key"),
        )

    def _either(self, name: str, entry: Mapping[str, Any], key: str) -> dict[str, Any]:
        if data := entry.get(f"{key}-data"):  # it wins, as with kubectl
            return {f"{name}_data": data}
        return {f"{name}_path": self._path(entry[key])} if entry.get(key) else {}

    def _path(self, name: str) -> Path:
        return self.file.parent / name

    def _ask(self, plugin: Mapping[str, Any]) -> dict[str, Any]:
        """Run the plugin of the user; what it says in the words of a kubeconfig."""
        command = str(plugin["command"])
        if os.sep in command:
            command = str(self._path(command))
        told = {"apiVersion": plugin.get("apiVersion", _API), "kind": "ExecCredential", "spec": {"interactive": False}}
        wanted = {one["name"]: one["value"] for one in plugin.get("env") or ()}
        try:
            done = subprocess.run(
                [command, *map(str, plugin.get("args") or ())],
                env={**os.environ, **wanted, "KUBERNETES_EXEC_INFO": json.dumps(told)},
                stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_PLUGIN_SECONDS,
            )  # fmt: skip
            status = dict(json.loads(done.stdout)["status"]) if done.returncode == 0 else None
        except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
            raise ClusterUnavailableError(f"{command}, which logs in for context {self.name}: {error!r}") from error
        if status is None:
            raise ClusterUnavailableError(f"{command}, which logs in for context {self.name}: {done.stderr.strip()}")
        names = {
            "token": "token",
            "clientCertificateData": "client-certificate-data",
            "clientKeyData": "client-key-data",
        }
        return {ours: status[theirs] for theirs, ours in names.items() if status.get(theirs)}


def read(file: Path, name: str | None) -> Context:
    """The context of this name; None: the file's current one.

    Raises:
        SettingsError: it cannot be had, in one line with what can.
    """
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"--kubeconfig {file}: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"--kubeconfig {file} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, Mapping):
        raise SettingsError(f"--kubeconfig {file} is no kubeconfig")
    contexts = _entries(content, "context")
    there = f"it has: {', '.join(sorted(contexts)) or 'none'}"
    chosen = name or content.get("current-context")
    if not chosen:
        raise SettingsError(f"--kubeconfig {file} has no current context: choose one by --context; {there}")
    if chosen not in contexts:
        raise SettingsError(f"--kubeconfig {file} has no context {chosen}; {there}")
    cluster = _entries(content, "cluster").get(contexts[chosen].get("cluster", ""), {})
    user = _entries(content, "user").get(contexts[chosen].get("user", ""), {})
    if not cluster.get("server"):
        raise SettingsError(f"--kubeconfig {file}: the cluster of context {chosen} is not there, or has no server")
    if "exec" in user and not user["exec"].get("command"):
        raise SettingsError(f"--kubeconfig {file}: the exec plugin of context {chosen} has no command")
    foreign = [key for key in _FOREIGN if key in user] + [key for key in (_SERVER_NAME,) if key in cluster]
    if foreign:
        raise SettingsError(
            f"--kubeconfig {file}: context {chosen} has {', '.join(foreign)}, which is not supported; "
            "a token of a ServiceAccount is, a client certificate, and an exec plugin"
        )
    return Context(file.absolute(), str(chosen), cluster, user)


def _entries(content: Mapping[str, Any], kind: str) -> dict[str, Mapping[str, Any]]:
    return {one.get("name", ""): one.get(kind) or {} for one in content.get(f"{kind}s") or ()}

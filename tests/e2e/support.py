"""A release of the chart, the pods that it makes, and claims that keep coming."""

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from hack.install import await_served
from hack.node import Node
from hack.places import ROOT
from tests.apiserver.support import Tenant, addresses, bound, eventually
from tests.support.cluster import ApiError, Json
from tests.support.metrics import parse

CHART: Final = ROOT / "charts" / "ipam-operator"
RELEASE, NAMESPACE = "ipam-operator", "ipam-system"
SECRET: Final = "ipam-database"
CA_SECRET: Final = "ipam-database-ca"
DEPLOYMENT: Final = f"deployment/{RELEASE}"
OPERATORS: Final = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component=operator"
HELM_SECONDS: Final = 120
NOTICEABLE_SECONDS: Final = 1.5
SAID: Final[list[str]] = []
Values = Mapping[str, Any]


class HelmError(RuntimeError):
    """Helm refused, or gave up waiting; with its words."""


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Have the seconds told at the end of the run: how long an installation takes is part of what it promises."""
    began = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - began:.1f} s")


def say(text: str) -> None:
    """Have a line told at the end of the run, whether its test passes or not."""
    SAID.append(text)


class Release:
    """The chart under its usual name in its usual namespace.

    Args:
        node: the cluster.
        helm: the program.
        values: what this installation sets; those of a call win.
    """

    def __init__(self, node: Node, helm: Path, values: Values) -> None:
        self.node, self.values = node, values
        self._helm = helm

    def helm(self, *arguments: str | Path, values: Values | None = None) -> str:
        """Run helm on the release.

        Raises:
            HelmError: it failed.
        """
        text = json.dumps(values) if values is not None else None
        command = [str(self._helm), *map(str, arguments), "--namespace", NAMESPACE]
        done = subprocess.run(
            [*command, *(["--values", "-"] if text else [])],
            input=text, capture_output=True, text=True, check=False, env=self.node.environment(),
        )  # fmt: skip
        if done.returncode != 0:
            raise HelmError(f"helm {' '.join(map(str, arguments))}:\n{done.stderr}{done.stdout}")
        return done.stdout

    def environment(self) -> dict[str, str]:
        """Of a shell that finds kubectl, helm and the cluster."""
        found = self.node.environment()
        return {**found, "PATH": f"{self._helm.parent}{os.pathsep}{found['PATH']}"}

    def prepare(self, **secrets: Values) -> None:
        """The namespace, in which only restricted pods may run, and Secrets in it."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": NAMESPACE, "labels": labels}
        objects = [{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}] + [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "stringData": data,
            }
            for name, data in secrets.items()
        ]
        self.node.run_kubectl(
            "apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        )

    def install(self, **values: Any) -> str:
        """Install or upgrade, and wait until it is ready; Helm's words."""
        command = ("upgrade", "--install", RELEASE, CHART, "--wait")
        said = self.helm(*command, f"--timeout={HELM_SECONDS}s", values=merged(self.values, values))
        began = time.monotonic()
        await_served(self.node)  # the API server's admission sees new kinds and policies only after a while
        if (seconds := time.monotonic() - began) > NOTICEABLE_SECONDS:
            say(f"... and the API server took our kinds {seconds:.1f} s later")
        return said

    def uninstall(self) -> None:
        """Uninstall, and wait until its pods are gone: Helm itself returns before that."""
        self.helm("uninstall", RELEASE, "--wait", f"--timeout={HELM_SECONDS}s")
        self.kubectl("wait", "--for=delete", "pod", "-l", f"app.kubernetes.io/instance={RELEASE}", "--timeout=60s")

    def purge(self) -> None:
        """Leave nothing: no release, no kinds of ours, no namespace."""
        with suppress(HelmError):
            self.uninstall()
        kinds = self.node.run_kubectl("get", "crd", "-o", "name").split()
        if ours := [kind for kind in kinds if kind.endswith(".ipam.dotmac.io")]:
            self.node.run_kubectl("delete", "--timeout=60s", *ours)
        self.node.run_kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=60s")

    def kubectl(self, *arguments: str | Path, text: str | None = None) -> str:
        """Run kubectl in the release's namespace."""
        return self.node.run_kubectl("--namespace", NAMESPACE, *arguments, text=text)

    def pods(self) -> list[Json]:
        """The operator's pods that are not ending."""
        listed = json.loads(self.kubectl("get", "pods", "-l", OPERATORS, "-o", "json"))["items"]
        return [pod for pod in listed if "deletionTimestamp" not in pod["metadata"]]

    def database_url(self) -> str:
        """With which the pods log in, for somebody who has no name service: its host is the Service's address."""
        (container,) = self.pods()[0]["spec"]["containers"]
        (source,) = (row["valueFrom"] for row in container["env"] if row["name"] == "IPAM_DATABASE_URL")
        secret = json.loads(self.kubectl("get", "secret", source["secretKeyRef"]["name"], "-o", "json"))
        url = b64decode(secret["data"][source["secretKeyRef"]["key"]]).decode()
        name = str(urlsplit(url).hostname)
        address = self.kubectl("get", "service", name.split(".", maxsplit=1)[0], "-o", "jsonpath={.spec.clusterIP}")
        return url.replace(f"@{name}:", f"@{address}:")

    async def leader(self) -> Json:
        """Ask the pods until one says that it leads."""
        found: list[Json] = []

        async def led() -> bool:
            found[:] = [pod for pod in self.pods() if await leads(pod)]
            return len(found) == 1

        await eventually(led, "one pod leads", 60.0)
        return found[0]

    def kill9(self, pod: Json) -> None:
        """End a pod's operator as the OOM killer would: from outside, since no namespace can kill its own PID 1."""
        pids = operator_processes(pod["metadata"]["uid"])
        assert pids, f"no process of {pod['metadata']['name']}"
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def scale(self, replicas: int) -> None:
        """Change the number of replicas, and wait until it is so."""
        self.kubectl("scale", DEPLOYMENT, f"--replicas={replicas}")
        self.await_rollout()

    def await_rollout(self, seconds: int = HELM_SECONDS) -> None:
        """Wait until all replicas are there and ready, and no others."""
        self.kubectl("rollout", "status", DEPLOYMENT, f"--timeout={seconds}s")

    def describe(self) -> str:
        """What a failed test leaves behind: pods, events, logs."""
        logs = ("logs", "-l", f"app.kubernetes.io/instance={RELEASE}", "--tail=40", "--prefix", "--all-containers")
        wanted: Sequence[Sequence[str]] = (
            ("get", "pods", "-o", "wide"),
            ("get", "events", "--sort-by=.lastTimestamp"),
            logs,
            (*logs, "--previous"),
        )
        said = []
        for arguments in wanted:
            with suppress(RuntimeError):
                said.append(self.kubectl(*arguments))
        return "\n".join(said)


def merged(first: Values, second: Values) -> dict[str, Any]:
    """Values laid over others, as Helm does."""
    found = dict(first)
    for name, value in second.items():
        below = found.get(name)
        found[name] = merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return found


def operator_processes(uid: str) -> list[int]:
    """Host pids of the operator in the pod with this UID."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # it has ended meanwhile
            if uid in (entry / "cgroup").read_text() and b"ipam" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def ready(pod: Json) -> bool:
    """Whether Kubernetes sends a pod requests."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


async def leads(pod: Json) -> bool:
    """Whether this pod says that it leads."""
    address = pod.get("status", {}).get("podIP")
    try:
        return bool(address) and parse(await fetch(address, "/metrics")).total("ipam_leader") == 1
    except OSError:
        return False


async def fetch(address: str, path: str) -> str:
    """The body of a GET from a pod.

    Raises:
        OSError: it does not answer.
    """
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(address, 8080)
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
            await writer.drain()
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
    if not re.match(rb"HTTP/1\.[01] 200", head):
        raise ConnectionError(head.decode(errors="replace"))
    return body.decode()


@dataclass(frozen=True)
class Tally:
    """What became of the claims of a flow."""

    created: int
    released: int
    longest: float
    """Seconds that the slowest claim waited for its address."""
    refused: int
    """Deletions that had to be tried again, because no operator could note who asked."""

    def __str__(self) -> str:
        said = f"{self.created} claims, {self.released} of them released again, slowest after {self.longest:.1f} s"
        return f"{said}, {self.refused} deletions tried again" if self.refused else said


class Flow:
    """Claims that come at a steady pace while something happens; every third goes again once it has its address."""

    PACE: Final = 20.0
    PATIENCE: Final = 90.0

    def __init__(self, tenant: Tenant, prefix: str = "flow") -> None:
        self._tenant, self._prefix = tenant, prefix
        self._created: dict[str, float] = {}
        self._bound: dict[str, float] = {}
        self._deleted: set[str] = set()
        self._refused = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._create()), asyncio.create_task(self._watch())]
        await self.served(20)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def served(self, more: int) -> None:
        """Wait until so many more have addresses."""
        enough = len(self._bound) + more

        async def so() -> bool:
            self._raise()
            return len(self._bound) >= enough

        await eventually(so, f"{enough} claims have addresses", self.PATIENCE)

    async def finish(self) -> Tally:
        """Let no more come, and wait until all that came have addresses: none may be lost."""
        self._over.set()
        await self._tasks[0]

        async def so() -> bool:
            self._raise()
            return self._created.keys() <= self._bound.keys()

        await eventually(so, "every claim has its addresses", self.PATIENCE)
        await self._tenant.gone("IPClaim", *(self._deleted or {"nobody"}))
        waits = [self._bound[name] - created for name, created in self._created.items()]
        return Tally(len(self._created), len(self._deleted), max(waits), self._refused)

    def _raise(self) -> None:
        for task in self._tasks:
            if task.done() and not task.cancelled() and (fault := task.exception()):
                raise fault

    async def _create(self) -> None:
        while not self._over.is_set():
            name = f"{self._prefix}-{len(self._created)}"
            self._created[name] = time.monotonic()
            await self._tenant.claim(name)
            if len(self._created) % 3 == 0:
                await self._release_one()
            await asyncio.sleep(1 / self.PACE)

    async def _release_one(self) -> None:
        name = next((name for name in self._bound if name not in self._deleted), None)
        if name is not None:
            try:
                await self._tenant.delete("IPClaim", name)
            except ApiError as refused:
                if "deletions.ipclaims" not in str(refused):
                    raise
                self._refused += 1
            else:
                self._deleted.add(name)

    async def _watch(self) -> None:
        api, namespace = self._tenant.api, self._tenant.namespace
        while True:
            listed = await api.request("GET", api.path("IPClaim", namespace))
            for item in listed["items"]:
                self._note(item)
            async for _, item in api.watch("IPClaim", namespace, listed["metadata"]["resourceVersion"]):
                self._note(item)

    def _note(self, item: Json) -> None:
        if bound(item) and addresses(item) and item["metadata"]["name"] in self._created:
            self._bound.setdefault(item["metadata"]["name"], time.monotonic())

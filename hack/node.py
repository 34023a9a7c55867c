"""A real Kubernetes cluster of two nodes on this machine: containerd, kubelet, kube-proxy, scheduler, DNS.

`python -m hack.node up` keeps it in the background, `exec -- kubectl get pods -A` runs a command in its network,
`load IMAGE.tar` gives it an image, `status` and `down` are what they say. It needs root and Linux.

Everything lives in network, mount and PID namespaces of its own: when the first process in there ends, the kernel ends
the rest, and mounts and interfaces go with them. Outside, it touches its state directory and one tree of cgroups.
"""

import argparse
import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from typing_extensions import override

from hack import node_packages
from hack.acquire import acquire, node_programs
from hack.cluster import Cluster
from hack.places import ROOT
from hack.processes import Register, children, exit_on_signals, tail
from hack.source import Source, SourceError, Way
from hack.steps import say, step

CGROUPS = Path("/sys/fs/cgroup")
HIDDEN = ("/run", "/var/lib", "/var/log")
"""A node has its own of these, so that all programs find their usual places in there."""
STATE = ROOT / ".local" / "node"
FIRST = "first"
READY_SECONDS = 120.0
CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Machine:
    """One node: its name, its address, which is its pods' gateway as well, and the addresses of its pods."""

    number: int

    @property
    def name(self) -> str:
        """As Kubernetes knows it."""
        return f"node{self.number}"

    @property
    def address(self) -> str:
        """Of its kubelet."""
        return f"10.88.{self.number}.1"

    @property
    def pods(self) -> str:
        """Addresses of its pods."""
        return f"10.88.{self.number}.0/24"

    @property
    def bridge(self) -> str:
        """The interface between them."""
        return f"cni{self.number}"

    @property
    def mac(self) -> str:
        """Of that interface, locally administered."""
        return f"02:00:0a:58:{self.number:02x}:01"


MACHINES = (Machine(1), Machine(2))
ADDRESS = MACHINES[0].address
"""Where the API server listens, and DNS; a server of a test that pods are to reach listens here too."""


class Node(Cluster):
    """The cluster from outside.

    Args:
        control_plane: directory of etcd, the API server, the controller manager and kubectl.
        programs: directory of the kubelet and the others.
        state: where files and logs lie; logs stay.
    """

    def __init__(self, control_plane: Path, programs: Path, state: Path = STATE) -> None:
        self.assets = control_plane.resolve()
        self.programs = programs.resolve()
        self.state = state.resolve()
        self.kubeconfig = self.state / "control-plane" / "admin.kubeconfig"
        self.kubectl = self.assets / "kubectl"
        self.cgroup = "node-" + hashlib.sha256(str(self.state).encode()).hexdigest()[:8]
        self.log = self.state / "log" / "node.log"
        self._register = Register(self.state / "processes.json")
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    @override
    def start(self, *, detached: bool = False) -> Self:
        """Make it answer, and its nodes be ready.

        Args:
            detached: it outlives us; else it ends with us, however we end.

        Raises:
            RuntimeError: it cannot be here, or it did not start; with the end of its log.
        """
        node_packages.install()
        for path in (ROOT, self.assets, self.programs, self.state):
            if any(path.is_relative_to(hidden) for hidden in HIDDEN):
                raise RuntimeError(f"{path} lies under one of {', '.join(HIDDEN)}, which a node has its own of")
        if self.pid:
            raise RuntimeError(f"already up: {self.state}")
        self._clean()
        shutil.rmtree(self.state / "log", ignore_errors=True)
        self.log.parent.mkdir(parents=True)
        for root in cgroup_roots():
            for machine in MACHINES:
                (root / f"{self.cgroup}-{machine.name}").mkdir(exist_ok=True)
        try:
            self._process = self._launch(detached=detached)
            self._await_ready(self._process)
        except BaseException:
            self.stop()
            raise
        if detached:
            self._process.returncode = 0  # it lives on without us; nobody is to wait for it
            self._process = None
            self._unlock()
        return self

    def _launch(self, *, detached: bool) -> "subprocess.Popen[bytes]":
        # Its standard input is the line of life: the inside ends when that closes. Should we be killed, setpriv and
        # --kill-child pass it on.
        tie = [] if detached else ["setpriv", "--pdeathsig", "KILL", "--"]
        unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
        inside = [sys.executable, "-m", "hack.node_inside", "cluster", self.assets, self.programs, self.state]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*tie, *unshare, *map(str, inside), self.cgroup, *(["detached"] if detached else [])],
                cwd=ROOT,
                stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _await_ready(self, process: "subprocess.Popen[bytes]") -> None:
        limit = time.monotonic() + READY_SECONDS
        while not (self.state / "ready.json").exists():
            if process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"no node, see {self.log.parent}:\n{tail(self.log)}")
            if not self._register.read():
                for pid in children(process.pid)[:1]:
                    self._register.add(FIRST, pid)
            time.sleep(0.05)

    @override
    def stop(self) -> None:
        if self._process is not None:
            if self._process.stdin is not None:
                self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
            self._process.kill()
            self._process.wait()
            self._process = None
        for who in self._register.read().values():
            who.stop(signal.SIGKILL)  # the first process of a PID namespace: the rest goes with it
        self._clean()
        self._unlock()

    @property
    def pid(self) -> int:
        """Of its first process; 0 if it is not up."""
        who = self._register.read().get(FIRST)
        return who.pid if who is not None and who.alive else 0

    @property
    def report(self) -> dict[str, Any]:
        """What it said when it was ready: `version`, `seconds`, `machines` with a pid of each in there."""
        found: dict[str, Any] = json.loads((self.state / "ready.json").read_text())
        return found

    def command(self, *command: str | Path, namespaces: Sequence[str] = ("net",)) -> list[str]:
        """What runs a command in there: in its network only by default, so that files are the caller's.

        Raises:
            RuntimeError: it is not up.
        """
        if not self.pid:
            raise RuntimeError(f"no node is up in {self.state}: make node-up")
        return ["nsenter", "--target", str(self.pid), *(f"--{each}" for each in namespaces), "--", *map(str, command)]

    @override
    def run_kubectl(self, *args: str | Path, text: str | None = None) -> str:
        command = self.command(self.kubectl, f"--kubeconfig={self.kubeconfig}", *args)
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(map(str, args))} failed:\n{done.stderr}{done.stdout}")
        return done.stdout

    def load(self, *archives: Path, machines: Sequence[Machine] = MACHINES) -> None:
        """Give docker archives to each of these nodes; a pod then needs `imagePullPolicy: Never` or `IfNotPresent`.

        Raises:
            RuntimeError: containerd refused one; with its words.
        """
        work = [(machine, archive) for machine in machines for archive in archives]
        with ThreadPoolExecutor(len(MACHINES)) as pool:
            for _ in pool.map(lambda each: self._load(*each), work):
                pass

    def _load(self, machine: Machine, archive: Path) -> None:
        within = ["nsenter", "--target", str(self.report["machines"][machine.name]), "--mount", "--"]
        command = self.command(*within, *IMPORT, "-", namespaces=("net", "mount", "pid"))
        with archive.open("rb") as content:
            done = subprocess.run(command, stdin=content, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{machine.name} cannot load {archive}: {done.stderr}")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in the cluster's network: its sockets, its new threads, what it starts.

        Raises:
            OSError: we may not.
        """
        libc = ctypes.CDLL(None, use_errno=True)

        def enter(handle: int) -> None:
            if libc.setns(handle, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")

        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
        try:
            enter(there)
            yield
        finally:
            enter(home)
            os.close(home)
            os.close(there)

    def environment(self) -> dict[str, str]:
        """What a command needs to find the cluster."""
        search = f"{self.assets}{os.pathsep}{os.environ.get('PATH', '')}"
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": search}

    def _clean(self) -> None:
        """Remove what the namespaces did not take along; waits for whoever has the node."""
        if self._lock is None:
            self.state.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.state / "lock", os.O_CREAT | os.O_RDWR, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        for root in cgroup_roots():
            for machine in MACHINES:
                for directory, _, _ in os.walk(root / f"{self.cgroup}-{machine.name}", topdown=False):
                    with contextlib.suppress(FileNotFoundError):
                        _remove_cgroup(Path(directory))
        for path in self.state.iterdir():
            if path.name in {"log", "lock"}:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


IMPORT = ("ctr", "--namespace", "k8s.io", "images", "import")


def _remove_cgroup(directory: Path) -> None:
    """The kernel lets go of a killed process's cgroup only after a moment."""
    for last in (*(False,) * 50, True):
        try:
            directory.rmdir()
        except OSError:
            if last or not directory.exists():
                raise
            time.sleep(0.1)
        else:
            return


def cgroup_roots() -> list[Path]:
    """Version 2 has one hierarchy, version 1 one for each controller, some under two names."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return sorted({each.resolve() for each in CGROUPS.iterdir() if (each / "cgroup.procs").exists()})


def lack_of_node() -> str:
    """One line that says why no node can be here; empty if it can."""
    return node_packages.lack(node_packages.missing())


def acquire_node(source: Source | None = None, state: Path = STATE) -> Node:
    """A node that is not yet started, of programs that were built before or now.

    Raises:
        SourceError: they cannot be had.
    """
    source = source or acquire()
    if source.way not in {Way.ASSETS, Way.CACHE}:
        raise SourceError(f"a node needs the programs of a control plane, not {source.way}: {source.why}")
    return Node(source.path, node_programs(), state)


def running(state: Path = STATE) -> Node:
    """The node that somebody started there, to run things in it or to stop it."""
    try:
        return Node(Path(json.loads((state / "ready.json").read_text())["control_plane"]), ROOT, state)
    except (OSError, ValueError, KeyError):  # nobody, or who was stopped while it started
        return Node(ROOT, ROOT, state)


def up(state: Path) -> None:
    """Start it in the background, unless it runs."""
    node = acquire_node(state=state)
    if node.pid:
        say(f"already up: {node.state}")
        return
    with step("a cluster of two nodes"):
        node.start(detached=True)
    say(f"up: kubernetes {node.report['version']}; .venv/bin/python -m hack.node exec -- kubectl get nodes")


def main() -> int:
    """The command line; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m hack.node", description=__doc__)
    parser.add_argument("verb", choices=("up", "down", "status", "load", "exec"))
    parser.add_argument("--state", type=Path, default=STATE)
    parser.add_argument("rest", nargs="*")
    options = parser.parse_args()
    exit_on_signals()
    try:
        if options.verb == "up":
            up(options.state)
            return 0
        node = running(options.state)
        match options.verb:
            case "down":
                node.stop()
            case "load":
                node.load(*map(Path, options.rest))
            case "exec":
                command = node.command(*options.rest)
                os.execvpe(command[0], command, node.environment())  # noqa: S606 - a list, and it shall be us
            case _:
                say("up" if node.pid else "down")
                return 0 if node.pid else 3
    except (SourceError, RuntimeError) as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

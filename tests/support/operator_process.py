"""The operator as a process of its own, to be killed at will."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from hack.places import ROOT
from hack.postgres import LOOPBACK
from hack.processes import end, spawn, tail, wait_ready
from hack.stack import answers, operator_environment
from tests.support.metrics import Samples, parse

READY_SECONDS = 30.0


class OperatorProcess:
    """`ipam-operator run` as its image has it, started by the constructor; `wait_ready()` before you rely on it."""

    def __init__(
        self,
        database_url: str,
        kubeconfig: Path,
        directory: Path,
        overrides: Mapping[str, str],
        command: Sequence[str | Path] = ("run",),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._port_file = directory / "port"
        self.log_path = directory / "operator.log"
        settings = {"IPAM_HEALTH_PORT_FILE": str(self._port_file), **overrides}
        self._process: subprocess.Popen[bytes] = spawn(
            [sys.executable, "-m", "hack.as_in_image", *command],
            self.log_path,
            environment=operator_environment(database_url, kubeconfig, settings),
            directory=ROOT,
        )

    @property
    def pid(self) -> int:
        """Of the process, dead or alive."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def url(self) -> str:
        """Of probes and metrics."""
        return f"http://{LOOPBACK}:{self._port_file.read_text().strip()}"

    def log(self, characters: int = 1 << 30) -> str:
        """What it has written."""
        return tail(self.log_path, characters)

    def answers(self, path: str) -> bool:
        """Whether a probe says 200."""
        return self._port_file.exists() and bool(self._port_file.read_text().strip()) and answers(self.url + path)

    def wait_ready(self, seconds: float = READY_SECONDS) -> "OperatorProcess":
        """Wait until /readyz says 200."""
        wait_ready(lambda: self.answers("/readyz"), self._process, self.log_path, seconds)
        return self

    def wait_live(self, seconds: float = READY_SECONDS) -> "OperatorProcess":
        """Wait until /livez says 200: a standby never gets ready."""
        wait_ready(lambda: self.answers("/livez"), self._process, self.log_path, seconds)
        return self

    def metrics(self) -> Samples:
        """One scrape; `.total(name, **labels)` sums."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.url}/metrics", timeout=10) as response:
            return parse(response.read().decode())

    def kill9(self) -> None:
        """End it as the OOM killer would."""
        self._process.kill()
        self._process.wait()

    def ask_to_end(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def terminate(self, seconds: float = 20.0) -> int:
        """SIGTERM, and wait; its exit code."""
        return end(self._process, seconds=seconds)

    def interrupt(self, seconds: float = 20.0) -> int:
        """Ctrl-C, and wait; its exit code."""
        return end(self._process, signal.SIGINT, seconds)

    def pause(self) -> None:
        """Stop its clock, as a frozen machine would."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def wait(self, seconds: float = READY_SECONDS) -> int:
        """Wait for it to end by itself; its exit code."""
        return self._process.wait(seconds)

    def close(self) -> None:
        """Stop it, however it is."""
        if self.running:
            self.resume()
            self.terminate()

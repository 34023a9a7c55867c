"""The two that are compared, each a process of its own as the operator's ServiceAccount; one at a time."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hack.places import ROOT
from hack.processes import end, spawn, wait_ready
from hack.stack import answers, operator_environment

START_SECONDS = 60.0


class Side(StrEnum):
    """Who writes."""

    OPERATOR = "operator"
    BARE = "bare writer"


@dataclass(frozen=True)
class Sides:
    """How to start either.

    Args:
        directory: for logs and readiness files; empty at the beginning.
        kubeconfig: of the operator's ServiceAccount.
        database_url: of the operator's store.
    """

    directory: Path
    kubeconfig: Path
    database_url: str

    @contextmanager
    def running(self, side: Side) -> Iterator[int]:
        """Its pid, from ready to ended."""
        process = self._operator() if side is Side.OPERATOR else self._bare()
        try:
            yield process.pid
            if process.poll() is not None:
                raise RuntimeError(f"{side} ended (exit {process.returncode}), see {self.directory}")
        finally:
            end(process)

    def _operator(self) -> subprocess.Popen[bytes]:
        port_file = self.directory / "operator.port"
        port_file.unlink(missing_ok=True)
        settings = {"IPAM_HEALTH_PORT_FILE": str(port_file)}
        environment = operator_environment(self.database_url, self.kubeconfig, settings)

        def ready() -> bool:
            port = port_file.read_text().strip() if port_file.exists() else ""
            return bool(port) and answers(f"http://127.0.0.1:{port}/readyz")

        process = self._start(["-m", "hack.as_in_image", "run"], "operator", environment)
        return self._await(process, ready, "operator")

    def _bare(self) -> subprocess.Popen[bytes]:
        ready = self.directory / "bare.ready"
        ready.unlink(missing_ok=True)
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'operator'}{os.pathsep}{ROOT}"}
        process = self._start(["-m", "tests.bench.bare", str(self.kubeconfig), str(ready)], "bare", environment)
        return self._await(process, ready.exists, "bare")

    def _start(self, arguments: list[str], name: str, environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        log = self.directory / f"{name}.log"
        return spawn([sys.executable, *arguments], log, environment=environment, directory=ROOT)

    def _await(
        self, process: "subprocess.Popen[bytes]", ready: Callable[[], bool], name: str
    ) -> "subprocess.Popen[bytes]":
        try:
            wait_ready(ready, process, self.directory / f"{name}.log", START_SECONDS)
        except BaseException:
            end(process)
            raise
        time.sleep(0.2)  # Kopf's watches open right after the readiness
        return process

"""Start and stop programs by pid, and never a stranger who got a dead program's pid.

Linux only: start times come from /proc, signals go through a pidfd.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STOP_SECONDS = 20.0
TIED = ("--pdeathsig", "KILL")
"""Options for setpriv: the server ends with the process that started it."""


@dataclass(frozen=True)
class Identity:
    """A process: its pid, and when it started, in clock ticks since this boot."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> "Identity | None":
        """Who has this pid now; None for nobody and for a zombie."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        return None if fields[0] in {"Z", "X"} else cls(pid, f"{fields[19]}@{boot}")

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return Identity.of(self.pid) == self

    def stop(self, first: signal.Signals = signal.SIGTERM, seconds: float = STOP_SECONDS) -> bool:
        """Signal it, wait, kill it if it will not go; False if it was gone already."""
        try:
            handle = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if not self.alive:  # asked after the handle was taken: from here on it cannot be another's
                return False
            for number, patience in ((first, seconds), (signal.SIGKILL, STOP_SECONDS)):
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(handle, number)
                if select.select([handle], [], [], patience)[0]:
                    break
        finally:
            os.close(handle)
        return True


def children(pid: int) -> list[int]:
    """Pids of those whom a process has started, oldest first, and who still run.

    Raises:
        OSError: there is no such process.
    """
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Register:
    """A file of the processes that belong to one state directory."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def read(self) -> dict[str, Identity]:
        """Name to process, in the order they were started; empty without a file or with a torn one."""
        try:
            rows = json.loads(self.file.read_text())
            return {name: Identity(int(pid), str(started)) for name, (pid, started) in rows.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def add(self, name: str, pid: int) -> None:
        """Remember a process that was just started."""
        if (who := Identity.of(pid)) is not None:
            self._write({**self.read(), name: who})

    def stop_all(self) -> list[str]:
        """Stop what still runs, the last started first, and forget all."""
        stopped = [name for name, who in reversed(self.read().items()) if who.stop()]
        self.file.unlink(missing_ok=True)
        return stopped

    def _write(self, rows: Mapping[str, Identity]) -> None:
        draft = self.file.with_suffix(".new")
        draft.write_text(json.dumps({name: [who.pid, who.started] for name, who in rows.items()}))
        draft.replace(self.file)


def spawn(
    args: Sequence[str | Path],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    guard: Sequence[str] = TIED,
) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, so that Ctrl-C reaches only us and we stop things in order.

    Args:
        args: the program and its arguments.
        log: appended to.
        environment: all of it; None inherits ours.
        directory: working directory.
        guard: options for setpriv: by default the kernel kills the server when we die, however we die.
            That follows the *thread* that starts it: start from the main thread.
    """
    prefix = ["setpriv", *guard, "--"] if guard else []
    with log.open("ab") as out:
        return subprocess.Popen(
            [*prefix, *map(str, args)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment,
            cwd=directory,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes], first: signal.Signals = signal.SIGTERM, seconds: float = STOP_SECONDS) -> int:
    """Stop a child of ours and reap it; returns its exit code."""
    if process.poll() is None:
        process.send_signal(first)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def tail(log: Path, characters: int = 3000) -> str:
    """The last words of a log."""
    return log.read_text(errors="replace")[-characters:] if log.exists() else ""


def wait_ready(check: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Wait for a server that we started.

    Raises:
        RuntimeError: it ended, or took too long; with the end of its log.
    """
    limit = time.monotonic() + seconds
    while not check():
        if process.poll() is not None:
            raise RuntimeError(f"{log.stem} ended (exit {process.returncode}):\n{tail(log)}")
        if time.monotonic() > limit:
            raise RuntimeError(f"{log.stem} is not ready after {seconds:.0f} s:\n{tail(log)}")
        time.sleep(0.02)


def exit_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP unwind the stack once.

    Set explicitly: a program started in the background by a non-interactive shell has SIGINT ignored.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def handler(number: int, _frame: object) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)  # an impatient second Ctrl-C must not break the stopping
        sys.exit(128 + number)

    for each in numbers:
        signal.signal(each, handler)

"""`make up`, `make down`, `make status`: one supervisor in the background for each state directory."""

import fcntl
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hack.places import ROOT, server_state
from hack.processes import Register, end, spawn
from hack.steps import say, step
from hack.supervisor import SUPERVISOR

STATE = ROOT / ".local"
#: A build of the control plane fits in; the supervisor's own steps have shorter limits.
UP_SECONDS = 3600.0


class Background:
    """The stack that outlives the command that started it."""

    def __init__(self, state: Path = STATE) -> None:
        self.state = state
        self.register = Register(state / "processes.json")
        self.log = state / "log" / "stack.log"

    def up(self) -> None:
        """Start it, unless all of it runs; a half dead one is cleaned up first.

        Raises:
            RuntimeError: it did not come up; what it said stands above.
        """
        with self._alone():
            if self._whole():
                say(f"already up: . {self.state / 'env'}")
                return
            self._clear()
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.write_bytes(b"")
            command: list[str | Path] = [sys.executable, "-m", "hack.supervisor", self.state]
            process = spawn(command, self.log, directory=ROOT, guard=())
            limit = time.monotonic() + UP_SECONDS
            shown = 0
            ready = self.state / "ready"
            try:
                while not ready.exists() and process.poll() is None and time.monotonic() < limit:
                    time.sleep(0.1)
                    shown = self._show(shown)
                self._show(shown)
                if not ready.exists():
                    raise RuntimeError(f"the stack did not come up, see {self.log}")
            except BaseException:
                end(process, seconds=60.0)
                self.register.stop_all()
                raise
            process.returncode = 0  # it lives on without us; nobody is to wait for it
        say(f"up: . {self.state / 'env'}; logs in {self.log.parent}")

    def down(self) -> None:
        """Stop what runs and what a crash left, and drop its data; logs stay. Harmless when nothing does."""
        with self._alone():
            if not self.register.read():
                say("not up")
            with step("stopping"):
                self._clear()
                for data in (server_state(self.state), self.state / "control-plane"):
                    shutil.rmtree(data, ignore_errors=True)

    def status(self) -> bool:
        """Print what runs; whether all of it does."""
        rows = self.register.read()
        for name, who in rows.items():
            say(f"{name:<26}{'running' if who.alive else 'DEAD':<10}pid {who.pid}")
        whole = self._whole()
        say(f"up: . {self.state / 'env'}" if whole else ("broken: make up mends it" if rows else "not up"))
        return whole

    def _whole(self) -> bool:
        rows = self.register.read()
        return SUPERVISOR in rows and (self.state / "ready").exists() and all(who.alive for who in rows.values())

    def _clear(self) -> None:
        rows = self.register.read()
        if SUPERVISOR in rows:
            rows[SUPERVISOR].stop(seconds=60.0)  # it stops its children in order
        self.register.stop_all()
        for name in ("ready", "env", "operator.port"):
            (self.state / name).unlink(missing_ok=True)

    def _show(self, position: int) -> int:
        text = self.log.read_bytes()[position:]
        sys.stdout.write(text.decode(errors="replace"))
        sys.stdout.flush()
        return position + len(text)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.state.mkdir(exist_ok=True, parents=True)
        with (self.state / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

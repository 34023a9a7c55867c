"""Processes are stopped by pid, and a stranger never."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.processes import Identity, Register, end, spawn

SLEEPER = ["sleep", "60"]
STUBBORN = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = spawn(SLEEPER, tmp_path / "log")
    yield process
    end(process)


def identity(process: subprocess.Popen[bytes]) -> Identity:
    who = Identity.of(process.pid)
    assert who is not None
    return who


def test_stop_by_register(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    """What is registered is stopped and forgotten."""
    register = Register(tmp_path / "processes.json")
    register.add("sleeper", sleeper.pid)
    assert register.stop_all() == ["sleeper"]
    assert sleeper.wait(5) == -signal.SIGTERM
    assert register.read() == {}


def test_recycled_pid_is_never_killed(sleeper: subprocess.Popen[bytes]) -> None:
    """A live process with a registered pid but another start time is left alone."""
    stranger = Identity(sleeper.pid, "1@another-boot")
    assert not stranger.alive
    assert not stranger.stop()
    assert sleeper.poll() is None


def test_stopping_the_dead_is_harmless(sleeper: subprocess.Popen[bytes]) -> None:
    """Stopping what is gone already does nothing."""
    who = identity(sleeper)
    end(sleeper)
    assert not who.alive
    assert not who.stop()


def test_stubborn_process_is_killed() -> None:
    """What ignores SIGTERM is killed after its grace."""
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert identity(process).stop(seconds=0.1)
        assert process.wait(5) == -signal.SIGKILL


def test_torn_register_is_empty(tmp_path: Path) -> None:
    """A torn file is no reason to fail, and none to kill."""
    file = tmp_path / "processes.json"
    file.write_text('{"a": [1')
    assert Register(file).read() == {}


def test_children_die_with_their_parent(tmp_path: Path) -> None:
    """A server whose owner is killed does not outlive it."""
    script = (
        "import sys, time; from pathlib import Path; from hack.processes import spawn; "
        f"print(spawn({SLEEPER!r}, Path({str(tmp_path / 'log')!r})).pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        child = Identity.of(int(owner.stdout.readline()))
        assert child is not None
        owner.kill()
        owner.wait()
    # The kernel's signal is on its way; a pidfd becomes readable at the end.
    child.stop(signal.Signals.SIGCONT, seconds=5)
    assert not child.alive

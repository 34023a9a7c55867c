"""How a command ends that cannot begin."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hack.places import ROOT
from hack.postgres import free_port
from ipam_operator.cli.main import main


@pytest.mark.parametrize("arguments", [["run"], ["migrate", "--wait=600"]], ids=lambda words: words[0])
def test_who_waits_for_the_database_ends_at_sigterm(arguments: list[str]) -> None:
    """By itself, with the shell's exit code: the first process of a pod is not ended by the signal."""
    url = f"postgresql://ipam@127.0.0.1:{free_port()}/ipam"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator"), "IPAM_DATABASE_URL": url}
    command = [sys.executable, "-u", "-m", "ipam_operator", *arguments]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert any("waits for the database" in line for line in process.stderr)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 128 + signal.SIGTERM
        finally:
            process.kill()


def test_who_has_just_begun_ends_at_sigterm() -> None:
    """While it loads, too, of which asyncpg is the first that takes its time."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator")}
    with subprocess.Popen([sys.executable, "-m", "ipam_operator", "run"], env=environment) as process:
        try:
            here = Path(f"/proc/{process.pid}")
            while not handles(here, signal.SIGTERM):
                assert process.poll() is None, "it ended before it handled anything"
            assert "asyncpg" not in (here / "maps").read_text()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 128 + signal.SIGTERM
        finally:
            process.kill()


def handles(process: Path, number: int) -> bool:
    """Whether a process has said what it does at a signal."""
    (mask,) = re.findall(r"^SigCgt:\s*(\w+)$", (process / "status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("name", ["IPAM_DATABASE_URL", "IPAM_OWNER_DATABASE_URL"])
def test_a_url_of_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """At once, and without repeating it; a database that is away would be waited for."""
    monkeypatch.setenv("IPAM_DATABASE_URL", "postgresql://h/d")
    monkeypatch.setenv(name, "secret@db.example")
    assert main(["run"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"{name}: must be postgresql://")
    assert "secret" not in said

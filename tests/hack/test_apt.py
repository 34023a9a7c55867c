"""Debian packages: who may not install them is told how; who may does not give up at once."""

from pathlib import Path

import pytest

from hack import apt


def test_packages_are_named_to_who_may_not_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who is not root reads one line with the command; who has the programs hears nothing."""
    monkeypatch.setattr(apt, "is_root", lambda: False)
    apt.need({"sh": "dash"})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"^missing no-such-program: sudo apt-get install -y .* some-package$"):
        apt.need({"no-such-program": "some-package"})


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What an apt-get alone on PATH was called for, a verb a line; its first calls fail, as many as `fails` says."""
    program = tmp_path / "apt-get"
    program.write_text(
        "#!/bin/sh\n"
        'for word; do case "$word" in install | update) echo "$word" >> "${0%/*}/log";; esac; done\n'
        'calls=0; while read -r _; do calls=$((calls + 1)); done < "${0%/*}/log"\n'
        'read -r fails < "${0%/*}/fails"; [ "$calls" -gt "$fails" ]\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(apt, "is_root", lambda: True)
    monkeypatch.setattr(apt, "PAUSES", (0.0, 0.0))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "log"


@pytest.mark.parametrize(
    ("fails", "calls"),
    [
        (0, ["install"]),
        (1, ["install", "update", "install"]),
        (2, ["install", "update", "update", "install"]),
        (3, ["install", "update", "update", "update", "install"]),
    ],
)
def test_a_failure_that_passes_is_none(log: Path, fails: int, calls: list[str]) -> None:
    """A name that was not found once does not end a build."""
    (log.parent / "fails").write_text(f"{fails}\n")
    apt.install(["some-package"], ["some-program"])
    assert log.read_text().split() == calls


def test_a_failure_that_lasts_is_told(log: Path) -> None:
    """After as many tries as there are pauses, with the command."""
    (log.parent / "fails").write_text("99\n")
    with pytest.raises(RuntimeError, match=r"^missing some-program, and this failed: apt-get install .* some-package$"):
        apt.install(["some-package"], ["some-program"])
    assert log.read_text().split() == ["install", "update", "update", "update"]

"""Where files of a run lie, and that they go."""

import os
from pathlib import Path

import pytest

from hack import places


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Takes the place of memory, with room enough."""
    monkeypatch.setattr(places, "MEMORY", tmp_path)
    monkeypatch.setattr(places, "MEMORY_BYTES", 0)
    return tmp_path


def test_a_temporary_directory_goes_with_its_run(ground: Path) -> None:
    """It lies where there is room, and nothing of it stays."""
    with places.temporary("x") as directory:
        assert directory.parent == ground
        (directory / "file").touch()
    assert not list(ground.iterdir())


def test_what_killed_runs_left_is_swept(ground: Path) -> None:
    """The next run removes directories whose process is gone, and no others."""
    gone = ground / f"{places.NAME}-x-{2**22 + 1}-abc"  # above any pid
    running = ground / f"{places.NAME}-x-{os.getpid()}-abc"
    foreign = ground / "x-y-1-abc"
    for directory in (gone, running, foreign):
        directory.mkdir()
    with places.temporary("x"):
        assert not gone.exists()
    assert running.exists()
    assert foreign.exists()


def test_without_room_in_memory(ground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's small memory file system is left alone."""
    monkeypatch.setattr(places, "MEMORY_BYTES", 1 << 62)
    assert places.temporary_ground() != ground

"""What a machine without a node's programs is told."""

from pathlib import Path

from hack.node_packages import PROGRAMS, lack, missing


def test_missing_packages_are_named_once(tmp_path: Path) -> None:
    """Each package that holds something missing is named once, and network plugins are looked for where they lie."""
    assert missing(lambda _: None, tmp_path) == sorted({*PROGRAMS.values(), "containernetworking-plugins"})
    for plugin in ("bridge", "host-local"):
        (tmp_path / plugin).touch()
    assert missing(lambda name: None if name in {"containerd", "ctr"} else name, tmp_path) == ["containerd"]


def test_without_root_there_is_no_node() -> None:
    """Who is not root is told so, whatever else is missing."""
    assert "root" in lack(["containerd"], root=False)
    assert "root" in lack([], root=False)


def test_without_apt_packages_are_asked_for() -> None:
    """Where we cannot install what is missing, one line names it; where nothing is missing, nothing is said."""
    line = lack(["containerd", "runc"], root=True, which=lambda _: None)
    assert "containerd, runc" in line
    assert "\n" not in line
    assert lack([], root=True, which=lambda _: None) == ""
    assert lack(["containerd"], root=True, which=lambda name: name) == ""

"""What a fresh machine is told."""

from collections.abc import Callable

from hack import bootstrap


def which(*present: str) -> Callable[[str], str | None]:
    return lambda program: f"/usr/bin/{program}" if program in present else None


def test_nothing_missing() -> None:
    """A complete machine hears nothing."""
    assert bootstrap.missing((3, 11), which("openssl", "setpriv"), lambda _: object()) == ""


def test_old_python_is_named() -> None:
    """An old Python is told which one is needed, and how to choose it."""
    line = bootstrap.missing((3, 9), which("openssl", "setpriv"), lambda _: object())
    assert "3.11" in line
    assert "make PYTHON=" in line


def test_missing_packages_are_one_line() -> None:
    """All that is missing stands in one line with the command that installs it."""
    line = bootstrap.missing((3, 11), which("setpriv"), lambda _: None)
    assert line.endswith("apt-get install -y openssl python3-venv")
    assert "\n" not in line


def test_working_environment_needs_no_venv_package() -> None:
    """Where .venv works already, python3-venv is not asked for."""
    assert bootstrap.missing((3, 11), which("openssl", "setpriv"), lambda _: None, venv_ready=True) == ""


def test_requirements_are_pinned_by_hash_and_name_no_host() -> None:
    """Every requirement has hashes, and no file names where packages come from."""
    for file in sorted((bootstrap.ROOT / "hack").glob("requirements*.txt")):
        text = file.read_text()
        assert "://" not in text
        assert "--index" not in text
        pins = [line for line in text.splitlines() if "==" in line and not line.lstrip().startswith("#")]
        assert pins
        assert all(line.endswith("\\") for line in pins), "each pin is followed by its hashes"

"""docs/operations/image.md: what it tells people to type."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from hack import image, sbom
from hack.places import ROOT
from ipam_operator import __version__
from tests.image.archive import Archive, Pod

pytestmark = pytest.mark.timeout(600)  # builds, the first time

PAGE = (ROOT / "docs/operations/image.md").read_text()
COMMANDS = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)
NAME = f"{image.REPOSITORY}:{__version__}"


def commands(*start: str) -> list[list[str]]:
    """Those that begin so, in words."""
    found = [words for words in map(shlex.split, COMMANDS) if tuple(words[: len(start)]) == start]
    assert found, start
    return found


def options(words: list[str], name: str) -> Iterator[str]:
    """The values of an option that takes the next word."""
    return (value for option, value in pairwise(words) if option == name)


def test_no_command_is_left_out() -> None:
    """Each command of the page is looked at by one of these tests."""
    looked_at = ("docker build", "docker run", "docker image inspect", "buildah bud", "python3 -m pip", "make ")
    assert [command for command in COMMANDS if not command.startswith(looked_at)] == []
    assert {command.split()[-1] for command in COMMANDS if command.startswith("docker image")} == {NAME}


def test_builders_are_given_what_the_dockerfile_takes() -> None:
    """Build arguments and files that commands and table name exist, and images are tagged with this version."""
    taken = set(re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    for words in commands("docker", "build") + commands("buildah", "bud"):
        assert {argument.partition("=")[0] for argument in options(words, "--build-arg")} <= taken
        assert list(options(words, "--tag")) == [NAME]
        assert words[-1] == "."
    rows = re.findall(r"^\| (`[A-Z].*?) \|", PAGE, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == taken
    (download,) = commands("python3", "-m", "pip")
    assert set(options(download, "-r")) == set(image.REQUIREMENTS)


def test_make_commands() -> None:
    """`make image` and `make sbom` leave the files that the page names, and the ID is printed."""
    for target, file in (("image", image.OPERATOR), ("sbom", sbom.SBOM)):
        assert commands("make", target) == [["make", target]]
        done = subprocess.run(["make", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        told = str(file.relative_to(ROOT))
        assert told in done.stdout
        assert f"`{told}`" in PAGE
        assert file.exists()
        if file == image.OPERATOR:
            assert image.image_id(file) in done.stdout


def test_run(operator_archive: Archive, operator_root: Path, work: Path) -> None:
    """`docker run` as the page shows it: its user, its restrictions, its arguments."""
    (words,) = commands("docker", "run")
    at = words.index(NAME)
    assert {"--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"} < set(words[:at])
    (identity,) = (word.removeprefix("--user=") for word in words[:at] if word.startswith("--user="))
    user, group = map(int, identity.split(":"))
    pod = Pod(operator_root, work, operator_archive.environment, user, group)
    done = pod.run(*operator_archive.config["config"]["Entrypoint"], *words[at + 1 :])
    assert (done.returncode, done.stdout.strip()) == (0, __version__), done.stderr

"""What the image is built from, without building it."""

import re
import tomllib

import pytest

from hack.image import CONTEXT, Base, inputs, platforms
from hack.places import ROOT
from ipam_operator import __version__

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PIN = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def pins(name: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / "hack" / name).read_text()))


@pytest.mark.parametrize("name", ["requirements-image.txt", "requirements-build.txt"])
def test_the_image_holds_what_was_tested(name: str) -> None:
    """Each version that goes into the image is the one that the tests run with."""
    assert pins(name).items() <= pins("requirements.txt").items()


def test_the_image_holds_what_is_declared() -> None:
    """Every dependency of the project is locked for the image, and no client of another library is."""
    declared = {re.split(r"[>=<]", row)[0] for row in PROJECT["project"]["dependencies"]}
    assert declared <= pins("requirements-image.txt").keys()
    assert not {"kubernetes", "pytest", "hatchling"} & pins("requirements-image.txt").keys()


def test_dockerfile_says_the_version() -> None:
    """`docker build .` without arguments labels the image with the project's version."""
    assert re.findall(r"^ARG VERSION=(\S+)$", DOCKERFILE, re.MULTILINE) == [__version__]


def test_base_is_a_short_name() -> None:
    """The base can be replaced, and its default names no registry."""
    (base,) = re.findall(r"^ARG BASE_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert "/" not in base
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${BASE_IMAGE}"] * 2


def test_context_is_what_the_dockerfile_copies() -> None:
    """.dockerignore lets in what is copied and nothing else, and `make image` looks at all of it."""
    let_in = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    rows = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    assert let_in == {word for row in rows for word in row.split()}
    assert let_in | {"Dockerfile", ".dockerignore"} == set(CONTEXT)


def test_key_is_of_the_content() -> None:
    """The same inputs have the same key, and whatever else is told changes it."""
    assert inputs("base") == inputs("base")
    assert inputs("base") != inputs("another base")


def test_another_recipe_is_another_base() -> None:
    """A kept root file system is found by its recipe only."""
    one, other = Base("python", "trixie", ("python3",)), Base("python", "trixie", ("python3", "openssl"))
    assert one.file != other.file
    assert one.file == Base("python", "trixie", ("python3",)).file
    assert one.file != Base("python", "bookworm", ("python3",)).file


def test_wheels_are_for_the_base() -> None:
    """Wheels are chosen for the base's glibc and Python, not for ours."""
    options = platforms("aarch64")
    assert "--platform=manylinux_2_41_aarch64" in options
    assert "--platform=manylinux_2_42_aarch64" not in options
    assert options[:2] == ["--python-version", "3.13"]

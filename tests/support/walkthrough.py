"""A page as its reader works through it: files to save, commands to type, and what these are shown to print."""

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

SNIPPET = re.compile(r"^ *```(yaml|console)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_AGE = re.compile(r"\d+[smh](?:\d+[sm])?$")


@dataclass(frozen=True)
class File:
    """A manifest whose first line is its name."""

    name: str
    text: str


@dataclass(frozen=True)
class Command:
    """A line behind `$ `, and the lines below it; none: the page does not say what it prints."""

    line: str
    shown: tuple[str, ...]


def section(page: Path, title: str) -> str:
    """The text below a heading of the second level."""
    return page.read_text().split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def steps(text: str) -> Iterator[File | Command]:
    """All that a text asks its reader to do, in its order."""
    for language, indented in SNIPPET.findall(text):
        snippet = dedent(indented)
        if language == "yaml":
            name = snippet.split("\n", 1)[0].removeprefix("# ")
            yield File(name, snippet)
            continue
        for part in re.split(r"^\$ ", snippet, flags=re.MULTILINE)[1:]:
            line, *shown = part.splitlines()
            yield Command(line, tuple(shown))


def follow(
    text: str, directory: Path, environment: Mapping[str, str], *, seconds: float, adapt: Callable[[str], str] = str
) -> None:
    """Do as a text says; ages in tables and the width of columns aside, it prints what is shown.

    Args:
        text: of the page.
        directory: where files are saved and commands are typed.
        environment: of the shell.
        seconds: that a command may take.
        adapt: makes a command fit for this place.

    Raises:
        AssertionError: a command fails, or prints something else.
    """
    for step in steps(text):
        if isinstance(step, File):
            (directory / step.name).write_text(step.text)
            continue
        done = subprocess.run(
            ["bash", "-euc", adapt(step.line)],
            cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=seconds,
        )  # fmt: skip
        assert done.returncode == 0, f"{step.line}\n{done.stdout}{done.stderr}"
        if step.shown:
            assert _words(done.stdout.splitlines()) == _words(step.shown), step.line


def _words(lines: "tuple[str, ...] | list[str]") -> list[list[str]]:
    return [_AGE.sub("AGE", line.rstrip()).split() for line in lines]

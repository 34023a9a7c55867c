"""`history`: what it shows, and what it does not take."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hack.places import ROOT
from hack.stack import operator_environment
from ipam_operator.cli.main import _parser, main
from ipam_operator.domain.model import Prefixes
from tests.support.postgres import operator_url
from tests.support.store import Store, claim


def history(url: str, *arguments: str) -> list[list[str]]:
    """The words of each line below the headings, as the operator's login sees it."""
    command = [sys.executable, "-m", "ipam_operator", "history", *arguments]
    environment = operator_environment(operator_url(url), Path("/dev/null"), {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    headings, *rows = [line.split() for line in done.stdout.splitlines()]
    assert headings == ["AT", "ACTION", "ADDRESS", "POOL", "CLAIM", "ACTOR", "REASON"]
    return [row[1:] for row in rows]


async def test_it_tells_who_had_what(database_url: str) -> None:
    """By address, claim, namespace, user and time, the last first; an address also as part of a prefix."""
    async with Store(database_url) as store:
        of = await store.pool("10.0.0.0/28")
        blocks = await store.pool("10.9.0.0/24", name="blocks", prefixes=Prefixes((28,), 28))
        first = replace(claim(of, name="first", wanted="10.0.0.10"), actor="alice")
        second = replace(claim(of, name="second", wanted="10.0.0.10"), actor="bob")
        whole = replace(claim(blocks, name="whole", wanted="10.9.0.16", length=28), actor="alice")
        await store.ask(first)
        between = datetime.now(UTC)
        await store.release(first)
        await store.ask(second)
        await store.ask(whole)
    home, pool = of.identity.ref.namespace, str(of.identity.ref)
    granted = [
        ["granted", "10.0.0.10", pool, f"{home}/second", "bob"],
        ["ended", "10.0.0.10", pool, f"{home}/first", "tester", "Deleted"],
        ["granted", "10.0.0.10", pool, f"{home}/first", "alice"],
    ]
    block = ["granted", "10.9.0.16/28", str(blocks.identity.ref), f"{home}/whole", "alice"]
    url = database_url
    assert history(url) == [block, *granted]
    assert history(url, "--limit=2") == [block, granted[0]]
    assert history(url, "--address=10.0.0.10") == granted
    assert history(url, "--address=10.9.0.20") == history(url, "--address=10.9.0.16/28") == [block]
    assert history(url, "--address=10.9.0.32") == history(url, "--namespace=nowhere") == []
    assert history(url, "--claim=first", f"--namespace={home}") == granted[1:]
    assert history(url, "--actor=alice") == [block, granted[2]]
    assert history(url, "--address=10.0.0.10", f"--until={between.isoformat()}", "--limit=1") == [granted[2]]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("--until=noon", "must be a time such as"),
        ("--limit=0", "must be a number from 1"),
        ("--address=10.0.0.010", "10.0.0.10"),
    ],
)
def test_what_it_cannot_read_it_says(capsys: pytest.CaptureFixture[str], wrong: str, words: str) -> None:
    """With what would do."""
    with pytest.raises(SystemExit) as ended:
        main(["history", wrong])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_the_page_says_what_it_takes() -> None:
    """Each command of docs/operations/history.md is one that can be read."""
    page = (ROOT / "docs/operations/history.md").read_text()
    commands = re.findall(r"^\$ kubectl .* -- ipam-operator (history .*)$", page, re.MULTILINE)
    assert len(commands) == 2
    for line in commands:
        assert _parser().parse_args(shlex.split(line)).command == "history"


async def test_programs_read_it(database_url: str) -> None:
    """As JSON each change is an object, with the names of the columns."""
    async with Store(database_url) as store:
        await store.ask(replace(claim(await store.pool("10.0.0.0/28"), name="one"), actor="alice"))
    command = [sys.executable, "-m", "ipam_operator", "history", "--output=json"]
    environment = operator_environment(operator_url(database_url), Path("/dev/null"), {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=ROOT)
    (change,) = json.loads(done.stdout)
    assert datetime.fromisoformat(change.pop("at")).utcoffset() is not None
    assert (change["action"], change["actor"], change["reason"]) == ("granted", "alice", "")
    assert set(change) == {"action", "address", "pool", "claim", "actor", "reason"}

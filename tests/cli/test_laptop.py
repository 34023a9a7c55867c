"""`operator run`: what it asks for, and what it says of the places it serves."""

from pathlib import Path

import pytest

from ipam_operator.cli.main import main
from ipam_operator.store.database import whereabouts

URL = "postgresql://ipam:secret@db.example:5432/ipam"
LAPTOP = ("operator", "run")


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those of the test, and a kubeconfig of whoever runs us that must not be read."""
    for name in ("IPAM_DATABASE_URL", "IPAM_TYPO", "IPAM_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "of-somebody-else"))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line by which a command is refused, with exit code 2 and nothing else said."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


def test_no_cluster_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --kubeconfig nothing runs, whatever KUBECONFIG says; the line says what would have worked."""
    assert "such as --kubeconfig ~/.kube/config" in refused(capsys, *LAPTOP, "--database-url", URL)


def test_no_store_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Nor without a store; the line names both ways to say which."""
    line = refused(capsys, *LAPTOP, "--kubeconfig", "any")
    assert "--database-url postgresql://" in line
    assert "IPAM_DATABASE_URL" in line


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A kubeconfig that cannot be read is refused by its name."""
    path = tmp_path / "missing"
    line = refused(capsys, *LAPTOP, "--kubeconfig", str(path), "--database-url", URL)
    assert line == f"--kubeconfig {path}: No such file or directory"


def test_other_settings_are_checked_as_ever(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is no setting is refused here, too."""
    monkeypatch.setenv("IPAM_TYPO", "1")
    assert "IPAM_TYPO" in refused(capsys, *LAPTOP, "--kubeconfig", "any", "--database-url", URL)


def test_help_tells_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    """--help names the options, and that another operator is excluded."""
    with pytest.raises(SystemExit) as ended:
        main([*LAPTOP, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert {"--kubeconfig", "--context", "--database-url"} <= set(said.split())
    assert "exclude each other" in said


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (URL, "ipam on db.example:5432"),
        ("postgres://a:p%40ss@[2001:db8::1]:5432/b", "b on [2001:db8::1]:5432"),
        ("postgresql://ipam:secret@a:1,b:2/ipam?target_session_attrs=read-write", "ipam on a:1,b:2"),
        ("postgresql://db.example", "the database of its user on db.example"),
        ("postgresql:///ipam?host=/run/postgresql&password=secret", "ipam on /run/postgresql"),
        ("postgresql://%2Frun%2Fpostgresql/ipam", "ipam on %2Frun%2Fpostgresql"),
        ("postgresql:///ipam", "ipam on a socket of this machine"),
    ],
)
def test_a_store_is_told_without_its_login(url: str, said: str) -> None:
    """Database and hosts are told, neither the user's name nor the password."""
    assert whereabouts(url) == said


@pytest.mark.parametrize("password", ["pa/ss", "12/34", "pa#ss", "pa?ss"])
def test_a_password_that_cuts_the_url_is_not_told(password: str) -> None:
    """A URL that its password makes unreadable is refused, without a word of it."""
    with pytest.raises(ValueError, match="%2F") as caught:
        whereabouts(f"postgresql://ipam:{password}@db.example:5432/ipam")
    assert not {"pa", "ss", "12", "34"} & set(str(caught.value).replace(":", "/").split("/"))


@pytest.mark.parametrize("url", ["", "db.example", "mysql://a@b/c", "host=a user=b password=c"])
def test_what_is_no_url_is_refused(url: str) -> None:
    """So is whatever is no URL of PostgreSQL."""
    with pytest.raises(ValueError, match="postgresql://USER"):
        whereabouts(url)

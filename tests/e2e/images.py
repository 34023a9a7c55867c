"""The operator's image of before the newest migration, out of this clone's history."""

import io
import re
import subprocess
import tarfile
from pathlib import Path

from hack.archives import derive_image, layer, name_of
from hack.places import ROOT

PACKAGE = "operator/ipam_operator"
MIGRATIONS = f"{PACKAGE}/store/migrations"
GIT = ("git", "-c", "safe.directory=*", "-C", ROOT)
"""Also where root tests a checkout of somebody else."""
HIDE_WHAT_WAS_HERE = ".wh..wh..opq"
"""In a layer: nothing below this directory comes from the layers beneath."""


def repository_and_tag(archive: Path) -> tuple[str, str]:
    """Under which an image is loaded."""
    repository, _, tag = name_of(archive).rpartition(":")
    return repository, tag


def previous(operator: Path, target: Path) -> Path:
    """The image of the operator, but with the code of the commit before the newest migration.

    Raises:
        RuntimeError: this clone does not have that commit.
    """
    repository, _ = repository_and_tag(operator)
    home = package_directory(operator)
    files = {f"{home}/{HIDE_WHAT_WAS_HERE}": (b"", 0o644)}
    commit = before_newest_migration()
    with tarfile.open(fileobj=_archive(commit)) as archive:
        for entry in archive:
            content = archive.extractfile(entry) if entry.isfile() else None
            if content is not None:
                files[f"{home}/{entry.name.removeprefix(f'{PACKAGE}/')}"] = (content.read(), 0o644)
    target.unlink(missing_ok=True)
    derive_image(operator, target, f"{repository}:previous", layer(files))
    return target


def newest_migration() -> Path:
    """The numbered migration that came last."""
    return max((ROOT / MIGRATIONS).glob("[0-9]*.sql"))


def before_newest_migration() -> str:
    """The newest commit whose numbered migrations are some of ours, unchanged, and lack the newest.

    Raises:
        RuntimeError: this clone does not have it.
    """
    ours = {(path.name, git("hash-object", str(path)).strip()) for path in (ROOT / MIGRATIONS).glob("[0-9]*.sql")}
    for commit in git("log", "--format=%H", "--", MIGRATIONS).split():
        listed = (line.split() for line in git("ls-tree", commit, f"{MIGRATIONS}/").splitlines())
        theirs = {(Path(path).name, blob) for _, _, blob, path in listed if re.match(r"\d", Path(path).name)}
        if theirs and theirs < ours and max(theirs) < max(ours):
            return commit
    raise RuntimeError("this clone has no commit of before the newest migration; is it shallow? git fetch --unshallow")


def package_directory(archive: Path) -> str:
    """Where our package lies in this image."""
    with tarfile.open(archive) as image:
        for member in image:
            if not member.name.endswith((".tar", ".tar.gz")) or not member.isfile():
                continue
            with tarfile.open(fileobj=image.extractfile(member)) as content:
                for name in content.getnames():
                    if found := re.fullmatch(r"(.*/site-packages/ipam_operator)/__init__\.py", name):
                        return found.group(1).removeprefix("./").removeprefix("/")
    raise RuntimeError(f"{archive} does not hold our package")


def git(*arguments: str) -> str:
    """What git says in this clone."""
    done = subprocess.run([*GIT, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


def _archive(commit: str) -> io.BytesIO:
    done = subprocess.run([*GIT, "archive", commit, PACKAGE], capture_output=True, check=True)
    return io.BytesIO(done.stdout)

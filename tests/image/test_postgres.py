"""PostgreSQL's image for throw-away clusters."""

from pathlib import Path

import pytest

from hack import image
from hack.processes import end, spawn, wait_ready
from tests.image.archive import WORK, Archive, Pod

pytestmark = pytest.mark.timeout(600)  # builds, the first time


def test_server_starts_as_its_user(postgres_archive: Archive, postgres_root: Path, work: Path) -> None:
    """initdb, a start on a read-only root, our extension, and an end: as UID 999, found on PATH."""
    assert postgres_archive.config["config"]["User"] == "999:999"
    assert image.POSTGRES_NAME in postgres_archive.manifest["RepoTags"]
    pod = Pod(postgres_root, work, postgres_archive.environment, 999, 999)
    made = pod.run("initdb", "--no-sync", "--auth=trust", "--username=ipam", f"{WORK}/data")
    assert made.returncode == 0, made.stderr
    log = work / "postgres.log"
    told = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={WORK}")
    process = spawn(pod.command("postgres", "-D", f"{WORK}/data", *told), log, environment=pod.environment)
    ask = ("psql", "--host", WORK, "--username=ipam", "--no-psqlrc", "--tuples-only", "postgres", "--command")
    try:
        wait_ready(lambda: pod.run(*ask, "select 1").returncode == 0, process, log, 30.0)
        assert pod.run(*ask, "create extension btree_gist").stdout.strip() == "CREATE EXTENSION"
        assert pod.run(*ask, "show server_version_num").stdout.strip().startswith("15")
    finally:
        assert end(process) == 0

"""The images as `make image` leaves them, and their files."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from hack import image
from hack.places import is_root
from tests.image.archive import Archive, Pod

SHELLS = ("sh", "bash", "dash", "rbash")


@pytest.fixture(scope="session", autouse=True)
def root_only() -> None:
    """Whoever is not root cannot make a root file system."""
    if not is_root():
        pytest.skip("images are built and mounted as root")


@pytest.fixture(scope="module")
def operator_archive(root_only: None) -> Archive:  # noqa: ARG001 - its order
    """The operator's, as the sources are now."""
    return Archive(image.make_operator())


@pytest.fixture(scope="module")
def postgres_archive(root_only: None) -> Archive:  # noqa: ARG001 - its order
    """PostgreSQL's."""
    return Archive(image.make_postgres())


@pytest.fixture(scope="module")
def unpacked() -> Iterator[Path]:
    """An empty directory on a disk that may hold programs."""
    with TemporaryDirectory(prefix="root-", dir=image.IMAGES, ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """What is mounted where programs may write."""
    tmp_path.chmod(0o777)
    return tmp_path


@pytest.fixture(scope="module")
def operator_root(operator_archive: Archive, unpacked: Path) -> Path:
    """The operator's files, without any shell: it must need none."""
    root = unpacked / "operator"
    root.mkdir(mode=0o755)
    operator_archive.unpack(root)
    for shell in SHELLS:
        (root / "usr/bin" / shell).unlink(missing_ok=True)
    return root


@pytest.fixture(params=[(65532, 65532), (1000650000, 0)], ids=["its own user", "any user"])
def pod(request: pytest.FixtureRequest, operator_archive: Archive, operator_root: Path, work: Path) -> Pod:
    """The operator under the UID that the image names, and under one that it has never heard of."""
    user, group = request.param
    return Pod(operator_root, work, operator_archive.environment, user, group)


@pytest.fixture(scope="module")
def postgres_root(postgres_archive: Archive, unpacked: Path) -> Path:
    """PostgreSQL's files."""
    root = unpacked / "postgres"
    root.mkdir(mode=0o755)
    postgres_archive.unpack(root)
    assert shutil.which("postgres", path=str(root / "usr/lib/postgresql/15/bin"))
    return root

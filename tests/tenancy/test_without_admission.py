"""A cluster without the admission policies: nobody keeps users from writing other names, so none is believed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from hack.cluster import Cluster
from hack.install import ADMISSION
from tests.apiserver.conftest import books, launch
from tests.apiserver.support import Launch, Ledger, await_stamping, eventually
from tests.support.cluster import Api, ApiError, thing
from tests.tenancy.people import Person, person
from tests.tenancy.test_forgeries import CHANGED, REQUESTED, SPEC, actors

__all__ = ["books", "launch"]
POLICIES = (
    "mutatingadmissionpolicybinding/stamp.ipclaims.ipam.dotmac.io",
    "validatingadmissionpolicybinding/stamps.ipclaims.ipam.dotmac.io",
)


@pytest_asyncio.fixture
async def unprotected(api: Api, control_plane: Cluster) -> AsyncIterator[None]:
    """Neither policy acts; afterwards both do again."""
    control_plane.run_kubectl("delete", *POLICIES)
    # An administrator may bring both names back, but not the second alone.
    forged = thing("IPClaim", "default", "probe", SPEC, annotations={CHANGED: "forged"})

    async def believed() -> bool:
        try:
            born = await api.create(forged, dry_run=True)
        except ApiError:
            return False
        return bool(born["metadata"]["annotations"][CHANGED] == "forged")

    await eventually(believed, "the API server lets false names in")
    yield
    control_plane.run_kubectl("apply", "--server-side", "--force-conflicts", "-k", str(ADMISSION))
    await await_stamping(api, expected=True)


async def forge(someone: Person, name: str) -> None:
    """A claim in another's name."""
    stamps = {REQUESTED: "system:admin", CHANGED: "system:admin"}
    await someone.api.create(thing("IPClaim", someone.namespace, name, SPEC, annotations=stamps))
    await someone.bound(name)


async def test_a_name_that_anybody_can_write_is_not_believed(
    unprotected: None,  # noqa: ARG001 - before the operator starts
    api: Api,
    control_plane: Cluster,
    launch: Launch,
    books: Ledger,
    tmp_path: Path,
) -> None:
    """History names the program that asked, and the operator says why."""
    service = launch()
    async with person(api, control_plane, tmp_path / "someone") as someone:
        await someone.space()
        await forge(someone, "forged")
        born = (await someone.get("IPClaim", "forged"))["metadata"]["annotations"]
        assert born[REQUESTED] == "system:admin"
        (actor,) = await actors(books, someone, "forged")
        assert actor.startswith("manager ")
        assert "history will name programs instead of users" in service.log()


async def test_with_the_policies_names_are_told(
    api: Api, control_plane: Cluster, launch: Launch, books: Ledger, tmp_path: Path
) -> None:
    """The positive control: the same claim, where false names are refused, is told by its user's name."""
    service = launch()
    async with person(api, control_plane, tmp_path / "someone") as someone:
        await someone.space()
        await forge(someone, "true")
        assert await actors(books, someone, "true") == [someone.name]
        assert "history will name programs" not in service.log()

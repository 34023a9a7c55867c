"""Kinds that come and go under a running operator (C4)."""

from collections.abc import Awaitable, Callable

from hack.cluster import Cluster
from hack.install import ADMISSION, CRDS, MANIFESTS, install
from tests.apiserver.support import Launch, Tenant, eventually
from tests.support.cluster import ApiError, Json

BRISK = {"IPAM_POOL_TIMER_SECONDS": "1"}


async def test_claims_of_the_first_seconds(place: Tenant, launch: Launch, control_plane: Cluster) -> None:
    """Claims made as soon as the kinds are served are bound, though the API server drops watches at that time."""
    process = launch(BRISK)
    try:
        control_plane.run_kubectl("delete", "-k", ADMISSION)
        control_plane.run_kubectl("delete", "-k", CRDS, "--timeout=30s")
        if not process.running:  # as a pod it is started anew
            process = launch(BRISK, ready=False)
        control_plane.run_kubectl("apply", "--server-side", "--force-conflicts", "-k", MANIFESTS)

        async def made(create: Callable[..., Awaitable[Json]], name: str) -> None:
            async def once() -> bool:
                try:
                    await create(name=name)
                except ApiError as refusal:
                    return refusal.code == 409
                return True

            await eventually(once, f"{name} is made")

        await made(place.network, "net")
        await made(place.pool, "pool")
        names = [f"c{number:02}" for number in range(60)]
        for name in names:
            await made(place.claim, name)
        await place.bound(*names)
    finally:
        install(control_plane)


async def test_operator_before_its_kinds(place: Tenant, launch: Launch, control_plane: Cluster) -> None:
    """An operator that starts before the CRDs are there serves as soon as they are."""
    control_plane.run_kubectl("delete", "-k", ADMISSION)
    control_plane.run_kubectl("delete", "-k", CRDS, "--timeout=30s")
    try:
        process = launch(BRISK, ready=False).wait_live()
    finally:
        install(control_plane)
    if not process.running:
        process = launch(BRISK, ready=False)
    process.wait_ready()
    await place.space()
    await place.claim()
    seen: Json = (await place.bound("claim"))["claim"]
    assert seen["status"]["address"] == "10.0.0.1"

"""Two replicas on two nodes, while claims keep coming: nothing is lost, doubled or leaked, and service goes on."""

import asyncio
from asyncio import to_thread as aside

import pytest

from hack.node import MACHINES
from tests.apiserver.support import Ledger, Tenant, Writes, agreement, eventually
from tests.e2e.support import DEPLOYMENT, Flow, Release, fetch, ready, say, timed
from tests.support.cluster import Api, Json, condition
from tests.support.metrics import parse

pytestmark = pytest.mark.timeout(240)
ROOM = "10.0.0.0/20"
CLAIMS = 300
COUNTED = (("IPPool", "pool"), ("IPNetwork", "net"))
LEADER_SECONDS = 10.0
"""The default of IPAM_LEADER_SECONDS: so long a lead outlives its holder; a standby looks five times as often."""
DRAIN = ("drain", "--ignore-daemonsets", "--delete-emptydir-data")


@pytest.fixture(scope="module")
def installed(release: Release) -> Release:
    """The chart on a database outside of all pods, with counters and audits that a test can wait for."""
    with timed("helm install --wait: operator on an external database"):
        release.install(
            settings={"poolTimerSeconds": 1, "auditTimerSeconds": 1, "resyncSeconds": 8},
            admission={"recordDeletions": {"enabled": True}},
        )
    return release


def test_replicas_are_on_two_nodes(installed: Release) -> None:
    """Each replica is on a node of its own, so that one node's end is not the service's."""
    assert {pod["spec"]["nodeName"] for pod in installed.pods()} == {machine.name for machine in MACHINES}


async def test_whoever_deletes_is_known(installed: Release, place: Tenant, books: Ledger) -> None:
    """The API server reaches either replica's webhook by the Service, and trusts the certificate that Helm has made."""
    user = ("--as=carol", "--as-group=system:masters")
    await place.space(ROOM)

    async def named() -> bool:
        await place.claim("held")
        await place.bound("held")
        await aside(installed.node.run_kubectl, "delete", "ipclaim", "held", "-n", place.namespace, *user)
        last = "select actor from ipam.history where namespace = $1 and action = 'R' order by at desc limit 1"
        return str(await books.value(last, place.namespace)) == "carol"

    await eventually(named, "history names who deleted")
    said = [parse(await fetch(pod["status"]["podIP"], "/metrics")) for pod in installed.pods()]
    assert sum(one.total("ipam_deletions_total", result="noted") for one in said) >= 1


async def test_scaled_down_and_up_again(installed: Release, place: Tenant, books: Ledger) -> None:
    """One replica serves as two do, whichever is taken away, and a second one joins again."""
    await place.space(ROOM)
    async with Flow(place) as flow:
        await aside(installed.scale, 1)
        await flow.served(20)
        await aside(installed.scale, 2)
        await flow.served(20)
        tally = await flow.finish()
    say(f"scaled 2 -> 1 -> 2: {tally}")
    assert tally.refused == 0, "who goes in order leaves nobody without an answer"
    await agreement(place, books)
    assert len(installed.pods()) == 2


async def test_k10_restart_writes_nothing(installed: Release, place: Tenant, api: Api) -> None:
    """K10: with both replicas new, the leader compares all claims with the store, twice, and writes to no object."""
    names = [f"c{number}" for number in range(CLAIMS)]
    await place.space(ROOM)
    await place.claims(names)
    await place.bound(*names)
    await asyncio.gather(*(place.capacity(kind, name, allocated=str(CLAIMS)) for kind, name in COUNTED))
    await eventually(lambda: audited(place), "the network is audited")
    before = {pod["metadata"]["uid"] for pod in installed.pods()}
    writes = await Writes.begin(api)
    with timed(f"both replicas replaced over {CLAIMS} claims, until the new leader has compared them twice"):
        await aside(installed.kubectl, "rollout", "restart", DEPLOYMENT)
        await aside(installed.await_rollout)
        leader = await installed.leader()
        assert leader["metadata"]["uid"] not in before
        await eventually(lambda: asked_twice(leader, "tidy"), "two resyncs")
        await eventually(lambda: asked_twice(leader, "untiled"), "two audits")
    assert set(await writes.now()) <= {"events"}, "Kubernetes tells of its pods, and that is all"
    await place.claim("more")
    await place.bound("more")
    assert set(await writes.of_claims()) == {"ipclaims", "ipclaims/status"}, "what is written is counted"


async def audited(place: Tenant) -> bool:
    """Whether the network says that nothing in it conflicts, which it says once."""
    return condition(await place.get("IPNetwork", "net"), "ConflictFree") is not None


async def asked_twice(pod: Json, operation: str) -> bool:
    """Whether the operator in this pod has sent the store such a statement at least twice."""
    said = parse(await fetch(pod["status"]["podIP"], "/metrics"))
    return said.total("ipam_store_statements_total", operation=operation) >= 2


async def test_killed_leader_is_replaced(installed: Release, place: Tenant, books: Ledger) -> None:
    """The leader killed amid claims, one of two leads once its lead has lapsed; all claims get what they hold."""
    await place.space(ROOM)
    async with Flow(place) as flow:
        before = await installed.leader()
        installed.kill9(before)
        await flow.served(100)
        tally = await flow.finish()
    say(f"leader killed with -9: {tally}")
    (killed,) = (pod for pod in installed.pods() if pod["metadata"]["uid"] == before["metadata"]["uid"])
    assert restarts(killed) == restarts(before) + 1
    await installed.leader()
    assert tally.longest < 1.2 * LEADER_SECONDS + 5.0
    await agreement(place, books)
    installed.await_rollout()


async def test_leader_that_leaves_hands_over(installed: Release, place: Tenant, books: Ledger) -> None:
    """A leader whose pod is deleted resigns, so that claims wait for seconds, not for the lead to lapse."""
    await place.space(ROOM)
    async with Flow(place) as flow:
        before = await installed.leader()
        await aside(installed.kubectl, "delete", "pod", before["metadata"]["name"], "--wait=false")
        await flow.served(60)
        tally = await flow.finish()
    say(f"leader's pod deleted: {tally}")
    assert tally.refused == 0, "who goes in order leaves nobody without an answer"
    assert (await installed.leader())["metadata"]["name"] != before["metadata"]["name"]
    assert tally.longest < LEADER_SECONDS
    await agreement(place, books)
    installed.await_rollout()


async def test_node_is_drained(installed: Release, place: Tenant, books: Ledger) -> None:
    """The leader's node drained, its replica moves to the other node, and the budget lets no two go at once."""
    await place.space(ROOM)
    node = installed.node
    async with Flow(place) as flow:
        left = (await installed.leader())["spec"]["nodeName"]
        (other,) = {machine.name for machine in MACHINES} - {left}
        with timed("kubectl drain of the leader's node"):
            await aside(node.run_kubectl, *DRAIN, "--timeout=60s", left)
        await aside(installed.await_rollout)
        assert {pod["spec"]["nodeName"] for pod in installed.pods()} == {other}
        await flow.served(20)
        tally = await flow.finish()
    say(f"leader's node drained: {tally}")
    assert tally.refused == 0, "who goes in order leaves nobody without an answer"
    await agreement(place, books)
    try:
        # Both replicas are on the last node now, and nothing can take their place: one may go, the other has to stay.
        with pytest.raises(RuntimeError, match="disruption budget"):
            node.run_kubectl(*DRAIN, "--timeout=8s", other)
        assert sum(ready(pod) for pod in installed.pods()) == 1
        await place.claim("meanwhile")
        await place.bound("meanwhile")
    finally:
        for machine in MACHINES:
            node.run_kubectl("uncordon", machine.name)
    installed.await_rollout()


def restarts(pod: Json) -> int:
    """How often a pod's container has been started again."""
    (status,) = pod["status"]["containerStatuses"]
    return int(status["restartCount"])

"""Who deletes claims, told by the API server to the operator's webhook: in history, and never unseen."""

import secrets
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from hack.pki import Pki
from tests.apiserver.support import PATIENCE, Launch, Ledger, Tenant, eventually
from tests.chart.support import one, render
from tests.support.cluster import ApiError, Json
from tests.support.operator_process import OperatorProcess

NAME = "deletions.ipclaims.ipam.dotmac.io"
RBAC = "rbac.authorization.k8s.io"
CONFIGURATIONS = "apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
UNKNOWN = "unknown"
LINGERS = pytest.mark.parametrize("linger", [8.0], ids=["8s"])
HOLDS_NOBODY_UP = pytest.mark.parametrize("values", [{"failurePolicy": "Ignore"}], ids=["Ignore"])


@dataclass
class Webhook:
    """An operator's, and what the API server knows of it."""

    operator: OperatorProcess
    url: str
    authority: Path
    directory: Path
    place: Tenant
    books: Ledger

    async def say(self, review: Json, path: str = "") -> tuple[int, bool]:
        """Ask it as anybody could who reaches its port; the code of its answer, and whether one may ask again."""
        trusted = ssl.create_default_context(cafile=str(self.authority))
        async with (
            aiohttp.ClientSession() as session,
            session.post(path or self.url, json=review, ssl=trusted) as answer,
        ):
            return answer.status, answer.headers.get("Connection") != "close"

    async def delete(self, name: str, user: str = "", **options: str) -> None:
        """Ask for a claim's deletion, as the administrator or as another user."""
        path = self.place.api.path("IPClaim", self.place.namespace, name)
        await self.place.api.request("DELETE", path, as_user=user, **options)

    async def refusal(self, name: str, user: str) -> str:
        """What a user is told whose deletion is refused; the claim lives on."""
        with pytest.raises(ApiError) as refused:
            await self.delete(name, user)
        assert "deletionTimestamp" not in (await self.place.get("IPClaim", name))["metadata"]
        return str(refused.value)

    async def hold(self, *names: str) -> None:
        """Claims with their addresses."""
        await self.place.claims(names)
        await self.place.bound(*names)

    async def hears(self) -> bool:
        """Whether it was told of a deletion: the API server takes its time to notice that it shall."""
        await self.hold("probe")
        await self.delete("probe")
        await self.place.gone("IPClaim", "probe")
        return self.operator.metrics().total("ipam_deletions_total", result="noted") > 0

    async def deleter(self, name: str) -> str:
        """Whom history names, once the claim is gone and its address is free, which may be later."""
        await self.place.gone("IPClaim", name)
        actor = ""
        last = "select actor from ipam.history where namespace = $1 and name = $2 and action = 'R'"

        async def released() -> bool:
            nonlocal actor
            actor = await self.books.value(last, self.place.namespace, name) or ""
            return bool(actor)

        await eventually(released, f"{name} is released")
        return actor


def configuration(url: str, authority: Path, namespace: str, name: str = "deletions", **values: str) -> Json:
    """The chart's with these values, for one namespace and a server on this machine."""
    chart = render({"admission": {"recordDeletions": {"enabled": True, **values}}})
    made = one(chart, "ValidatingWebhookConfiguration", NAME)
    made["metadata"]["name"] = f"{name}-{namespace}"
    (webhook,) = made["webhooks"]
    webhook["clientConfig"] = {"url": url, "caBundle": b64encode(authority.read_bytes()).decode()}
    webhook["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return made


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Of a server on loopback."""
    made = Pki(tmp_path_factory.mktemp("webhook"))
    made.make()
    return made


@pytest.fixture
def directory(certificate: Pki, tmp_path: Path) -> Path:
    """What the operator is given."""
    folder = tmp_path / "identity"
    folder.mkdir()
    for end in ("crt", "key"):
        (folder / f"tls.{end}").write_bytes((certificate.dir / f"apiserver.{end}").read_bytes())
    (folder / "token").write_text(secrets.token_urlsafe(24) + "\n")
    return folder


@pytest.fixture
def values() -> dict[str, str]:
    """The chart's."""
    return {}


@pytest.fixture
def linger() -> float:
    """Seconds that it answers after its end was asked for: who goes is gone, where the API server knows no other."""
    return 0.0


@asynccontextmanager
async def in_force(place: Tenant, body: Json) -> AsyncIterator[None]:
    """A webhook's configuration, while this lasts."""
    await place.api.request("POST", CONFIGURATIONS, body=body)
    try:
        yield
    finally:
        await place.api.request("DELETE", f"{CONFIGURATIONS}/{body['metadata']['name']}")


@pytest_asyncio.fixture
async def webhook(
    place: Tenant,
    books: Ledger,
    launch: Launch,
    certificate: Pki,
    directory: Path,
    tmp_path: Path,
    values: dict[str, str],
    linger: float,
) -> AsyncIterator[Webhook]:
    """In force in the test's namespace, where alice and bob may delete claims."""
    port = tmp_path / "webhook-port"
    operator = launch({"IPAM_WEBHOOK_DIRECTORY": str(directory), "IPAM_WEBHOOK_PORT": "0",
                       "IPAM_WEBHOOK_PORT_FILE": str(port), "IPAM_WEBHOOK_LINGER_SECONDS": str(linger)})  # fmt: skip
    url = f"https://127.0.0.1:{port.read_text().strip()}/deletions/{(directory / 'token').read_text().strip()}"
    subjects = [{"kind": "User", "apiGroup": RBAC, "name": user} for user in ("alice", "bob")]
    role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "ipam-edit"}
    bindings = f"apis/{RBAC}/v1/namespaces/{place.namespace}/rolebindings"
    binding = {"metadata": {"name": "edit"}, "roleRef": role, "subjects": subjects}
    await place.api.request("POST", bindings, body=binding)
    it = Webhook(operator, url, certificate.authority, directory, place, books)
    await place.space()
    async with in_force(place, configuration(url, certificate.authority, place.namespace, **values)):
        await eventually(it.hears, "the API server tells of deletions")
        yield it
    if operator.running:
        await place.close()


@pytest_asyncio.fixture
async def somebody_else(certificate: Pki, place: Tenant) -> AsyncIterator[None]:
    """Another webhook in the test's namespace, which has nothing of alice's deleted: nobody answers for it."""
    other = configuration("https://127.0.0.1:1/", certificate.authority, place.namespace, "others")
    (hook,) = other["webhooks"]
    hook["matchConditions"] = [{"name": "alice", "expression": "request.userInfo.username == 'alice'"}]
    async with in_force(place, other):
        yield


async def again(launch: Launch, webhook: Webhook) -> None:
    """Another operator, where the API server looks for the first one."""
    port = webhook.url.split("/")[2].rpartition(":")[2]
    settings = {"IPAM_WEBHOOK_DIRECTORY": str(webhook.directory), "IPAM_WEBHOOK_PORT": port}
    webhook.operator = launch({**settings, "IPAM_WEBHOOK_LINGER_SECONDS": "0"})


@asynccontextmanager
async def away(webhook: Webhook) -> AsyncIterator[None]:
    """The store, for whoever asks to delete."""
    await webhook.books.execute("begin")
    await webhook.books.execute("lock table ipam.deletion in access exclusive mode")
    try:
        yield
    finally:
        await webhook.books.execute("rollback")


async def test_history_names_who_deleted(webhook: Webhook) -> None:
    """Each claim its own user, also of a collection that is deleted at once."""
    place = webhook.place
    await webhook.hold("mine", "yours", "one", "two")
    await webhook.delete("mine", "alice")
    await webhook.delete("yours", "bob")
    assert (await webhook.deleter("mine"), await webhook.deleter("yours")) == ("alice", "bob")
    await place.api.request("DELETE", place.api.path("IPClaim", place.namespace), as_user="alice")
    assert (await webhook.deleter("one"), await webhook.deleter("two")) == ("alice", "alice")
    assert await webhook.books.value("select count(*) from ipam.deletion") == 0


async def test_what_did_not_delete_is_not_named(webhook: Webhook) -> None:
    """A rehearsal, a request for another object of that name, and a second one for a claim that is going."""
    place = webhook.place
    held = await place.claim("held")
    await place.bound("held")
    await webhook.delete("held", "alice", dryRun="All")
    with pytest.raises(ApiError) as refused:
        await place.api.request(
            "DELETE", place.api.path("IPClaim", place.namespace, "held"), as_user="alice",
            body={"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}},
        )  # fmt: skip
    assert refused.value.code == HTTPStatus.CONFLICT
    finalizers = [*held["metadata"].get("finalizers", []), "example.com/slow"]
    await place.api.patch("IPClaim", place.namespace, "held", {"metadata": {"finalizers": finalizers}})
    await webhook.delete("held", "bob")
    await webhook.delete("held", "alice")
    await place.api.patch("IPClaim", place.namespace, "held", {"metadata": {"finalizers": []}})
    assert await webhook.deleter("held") == "bob"


async def test_nobody_else_is_believed(webhook: Webhook) -> None:
    """Whoever reaches the port but does not know the token says nothing; nor does who makes no sense."""
    place = webhook.place
    held = await place.claim("held")
    await place.bound("held")
    review = {
        "request": {
            "uid": "1",
            "operation": "DELETE",
            "userInfo": {"username": "mallory"},
            "oldObject": {"metadata": {"uid": held["metadata"]["uid"]}},
        }
    }
    base = webhook.url.rpartition("/")[0]
    for path in (f"{base}/{'x' * 32}", f"{base}/", base):
        assert await webhook.say(review, path) == (HTTPStatus.NOT_FOUND, True)
    for nonsense in ({}, {"request": {**review["request"], "operation": "CREATE"}}, {"request": 1}):
        assert await webhook.say(nonsense) == (HTTPStatus.BAD_REQUEST, True)
    assert await webhook.books.value("select count(*) from ipam.deletion") == 0
    await webhook.delete("held", "alice")
    assert await webhook.deleter("held") == "alice"


async def test_nobody_deletes_unseen(webhook: Webhook, launch: Launch) -> None:
    """While the operator is gone no claim is deleted, and whoever asks is told by which webhook."""
    await webhook.hold("held")
    webhook.operator.terminate()
    started = time.monotonic()
    assert NAME in await webhook.refusal("held", "alice")
    assert time.monotonic() - started < PATIENCE
    await again(launch, webhook)
    await webhook.delete("held", "bob")
    assert await webhook.deleter("held") == "bob"


@LINGERS
async def test_who_goes_still_notes_who_deletes(webhook: Webhook, launch: Launch) -> None:
    """Asked to end, an operator lets another lead at once, but answers deletions until all know that it goes."""
    await webhook.hold("held")
    other = launch({"IPAM_LEADER_SECONDS": "5"}, ready=False).wait_live()
    webhook.operator.ask_to_end()

    async def led() -> bool:
        return other.metrics().total("ipam_leader") == 1

    await eventually(led, "the other one leads, which looks each second", 4.0)
    await webhook.hold("next")
    assert await webhook.say({}) == (HTTPStatus.BAD_REQUEST, False), "its connections are not worth keeping"
    await webhook.delete("held", "alice")
    assert await webhook.deleter("held") == "alice"
    assert webhook.operator.wait() == 0
    assert NAME in await webhook.refusal("next", "alice")


@pytest.mark.usefixtures("somebody_else")
async def test_whom_others_refused_is_never_named(webhook: Webhook, launch: Launch) -> None:
    """Alice is noted, and refused by somebody else; then bob finds no operator, and comes again when it is there."""
    await webhook.hold("held", "kept")
    for name in ("held", "kept"):
        assert "https://127.0.0.1:1/" in await webhook.refusal(name, "alice")
    assert await webhook.books.value("select count(*) from ipam.deletion where actor = 'alice'") == 2
    webhook.operator.terminate()
    for name in ("held", "kept"):
        assert NAME in await webhook.refusal(name, "bob")
    await again(launch, webhook)
    await webhook.delete("held", "bob")
    assert await webhook.deleter("held") == UNKNOWN
    await webhook.books.execute("update ipam.deletion set at = at - interval '61 s'")
    await webhook.delete("kept", "bob")
    assert await webhook.deleter("kept") == "bob"


async def test_a_store_that_is_away_is_told(webhook: Webhook) -> None:
    """A store that does not answer costs one deletion a few seconds, the next ones nothing; whoever asks knows why."""
    names = [f"held-{number}" for number in range(10)]
    await webhook.hold(*names)
    async with away(webhook):
        started = time.monotonic()
        for name in names:
            assert "allocation store does not answer" in await webhook.refusal(name, "alice")
        assert time.monotonic() - started < len(names)
    assert webhook.operator.metrics().total("ipam_deletions_total", result="lost") == len(names)

    async def deleted() -> bool:
        try:
            await webhook.delete("held-0", "alice")
        except ApiError:
            return False
        return True

    await eventually(deleted, "claims can be deleted again")
    assert await webhook.deleter("held-0") == "alice"


@HOLDS_NOBODY_UP
async def test_nobody_waits_for_who_is_away(webhook: Webhook, launch: Launch) -> None:
    """While the operator is gone claims are deleted all the same; the next one does not know by whom."""
    await webhook.hold("held")
    webhook.operator.terminate()
    started = time.monotonic()
    await webhook.delete("held", "alice")
    assert time.monotonic() - started < PATIENCE
    launch()
    assert await webhook.deleter("held") == UNKNOWN


@HOLDS_NOBODY_UP
async def test_nobody_waits_for_a_store_that_is_away(webhook: Webhook) -> None:
    """A store that does not answer costs one deletion a few seconds, the others nothing, and all of them the name."""
    names = [f"held-{number}" for number in range(10)]
    await webhook.hold(*names)
    async with away(webhook):
        started = time.monotonic()
        for name in names:
            await webhook.delete(name, "alice")
        assert time.monotonic() - started < len(names)
        assert webhook.operator.metrics().total("ipam_deletions_total", result="lost") == len(names)
    assert {await webhook.deleter(name) for name in names} == {UNKNOWN}

    async def noted() -> bool:
        await webhook.hold("next")
        await webhook.delete("next", "alice")
        await webhook.place.gone("IPClaim", "next")
        last = "select actor from ipam.history where namespace = $1 and action = 'R' order by at desc limit 1"
        return bool(await webhook.books.value(last, webhook.place.namespace) == "alice")

    await eventually(noted, "whoever deletes is known again")


async def test_certificate_and_token_are_needed(launch: Launch, directory: Path) -> None:
    """Without one of them the operator does not begin, and says where it looked for what."""
    (directory / "token").unlink()
    operator = launch({"IPAM_WEBHOOK_DIRECTORY": str(directory)}, ready=False)
    assert operator.wait() != 0
    assert "IPAM_WEBHOOK_DIRECTORY" in operator.log()
    assert "token" in operator.log()
    assert "Traceback" not in operator.log()

"""docs/operations/security.md: what it tells people to copy does what it says."""

import re
import subprocess
from typing import Final

import yaml

from hack.cluster import Cluster
from hack.places import ROOT
from hack.postgres import Postgres
from ipam_operator.store.migrate import migrate
from tests.apiserver.support import eventually
from tests.support.cluster import Api
from tests.support.postgres import login_url
from tests.support.store import Store
from tests.tenancy.support import fill, session

PAGE: Final = (ROOT / "docs/operations/security.md").read_text()
RBAC: Final = "apis/rbac.authorization.k8s.io/v1"


def blocks(language: str) -> list[str]:
    """The page's snippets in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_names_what_exists() -> None:
    """Files, roles and metrics are called as they are; the page is read to its end."""
    for path in re.findall(r"manifests/[\w/.-]+\w|tests/\w+/", PAGE):
        assert (ROOT / path).exists(), path
    manifests = (ROOT / "manifests/install/cluster/rbac.yaml").read_text()
    for role in ("ipam-view", "ipam-edit", "ipam-restore", "ipam-operator"):
        assert f"name: {role}\n" in manifests
        assert role in PAGE
    assert len(PAGE.splitlines()) <= 160


async def test_a_tenant_is_made(control_plane: Cluster, api: Api) -> None:
    """The manifests are taken, and what `kubectl auth can-i` is shown to say it says."""
    (manifest,) = blocks("yaml")
    namespaces = {body["metadata"]["namespace"] for body in yaml.safe_load_all(manifest)}
    assert namespaces == {"team-a"}
    for name in ("team-a", "team-b"):
        await api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        control_plane.run_kubectl("apply", "--server-side", "-f", "-", text=manifest)
        asked = re.findall(r"^\$ kubectl (auth can-i .*)\n(yes|no)$", blocks("console")[0], re.MULTILINE)
        assert [said for _, said in asked] == ["yes", "no", "no"]

        def answers() -> list[str]:
            return [_kubectl(control_plane, question.split()) for question, _ in asked]

        async def so() -> bool:
            return answers() == [said for _, said in asked]

        await eventually(so, "the authorizer answers as the page says")
    finally:
        for name in ("team-a", "team-b"):
            await api.delete("Namespace", "", name)


def test_the_validating_half_can_be_applied_alone(control_plane: Cluster) -> None:
    """With the command of the page, on a cluster that has it already, too."""
    (command,) = re.findall(r"^\$ kubectl (apply .*)$", blocks("console")[1], re.MULTILINE)
    files = [str(ROOT / word) if word.startswith("manifests/") else word for word in command.split()]
    said = control_plane.run_kubectl(*files, "--server-side", "--force-conflicts")
    assert said.count("validatingadmissionpolicybinding") == 2


async def test_the_databases_logins() -> None:
    """The operator's login, the one that narrows itself and the one that is bound do what the page says."""
    operator, portal, narrowed, bound = blocks("sql")
    with Postgres() as server:
        await migrate(server.url)
        async with session(server.url) as owner:
            for statements in (operator, portal, bound):
                await owner.execute(statements)
        served = login_url(server.url, "ipam_service", "change-me")
        assert await migrate(served) == []
        async with Store(server.url, login=("ipam_service", "change-me"), limits="allocate=1000/1000") as store:
            await fill(store, "team-a")
            await fill(store, "team-b")
        count = "select array_agg(distinct namespace) from ipam.history"
        async with session(login_url(server.url, "ipam_portal", "change-me")) as both:
            assert await both.fetchval(count) == ["team-a", "team-b"]
            begin, role, setting, asked, commit = [one.strip() for one in narrowed.split(";") if one.strip()]
            for statement in (begin, role, setting):
                await both.execute(statement)
            assert await both.fetchval(count) == ["team-a"]
            assert await both.fetch(asked)
            await both.execute(commit)
            assert await both.fetchval(count) == ["team-a", "team-b"]
        async with session(login_url(server.url, "portal_team_a", "change-me"), "", "team-b") as only:
            assert await only.fetchval(count) == ["team-a"]


def _kubectl(cluster: Cluster, words: list[str]) -> str:
    command = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

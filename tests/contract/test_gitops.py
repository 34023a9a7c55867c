"""What deployment tools make of our statuses: kstatus (Flux, Helm 4) and Argo CD's health.lua."""

from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any
from uuid import UUID

import pytest
import yaml
from lupa import lua51

from ipam_operator.api.status import NEVER_ANSWERED
from ipam_operator.domain.model import Identity, ObjectRef
from ipam_operator.domain.outcome import Accepted, Block, Granted, Held, Reason, Refused
from ipam_operator.kube import status
from ipam_operator.kube.resources import GROUP, Kind
from tests.contract.cases import ROOT

pytestmark = pytest.mark.unit

Json = dict[str, Any]

ARGOCD = ROOT / "manifests/gitops/argocd"
HEALTH = (ARGOCD / "health.lua").read_text()
HEALTHS = {"Current": "Healthy", "InProgress": "Progressing", "Failed": "Degraded", "Terminating": "Progressing"}
"""The Argo CD health that says the same as a verdict of kstatus."""

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
POOL = ObjectRef("tenant", "pool")
ME = Identity(UUID(int=1), ObjectRef("tenant", "me"), 3)

VERDICTS = {
    Reason.ALLOCATED: "Current",
    Reason.RESERVED: "Current",
    Reason.READY: "Current",
    Reason.POOL_EXHAUSTED: "InProgress",
    Reason.QUEUED: "InProgress",
    Reason.POOL_PAUSED: "InProgress",
    Reason.POOL_NOT_FOUND: "InProgress",
    Reason.QUOTA_EXCEEDED: "InProgress",
    Reason.RATE_LIMITED: "InProgress",
    Reason.NETWORK_NOT_FOUND: "InProgress",
    Reason.STORE_UNAVAILABLE: "InProgress",
    Reason.ADDRESS_CONFLICT: "Failed",
    Reason.MAC_CONFLICT: "Failed",
    Reason.NETWORK_OVERLAP: "Failed",
    Reason.OUTSIDE_POOL: "Failed",
    Reason.POOL_AMBIGUOUS: "Failed",
    Reason.TENANT_ISOLATION: "Failed",
    Reason.INVALID_SPEC: "Failed",
    Reason.INVALID_NETWORK: "Failed",
    Reason.GATEWAY_CONFLICT: "Failed",
    Reason.SHRINK_REFUSED: "Failed",
    Reason.EXPIRED_ALLOCATION: "Failed",
    Reason.RESERVATION_NOT_FOUND: "Failed",
    Reason.IN_USE: "Terminating",
    Reason.DELETING: "InProgress",
}


def kstatus(body: Json) -> str:
    """The verdict of sigs.k8s.io/cli-utils on a kind that it has no rules of its own for."""
    if body["metadata"].get("deletionTimestamp"):
        return "Terminating"
    document = body.get("status", {})
    if document.get("observedGeneration", body["metadata"]["generation"]) != body["metadata"]["generation"]:
        return "InProgress"
    for one in document.get("conditions", []):
        if one["status"] == "True" and one["type"] in {"Reconciling", "Stalled"}:
            return "InProgress" if one["type"] == "Reconciling" else "Failed"
    ready = next((one["status"] for one in document.get("conditions", []) if one["type"] == "Ready"), "True")
    return "Current" if ready == "True" else "InProgress"


def argo(body: Json) -> tuple[str, str]:
    """Health and message by health.lua, with no more of Lua than Argo CD gives it."""
    lua = lua51.LuaRuntime(register_eval=False, register_builtins=False)
    names = lua.globals()
    for library in ("coroutine", "debug", "io", "math", "os", "package", "string"):
        names[library] = None
    names.obj = lua.table_from(body, recursive=True)
    said = lua.execute(HEALTH)
    return str(said["status"]), str(said["message"])


def live(document: Mapping[str, Any] | None = None, *, generation: int = ME.generation, dying: bool = False) -> Json:
    """An object as the API server would show it."""
    body: Json = {"metadata": {"name": "me", "generation": generation}}
    if dying:
        body["metadata"]["deletionTimestamp"] = status.rfc3339(NOW)
    if document is not None:
        body["status"] = dict(document)
    return body


def granted(*, reserved: bool = False) -> Json:
    block = Block(4, 24, ip_address("10.0.0.1"), ())
    outcome = Granted(ME, POOL, (ip_address("10.0.0.5"),), 1, NOW, block, reserved=reserved)
    document = status.for_claim(outcome, now=NOW)
    assert document is not None
    return document


def parent(outcome: Accepted | Refused | Held, *, serving: bool = False) -> Json:
    return status.for_parent(outcome, now=NOW, previous=(), serving=serving)


def objects(reason: Reason) -> list[Json]:
    """Every object that carries the reason, with the status that the operator writes."""
    refused = Refused(ME, reason, "why")
    match reason:
        case Reason.ALLOCATED | Reason.RESERVED:
            return [live(granted(reserved=reason is Reason.RESERVED))]
        case Reason.READY:
            return [live(parent(Accepted(ME)))]
        case Reason.IN_USE:
            return [live(parent(Held(ME, 1, (POOL,))), dying=True)]
        case Reason.STORE_UNAVAILABLE:
            unanswered = status.store_unavailable(generation=ME.generation, now=NOW)
            return [live(unanswered), live(parent(refused)), live(parent(refused, serving=True))]
        case _:
            documents = (status.for_claim(refused, now=NOW), parent(refused), parent(refused, serving=True))
            return [live(document) for document in documents]


@pytest.mark.parametrize("reason", Reason)
def test_verdict_of_every_reason(reason: Reason) -> None:
    """Each reason has its row, and both tools read it so, on whichever kind and whether or not an old spec serves."""
    read = [(kstatus(body), argo(body)[0]) for body in objects(reason)]
    assert set(read) == {(VERDICTS[reason], HEALTHS[VERDICTS[reason]])}


@pytest.mark.parametrize("reason", Reason)
def test_verdict_on_an_older_spec(reason: Reason) -> None:
    """An answer to an older generation is no verdict on the newest one, and nobody takes a dying object for done."""
    for body in objects(reason):
        dying = {**body, "metadata": {**body["metadata"], "deletionTimestamp": status.rfc3339(NOW)}}
        assert (kstatus(dying), argo(dying)[0]) == ("Terminating", "Progressing")
        if not body["metadata"].get("deletionTimestamp"):
            edited = {**body, "metadata": {**body["metadata"], "generation": ME.generation + 1}}
            assert (kstatus(edited), argo(edited)[0]) == ("InProgress", "Progressing")


def test_silence_is_no_success() -> None:
    """What the API server shows of an object without a status is in progress; kstatus would not see it without one."""
    assert kstatus(live()) == "Current"
    assert kstatus(live(NEVER_ANSWERED)) == "InProgress"
    for body in (live(), live(NEVER_ANSWERED)):
        assert argo(body) == ("Progressing", "the newest spec is not answered yet")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (live(granted()), "1 address from pool pool"),
        (live(parent(Refused(ME, Reason.SHRINK_REFUSED, "5 held"), serving=True)), "5 held"),
        (live(parent(Refused(ME, Reason.NETWORK_NOT_FOUND, "no net"))), "no net"),
        (live(parent(Held(ME, 1, (POOL,))), dying=True), "deletion waits for 1 in use: pool"),
        (live(granted(), dying=True), "is being deleted"),
        (live({**granted(), "conditions": []}), "is not ready yet"),
    ],
)
def test_argo_cd_shows_what_would_help(body: Json, message: str) -> None:
    """The message beside the health is the condition's."""
    assert argo(body)[1] == message


def test_argo_cd_is_told_of_every_kind() -> None:
    """argocd-cm gets health.lua under the key of each of our kinds, and the Lua stands nowhere else."""
    (generator,) = yaml.safe_load((ARGOCD / "kustomization.yaml").read_text())["configMapGenerator"]
    keys = {f"resource.customizations.health.{GROUP}_{kind.api_kind}=health.lua" for kind in Kind}
    assert set(generator["files"]) == keys
    assert generator["name"] == "argocd-cm"
    assert generator["options"]["disableNameSuffixHash"]
    assert generator["options"]["labels"] == {"app.kubernetes.io/part-of": "argocd"}

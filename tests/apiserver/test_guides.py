"""docs/guides/claims.md: what it tells people to apply and to type does what it says."""

import re

import yaml

from hack.cluster import Cluster
from hack.places import ROOT
from tests.apiserver.support import Tenant
from tests.support.cluster import Json

PAGE = (ROOT / "docs/guides/claims.md").read_text()
SNIPPETS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"`kubectl ((?:wait|get|explain) [^`]*)`", PAGE)


async def test_every_snippet_is_served(tenant: Tenant, control_plane: Cluster) -> None:
    """Each is taken by the API server and gets what it asks for; the commands find it."""
    await tenant.network("10.20.0.0/24", "office")
    await tenant.pool("office-hosts", "office")

    def kubectl(*arguments: str, text: str | None = None) -> str:
        return control_plane.run_kubectl("-n", tenant.namespace, *arguments, text=text)

    for snippet in SNIPPETS:
        kubectl("apply", "-f", "-", text=snippet.replace("team-a", tenant.namespace))
    asked: dict[str, Json] = {
        body["metadata"]["name"]: body["spec"] for text in SNIPPETS for body in yaml.safe_load_all(text)
    }
    served = {name: one["status"] for name, one in (await tenant.bound(*asked)).items()}
    for name, spec in asked.items():
        assert len(served[name]["addresses"]) == spec.get("count", 1)
        assert served[name]["address"] == spec.get("address", served[name]["address"])
        assert ("expiresAt" in served[name]) == ("lease" in spec)
    assert served["camera-7"]["macAddress"] == "02:00:5e:10:00:07"
    said = {command: kubectl(*command.split()) for command in COMMANDS}
    assert "condition met" in said["wait --for=condition=Ready ipc/printers"]
    assert "intranet" in said["get ipc --field-selector status.address=10.20.0.80"]
    assert len(said) >= 3

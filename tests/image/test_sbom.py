"""The bill of materials names what is in the image."""

import json
import re

import pytest

from hack import sbom
from ipam_operator import __version__

pytestmark = pytest.mark.timeout(600)  # downloads, the first time


def test_it_names_what_is_locked() -> None:
    """Every locked package with its version and a licence, and nothing else; what we need directly hangs on us."""
    sbom.make()
    told = json.loads(sbom.SBOM.read_text())
    assert told["bomFormat"] == "CycloneDX"
    subject = told["metadata"]["component"]
    assert (subject["name"], subject["version"]) == ("dotmac-ipam-operator", __version__)
    locked = re.findall(r"^([\w.-]+)==(\S+)", sbom.LOCK.read_text(), re.MULTILINE)
    assert {one["purl"] for one in told["components"]} == {f"pkg:pypi/{name}@{version}" for name, version in locked}
    assert [one["name"] for one in told["components"] if not one.get("licenses")] == []
    (direct,) = (row["dependsOn"] for row in told["dependencies"] if row["ref"] == subject["bom-ref"])
    assert {name.partition("==")[0] for name in direct} >= {"asyncpg", "kopf", "uvloop"}

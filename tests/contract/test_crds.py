"""The committed CRDs, read as data."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import Field

from ipam_operator.api import crd
from ipam_operator.api.base import Document
from ipam_operator.api.pools import StrategyName
from ipam_operator.domain.model import Strategy
from tests.contract.cases import ROOT

pytestmark = pytest.mark.unit

FILES = sorted((ROOT / "crds").glob("ip*.yaml"))
Node = dict[str, Any]


def nodes(schema: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every part of a schema with its path, `metadata` and type fields aside: they are not ours."""
    yield path or ".", schema
    for name, child in schema.get("properties", {}).items():
        if path or name in {"spec", "status"}:
            yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


def every_node() -> list[tuple[str, Node]]:
    found = []
    for file in FILES:
        document = yaml.safe_load(file.read_text())
        schema = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        found += [(f"{document['spec']['names']['kind']}{path}", node) for path, node in nodes(schema)]
    return found


NODES = every_node()


def test_committed_is_generated() -> None:
    """crds/ is what the generator writes: run `make crds` after a change of the models."""
    assert len(FILES) == len(crd.KINDS)
    assert crd.main([str(ROOT / "crds"), "--check"]) == 0


def test_check_shows_what_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` writes nothing, fails, and shows the difference."""
    assert crd.main([str(tmp_path)]) == 0
    (tmp_path / "ippools.yaml").write_text(crd.render(crd.KINDS[1]).replace("maximum", "maximal", 1))
    assert crd.main([str(tmp_path), "--check"]) == 1
    shown = capsys.readouterr().out
    assert "maximal" in shown
    assert shown.count("--- ") == 1
    assert "maximal" in (tmp_path / "ippools.yaml").read_text()


def test_check_misses_a_file(tmp_path: Path) -> None:
    """A CRD that was never committed is a difference."""
    assert crd.main([str(tmp_path), "--check"]) == 1


def test_unknown_keyword_stops_the_generator() -> None:
    """What the API server might not judge as pydantic does cannot slip into a CRD."""

    class Stepped(Document):
        step: int = Field(multiple_of=5, description="In steps of five.")

    with pytest.raises(ValueError, match="multipleOf"):
        crd.schema(Stepped)


@pytest.mark.parametrize("node", [node for _, node in NODES], ids=[path for path, _ in NODES])
def test_everything_is_bounded(node: Node) -> None:
    """Strings, arrays and numbers have limits, and arrays say how they merge: CEL's cost and etcd's limit need it."""
    match node["type"]:
        case "string":
            assert "enum" in node or "maxLength" in node
        case "array":
            assert "maxItems" in node
            assert node["x-kubernetes-list-type"] in {"atomic", "set", "map"}
        case "integer":
            assert "enum" in node or {"minimum", "maximum"} <= node.keys()
        case "object":
            bounded = "maxProperties" in node and "maxLength" in node.get("additionalProperties", {})
            assert node.get("properties") or bounded, "an open map is unbounded"
        case kind:
            assert kind == "boolean"


@pytest.mark.parametrize(("path", "node"), NODES, ids=[path for path, _ in NODES])
def test_everything_is_described(path: str, node: Node) -> None:
    """`kubectl explain` is the manual: every field says in a sentence what it is."""
    if not path.endswith("[]"):
        assert node["description"].endswith(".")
        assert node["description"][0].isupper() or node["description"][0] == "("


@pytest.mark.parametrize("node", [node for _, node in NODES if "x-kubernetes-validations" in node])
def test_rules_say_what_must_be(node: Node) -> None:
    """Every rule has words of its own, in the positive; CEL's text would be shown otherwise."""
    for rule in node["x-kubernetes-validations"]:
        assert "must" in rule["message"]
        assert "invalid" not in rule["message"].lower()


def test_claims_stay_lean() -> None:
    """Rules of a claim are paid for on every write of every claim: a new one needs a reason to be here."""
    count = sum(len(node.get("x-kubernetes-validations", ())) for path, node in NODES if path.startswith("IPClaim"))
    assert count == 8  # two names, an address, two durations, two relations between fields, one against changes


def test_strategies_are_the_domains() -> None:
    """The API knows exactly the strategies that the domain has."""
    assert {strategy.value for strategy in Strategy} == set(get_args(StrategyName))


def test_names() -> None:
    """Group, scope, category and short names are a contract with users."""
    named = {}
    for file in FILES:
        spec = yaml.safe_load(file.read_text())["spec"]
        assert (spec["group"], spec["scope"]) == ("ipam.dotmac.io", "Namespaced")
        assert spec["names"]["categories"] == ["ipam"]
        assert spec["versions"][0]["subresources"] == {"status": {}}
        named[spec["names"]["kind"]] = spec["names"]["shortNames"]
    assert named == {"IPNetwork": ["ipnet"], "IPPool": ["ippool"], "IPClaim": ["ipc"]}

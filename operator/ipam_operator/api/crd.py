"""Models -> CRDs. `python -m ipam_operator.api.crd [--check] [DIRECTORY]`.

The API server takes *structural* schemas only, so pydantic's is rewritten: references are inlined, optional is
told by absence (`type: null` is refused), and what it would only repeat is dropped. A keyword that nobody has
thought about stops the generator: the server might ignore it, and then it would judge otherwise than the models.
"""

import argparse
import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from ipam_operator.api.base import Document
from ipam_operator.api.claims import IPClaim
from ipam_operator.api.names import CATEGORY, GROUP, VERSION
from ipam_operator.api.networks import IPNetwork
from ipam_operator.api.pools import IPPool

Json = dict[str, Any]

HEADER: Final = "# Generated from the models in ipam_operator/api by `make crds`: change those, not this.\n"

_KEPT: Final = frozenset(
    {
        "type", "format", "description", "default", "enum", "pattern", "properties", "required", "items",
        "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties",
        "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations",
    }
)  # fmt: skip
_DROPPED: Final = frozenset({"title", "additionalProperties", "propertyNames", "$defs"})
"""`propertyNames` has no place in a structural schema: names of labels are judged when the object is read."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a CRD says beside its schema."""

    model: type[Document]
    short_name: str
    columns: tuple[tuple[str, str, str], ...]
    """Name, type and JSON path of each column, in the order of what a person asks first."""
    selectable: tuple[str, ...] = ()

    @property
    def plural(self) -> str:
        """As it stands in URLs."""
        return f"{self.model.__name__.lower()}s"


_READY: Final = ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status')
_REASON: Final = ("Reason", "string", ".status.reason")
_AGE: Final = ("Age", "date", ".metadata.creationTimestamp")

KINDS: Final = (
    Kind(
        IPNetwork,
        "ipnet",
        (
            ("CIDR", "string", ".spec.cidr"),
            ("Type", "string", ".spec.type"),
            ("Used %", "string", ".status.utilizationPercent"),
            _READY,
            _REASON,
            _AGE,
        ),
    ),
    Kind(
        IPPool,
        "ippool",
        (
            ("Network", "string", ".spec.networkRef.name"),
            ("Type", "string", ".spec.type"),
            ("Used %", "string", ".status.utilizationPercent"),
            ("Free", "string", ".status.capacity.free"),
            ("Waiting", "integer", ".status.waiting"),
            ("State", "string", ".status.state"),
            _AGE,
        ),
    ),
    Kind(
        IPClaim,
        "ipc",
        (
            ("Address", "string", ".status.address"),
            ("Pool", "string", ".status.pool"),
            _READY,
            _REASON,
            _AGE,
        ),
        selectable=(
            ".status.address",
            ".status.addressIPv6",
            ".status.pool",
            ".status.reason",
            ".status.macAddress",
            ".spec.poolRef.name",
        ),
    ),
)


def crd(kind: Kind) -> Json:
    """The CustomResourceDefinition of one kind."""
    name = kind.model.__name__
    version: Json = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema(kind.model)},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": title, "type": kind_of, "jsonPath": path} for title, kind_of, path in kind.columns
        ],
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{GROUP}",
            "labels": {"app.kubernetes.io/name": "ipam-operator", "app.kubernetes.io/component": "crds"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": name,
                "listKind": f"{name}List",
                "plural": kind.plural,
                "singular": name.lower(),
                "shortNames": [kind.short_name],
                "categories": [CATEGORY],
            },
            "versions": [version],
        },
    }


def schema(model: type[Document]) -> Json:
    """The structural schema of a whole object."""
    raw = model.model_json_schema(by_alias=True)
    structural = _structural(raw, raw.get("$defs", {}))
    structural["properties"] = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        **structural["properties"],
    }
    return structural


def _structural(node: Mapping[str, Any], definitions: Mapping[str, Json]) -> Json:
    node = _flat(dict(node), definitions)
    unknown = node.keys() - _KEPT - _DROPPED
    if unknown:
        raise ValueError(f"cannot put {sorted(unknown)} into a structural schema: {node}")
    result = {key: value for key, value in node.items() if key in _KEPT}
    if result.get("default", ...) is None:
        del result["default"]
    if "description" in result:
        result["description"] = re.sub(r"(?<!\n)\n(?!\n)", " ", result["description"])
    if "properties" in result:
        result["properties"] = {name: _structural(child, definitions) for name, child in result["properties"].items()}
    if isinstance(values := node.get("additionalProperties"), Mapping):
        result["additionalProperties"] = _structural(values, definitions)
    if "items" in result:
        result["items"] = _structural(result["items"], definitions)
    return result


def _flat(node: Json, definitions: Mapping[str, Json]) -> Json:
    """The node without references and without `or null`; what stands beside them wins."""
    if "$ref" in node:
        target = definitions[node.pop("$ref").rpartition("/")[2]]
        return _flat({**target, **node}, definitions)
    if "anyOf" in node:
        (only,) = (choice for choice in node.pop("anyOf") if choice != {"type": "null"})
        return _flat({**only, **node}, definitions)
    return node


class _Dumper(yaml.SafeDumper):
    """Long lines stay whole, so that a changed word is one changed line."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - YAML anchors are legal and confuse readers
        return True


def render(kind: Kind) -> str:
    """The CRD as the YAML text that is committed."""
    return HEADER + yaml.dump(crd(kind), Dumper=_Dumper, sort_keys=False, width=4096, allow_unicode=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the CRDs, or compare them with what is committed."""
    parser = argparse.ArgumentParser(prog="python -m ipam_operator.api.crd", description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=Path("crds"), help="default: crds")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and show what differs")
    options = parser.parse_args(arguments)
    stale = False
    for kind in KINDS:
        path, text = options.directory / f"{kind.plural}.yaml", render(kind)
        if not options.check:
            options.directory.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            continue
        committed = path.read_text(encoding="utf-8") if path.exists() else ""
        diff = difflib.unified_diff(
            committed.splitlines(keepends=True), text.splitlines(keepends=True), str(path), "generated"
        )
        for line in diff:
            stale = True
            print(line, end="")  # noqa: T201 - a command line prints
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())

"""Kubernetes' own types in the chart's schema of values: a typo in a toleration or a volume is refused as any other.

`make manifests` copies those that values have from the newest version that the tests know: fields rarely go, and one
that an older cluster does not have is refused by its API server.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate

Schema = dict[str, Any]
NEWEST = "1.37"
FOLDER = "kubernetes-json-schema/v{}.0-local-strict/_definitions.json"
CORE, NETWORK = "io.k8s.api.core.v1", "io.k8s.api.networking.v1"
KINDS = (
    *(
        f"{CORE}.{kind}"
        for kind in (
            "Affinity", "EnvVarSource", "PodSecurityContext", "ResourceClaim", "SecurityContext", "Toleration",
            "TopologySpreadConstraint", "Volume", "VolumeMount",
        )
    ),
    *(f"{NETWORK}.{kind}" for kind in ("NetworkPolicyEgressRule", "NetworkPolicyPeer")),
)  # fmt: skip
"""Types that values have."""
PREFIX = "io.k8s."
_REFERENCE = re.compile(r'"\$ref": "[^"]*/\$defs/([^"]+)"')


def kubernetes_definitions() -> Iterator[tuple[str, Schema]]:
    """Each type that values have, and those that it is made of, without their descriptions."""
    path = Path(kubernetes_validate.__file__).parent / FOLDER.format(NEWEST)
    known: dict[str, Schema] = json.loads(path.read_text())["$defs"]
    left, done = list(KINDS), set[str]()
    while left:
        name = left.pop()
        if name not in done:
            done.add(name)
            left += _REFERENCE.findall(json.dumps(known[name]))
    for name in sorted(done):
        text = _REFERENCE.sub(r'"$ref": "#/definitions/\1"', json.dumps(_bare(known[name])))
        yield name, json.loads(text)


def _bare(schema: Schema) -> Schema:
    """What is checked, and nothing that is only said."""
    kept = {key: value for key, value in schema.items() if key != "description" and not key.startswith("x-")}
    for key in ("properties", "patternProperties"):
        if key in kept:
            kept[key] = {name: _bare(one) for name, one in sorted(kept[key].items())}
    for key in ("items", "additionalProperties"):
        if isinstance(kept.get(key), dict):
            kept[key] = _bare(kept[key])
    return kept

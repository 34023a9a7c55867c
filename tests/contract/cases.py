"""The corpus: manifests that models and API server must judge alike."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml

from ipam_operator.api import v1alpha1
from ipam_operator.domain.model import ClaimRequest, Identity, NetworkRequest, ObjectRef, PoolRequest
from ipam_operator.domain.outcome import Refused

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).parent / "corpus"
MARK = "test.ipam.dotmac.io/"


@dataclass(frozen=True, slots=True)
class Case:
    """One manifest and what it says about itself in its annotations."""

    path: Path
    body: dict[str, Any]

    @property
    def kind(self) -> str:
        return str(self.body["kind"])

    @property
    def refused_by(self) -> str:
        """`schema` and `cel` refuse on both sides; `domain` only in `to_domain`."""
        return str(self._mark("refused-by", ""))

    @property
    def message(self) -> str:
        """A part of what the API server says."""
        return str(self._mark("message", ""))

    @property
    def model_message(self) -> str:
        """A part of what we say; the API server's words unless told otherwise."""
        return str(self._mark("model-message", self.message))

    @property
    def reason(self) -> str:
        """The condition's reason."""
        return str(self._mark("reason", "InvalidSpec"))

    def _mark(self, name: str, default: str) -> Any:
        return self.body["metadata"].get("annotations", {}).get(MARK + name, default)

    def judged(self) -> NetworkRequest | PoolRequest | ClaimRequest | Refused:
        """What the operator makes of the manifest."""
        return judge(self.kind, self.body.get("spec") or {})


def judge(kind: str, spec: dict[str, Any]) -> NetworkRequest | PoolRequest | ClaimRequest | Refused:
    """Put a spec through the function that the reconciler calls."""
    match kind:
        case "IPNetwork":
            return v1alpha1.network_request(IDENTITY, spec)
        case "IPPool":
            return v1alpha1.pool_request(IDENTITY, spec, {})
        case "IPClaim":
            return v1alpha1.claim_request(IDENTITY, spec, actor="alice")
        case _:
            raise AssertionError(kind)


IDENTITY = Identity(UUID("00000000-0000-4000-8000-000000000001"), ObjectRef("tenant", "thing"), 3)


def load(folder: str) -> list[Case]:
    """Every manifest of a folder of the corpus, in the order of names."""
    return [Case(path, yaml.safe_load(path.read_text())) for path in sorted((CORPUS / folder).glob("*.yaml"))]


GOOD, BAD = load("good"), load("bad")


def name(case: Case) -> str:
    """The file's name, as the id of a parametrized test."""
    return case.path.stem

"""What a claim refers to: pools, a network, another claim, an object of any kind."""

from typing import Annotated

from pydantic import Field

from ipam_operator.api.base import Document
from ipam_operator.api.fields import LABELS_LIMIT, LabelValue, ObjectName
from ipam_operator.api.pools import PoolType

_ELSEWHERE = (
    " Absent: the claim's own. Pools of another namespace serve the claim if their spec.allowedNamespaces allow it."
)


class PoolRef(Document):
    """An IPPool by name."""

    name: ObjectName = Field(description="Name of the IPPool. It may be made later: the claim waits for it.")
    namespace: ObjectName | None = Field(default=None, description="Namespace of the IPPool." + _ELSEWHERE)


class PoolSelector(Document):
    """IPPools by what they are."""

    match_labels: dict[str, LabelValue] = Field(
        default_factory=dict,
        max_length=LABELS_LIMIT,
        description="Labels that the IPPool has, all of them, at most 8: {tier: front}. Absent: whatever it has.",
    )
    type: PoolType | None = Field(default=None, description="The IPPool's spec.type. Absent: any.")
    namespace: ObjectName | None = Field(default=None, description="Namespace of the IPPools." + _ELSEWHERE)


class NetworkRef(Document):
    """The IPPools of an IPNetwork."""

    name: ObjectName = Field(description="Name of the IPNetwork. It may be made later: the claim waits for it.")
    namespace: ObjectName | None = Field(
        default=None, description="Namespace of the IPNetwork and its pools." + _ELSEWHERE
    )


class ReservationRef(Document):
    """Another claim, by name."""

    name: ObjectName = Field(description="Name of an IPClaim of the same namespace whose reason is Reserved.")


class ResourceRef(Document):
    """An object of the claim's namespace."""

    api_version: Annotated[str, Field(min_length=2, max_length=317, pattern=r"^([a-z0-9.-]+/)?v[a-z0-9]+$")] = Field(
        description="Group and version, as objects say them: apps/v1, or v1."
    )
    kind: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Z][A-Za-z0-9]*$")] = Field(
        description="Kind, in the singular: Deployment."
    )
    name: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[^/\x00-\x20]+$")] = Field(
        description="Name of the object."
    )

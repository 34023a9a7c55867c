"""What the API server asks of a webhook: AdmissionReview of admission.k8s.io/v1, as far as it is read."""

from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, AliasPath, BaseModel, Field

Json = dict[str, object]
_NAME_LIMIT: Final = 512
"""Characters of a user's name; the store's index takes four times as many bytes."""


def _nameable(name: str) -> str:
    """One that the store can keep; of others it is noted that somebody asked, or who asked before would be believed."""
    return name if 0 < len(name) <= _NAME_LIMIT and "\0" not in name else "unknown"


class DeletionReview(BaseModel):
    """Whether a claim may be deleted."""

    uid: str = Field(validation_alias=AliasPath("request", "uid"))
    operation: Literal["DELETE"] = Field(validation_alias=AliasPath("request", "operation"))
    actor: Annotated[str, AfterValidator(_nameable)] = Field(
        validation_alias=AliasPath("request", "userInfo", "username")
    )
    dry_run: bool = Field(default=False, validation_alias=AliasPath("request", "dryRun"))
    claim: UUID = Field(validation_alias=AliasPath("request", "oldObject", "metadata", "uid"))
    dying: str = Field(default="", validation_alias=AliasPath("request", "oldObject", "metadata", "deletionTimestamp"))

    @classmethod
    def read(cls, text: bytes) -> Self:
        """Read the body of a request.

        Raises:
            ValueError: it is no review of a deletion.
        """
        return cls.model_validate_json(text)

    @property
    def decides(self) -> bool:
        """Whether the claim goes if this is allowed: one that is going already has been deleted by another request."""
        return not self.dry_run and not self.dying

    def allowed(self) -> Json:
        """The answer: yes."""
        response = {"uid": self.uid, "allowed": True}
        return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}

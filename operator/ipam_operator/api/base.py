"""What all models share: how a document is read, and how a broken one is put into words.

A model has the *shape* of its CRD: both judge every manifest alike (tests/contract). Hence strict types (the API
server turns no "5" into 5), a null means absent (the API server prunes it), and unknown fields pass (it prunes
those as well).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.alias_generators import to_camel

Rule = dict[str, str]
"""One entry of `x-kubernetes-validations`."""

_SHOWN: Final = 3
"""Errors in one message; more help nobody, and conditions are bounded."""


class Document(BaseModel):
    """An object of the API, or a part of one."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="ignore", frozen=True, strict=True, hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if isinstance(data, dict) and None in data.values():
            return {name: value for name, value in data.items() if value is not None}
        return data


def rules(*entries: Rule) -> dict[str, Any]:
    """CEL rules in the form that `json_schema_extra` wants."""
    return {"x-kubernetes-validations": list(entries)}


def kind_of(error: ValidationError) -> str:
    """The type of the first error, by which a refusal finds its reason."""
    return str(error.errors(include_url=False, include_input=False)[0]["type"])


def place_of(error: ValidationError) -> str:
    """The top-level field of the first error; empty when it concerns several."""
    place = error.errors(include_url=False, include_input=False)[0]["loc"]
    return str(place[0]) if place else ""


def explain(error: ValidationError) -> str:
    """What must change, field by field."""
    errors = error.errors(include_url=False)
    shown = "; ".join(f"{_path(_place(one))}: {_demand(one)}" for one in errors[:_SHOWN])
    rest = len(errors) - _SHOWN
    return f"{shown}; and {rest} more" if rest > 0 else shown


def _place(one: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Where to edit; a rule between fields says itself which one, as `fieldPath` does in CEL."""
    field = (one.get("ctx") or {}).get("field")
    return (*one["loc"], field) if field else tuple(one["loc"])


def _path(place: Iterable[str | int]) -> str:
    return "spec" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)


_DEMANDS: Final[Mapping[str, str]] = {
    "missing": "must be set",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "literal_error": "must be one of {expected}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} character",
    "string_pattern_mismatch": "must match {pattern}",
    "too_long": "must have at most {max_length} items",
    "too_short": "must have at least {min_length} item",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}
"""Pydantic's error types in the words of the API conventions: what must be, not what is wrong."""


def _demand(one: Mapping[str, Any]) -> str:
    context = one.get("ctx") or {}
    if one["type"] == "value_error":
        return str(context["error"])
    if one["type"] in _DEMANDS:
        return _DEMANDS[one["type"]].format(**context)
    return str(one["msg"])

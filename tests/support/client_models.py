"""Documents checked by the models of the official Python clients, with no key that they do not know but those that are ours."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

OURS = {"timings", "warnings", "store", "id", "bytes"}
"""Keys of responses that the clients have no field for."""


def event_models(union: Any) -> dict[str, type[BaseModel]]:
    """The models of a union of events, by the `type` of the event."""
    arguments = typing.get_args(union)
    members = typing.get_args(arguments[0]) if typing.get_args(arguments[0]) and len(arguments) < 3 else arguments
    return {typing.get_args(one.model_fields["type"].annotation)[0]: one for one in members if hasattr(one, "model_fields")}


def check(model: type[BaseModel], document: Mapping[str, Any]) -> BaseModel:
    """Validate a document strictly, and check that it has no key that the model and its parts do not have."""
    read = model.model_validate(document, strict=True)
    unknown = set(_unknown(read, ""))
    assert not unknown, unknown
    return read


def _unknown(value: Any, path: str) -> Iterable[str]:
    if isinstance(value, BaseModel):
        yield from (f"{path}.{name}" for name in (value.model_extra or {}) if name not in OURS)
        for name in type(value).model_fields:
            yield from _unknown(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from _unknown(item, path)

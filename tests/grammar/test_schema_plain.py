"""Parameters of tools in the subset of llama.cpp's converter."""

from __future__ import annotations

from typing import Any

import pytest

from llamacli.errors import SchemaError
from llamacli.grammar.schema.plain import plain_schema

TREE = {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
        {"properties": {"a": {"$ref": "#/$defs/x-1"}}, "$defs": {"x-1": {"enum": [True, False]}}},
        {"properties": {"true": {"const": True, "default": False}}},
    ],
)
def test_a_plain_schema_stays(schema: Any) -> None:
    assert plain_schema(schema) is schema


@pytest.mark.parametrize(
    ("schema", "plain"),
    [
        ({"properties": {"a": True, "b": False}}, {"properties": {"a": {}, "b": {"not": {}}}}),
        ({"prefixItems": [{}, True], "items": False}, {"prefixItems": [{}, {}]}),
        (
            {"properties": {"a": {"$ref": "#/$defs/a~1b"}}, "$defs": {"a/b": {"type": "null"}}},
            {"properties": {"a": {"$ref": "#/$defs/schema1"}}, "$defs": {"schema1": {"type": "null"}}},
        ),
        (
            {"properties": {"a": {"$ref": "#node"}}, "$defs": {"n": {"$anchor": "node", "type": "null"}}},
            {"properties": {"a": {"$ref": "#/$defs/schema1"}}, "$defs": {"schema1": {"type": "null"}}},
        ),
    ],
)
def test_others_are_rewritten(schema: Any, plain: Any) -> None:
    assert plain_schema(schema) == plain


def test_recursion_ends() -> None:
    plain = plain_schema(TREE)
    reference = {"anyOf": [{"$ref": "#/$defs/schema1"}, {"type": "null"}]}
    assert plain["properties"]["next"] == plain["$defs"]["schema1"]["properties"]["next"] == reference


def test_a_reference_that_leads_nowhere() -> None:
    with pytest.raises(SchemaError, match="cannot resolve the reference"):
        plain_schema({"$ref": "#/nowhere/at/all"})

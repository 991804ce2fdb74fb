"""Parameters of tools in the subset of llama.cpp's converter."""

from __future__ import annotations

import time
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


@pytest.mark.parametrize(
    "pattern", ["^a{5,3}$", "(a*)*b(?=c)", "^" + "(" * 3000 + "a" + ")" * 3000 + "$", "^a{2,1000000}$", "(", 5]
)
def test_patterns_without_a_grammar_are_left_to_the_check_of_the_arguments(pattern: Any) -> None:
    schema = {"properties": {"a": {"type": "string", "pattern": pattern}, "b": {"type": "string", "pattern": "^b$"}}}
    plain = {"properties": {"a": {"type": "string"}, "b": {"type": "string", "pattern": "^b$"}}}
    assert plain_schema(schema) == plain


def test_recursion_ends() -> None:
    plain = plain_schema(TREE)
    reference = {"anyOf": [{"$ref": "#/$defs/schema1"}, {"type": "null"}]}
    assert plain["properties"]["next"] == plain["$defs"]["schema1"]["properties"]["next"] == reference


def test_a_reference_that_leads_nowhere() -> None:
    with pytest.raises(SchemaError, match="cannot resolve the reference"):
        plain_schema({"$ref": "#/nowhere/at/all"})


@pytest.mark.parametrize("definitions", [[], 3, {}, None])
@pytest.mark.parametrize("reference", [{"$ref": "#/$defs/a"}, {"allOf": [{"$ref": "#/$defs/a"}]}])
def test_a_reference_without_its_definition_is_left_to_llama_cpp(definitions: Any, reference: dict[str, Any]) -> None:
    schema = {**reference, "$defs": definitions}
    assert plain_schema(schema) is schema


def doubled(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": ["object", "array"], "properties": {"a": schema}}
    return schema


def shared(depth: int) -> dict[str, Any]:
    references = [{"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(depth)]
    return {
        "$defs": {f"a{i}": {"type": "object", "properties": {"x": reference}} for i, reference in enumerate(references)},
        "allOf": [{"$ref": "#/$defs/a0"}],
    }


ITSELF = {"$defs": {"a": {"$ref": "#/$defs/a"}}}
INSIDE_ITSELF = {"$defs": {"a": {"type": "object", "properties": {"x": {"allOf": [{"$ref": "#/$defs/a"}]}}}}}


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (doubled(40), "too large when it is expanded"),
        (shared(40), "too large when it is expanded"),
        ({**ITSELF, "allOf": [{"$ref": "#/$defs/a"}]}, "contains itself"),
        ({**INSIDE_ITSELF, "allOf": [{"$ref": "#/$defs/a"}]}, "contains itself"),
        ({"properties": {f"p{i}": {} for i in range(1000)}}, "more than 400 optional properties"),
    ],
)
def test_schemas_that_llama_cpps_converter_does_not_finish_are_refused(schema: Any, reason: str) -> None:
    begin = time.process_time()
    with pytest.raises(SchemaError, match=reason):
        plain_schema(schema)
    assert time.process_time() - begin < 2

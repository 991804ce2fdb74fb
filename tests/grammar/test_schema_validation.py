"""Validation of documents: where they do not fit, and never without end."""

from __future__ import annotations

import time
from typing import Any

import pytest

from llamacli.errors import SchemaError
from llamacli.grammar.schema.validation import SECONDS, find_mismatch

BACKTRACKING = "^(a|aa)+$"


@pytest.mark.parametrize(
    ("document", "schema", "mismatch"),
    [
        ({"a": 1}, {"properties": {"a": {"type": "integer"}}}, None),
        ({"a": "x"}, {"properties": {"a": {"type": "integer"}}}, "#/a: 'x' is not of type 'integer'"),
        ("abc", {"pattern": "b"}, None),
        ("abc", {"pattern": "^b"}, "#: 'abc' does not match '^b'"),
        ({"x-1": 1}, {"patternProperties": {"^x-": {"type": "string"}}}, "#/x-1: 1 is not of type 'string'"),
        ({"x-1": 1, "b": 2}, {"patternProperties": {"^x-": {}}, "additionalProperties": False}, "#: Additional properties"),
        ({"x-1": 1, "b": 2}, {"patternProperties": {"^x-": {}}, "additionalProperties": {"type": "null"}}, "#/b: 2 is not"),
        ({"a": 1}, False, "#: False schema"),
    ],
)
def test_mismatches(document: Any, schema: Any, mismatch: str | None) -> None:
    found = find_mismatch(document, schema)
    assert (found is None) == (mismatch is None)
    assert mismatch is None or (found is not None and found.startswith(mismatch))


@pytest.mark.parametrize(
    ("document", "schema"),
    [
        ("a" * 60 + "b", {"pattern": BACKTRACKING}),
        ({"a" * 60 + "b": 1}, {"patternProperties": {BACKTRACKING: {}}}),
        ({"a" * 60 + "b": 1}, {"patternProperties": {BACKTRACKING: {}}, "additionalProperties": False}),
        (["a" * 60 + "b"] * 50, {"items": {"pattern": BACKTRACKING}}),
    ],
)
def test_patterns_are_bounded_in_time(document: Any, schema: Any) -> None:
    started = time.process_time()
    with pytest.raises(SchemaError, match="takes longer than 2 s"):
        find_mismatch(document, schema)
    assert time.process_time() - started < 2 * SECONDS


@pytest.mark.parametrize(
    ("schema", "message"),
    [({"$ref": "https://example.invalid/x.json"}, "refers to"), ({"pattern": "(?P<"}, "invalid pattern")],
)
def test_what_cannot_be_decided(schema: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        find_mismatch("a", schema)

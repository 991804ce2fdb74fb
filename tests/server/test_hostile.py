"""Requests that are nearly right, or not at all: every one gets an answer that is no fault of the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import LiveServer, serving, spec_of

from llamacli.openai.description import request_schemas

SCHEMAS = request_schemas()

NUMBERS = st.integers() | st.sampled_from([2**31, 2**63, -(2**63), 10**30]) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
SOUND: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Hello"}],
    "prompt": "Hello",
    "input": "Hello",
    "content": "Hello",
    "tokens": [5, 6],
    "query": "Hello",
    "documents": ["Hello"],
    "max_tokens": 2,
    "model": "tiny",
    "input_prefix": "a",
    "input_suffix": "b",
    "input_file_id": "file-1",
    "endpoint": "/v1/completions",
}


@pytest.fixture(scope="module")
def server(tiny_model: Path) -> Iterator[LiveServer]:
    with serving(spec_of(tiny_model)) as live:
        yield live


def documents(path: str) -> st.SearchStrategy[dict[str, Any]]:
    """Requests with the required fields, and any values for a few others."""
    schema = SCHEMAS[path]
    sound = {
        name: SOUND[name] for name in schema["properties"] if name in SOUND and name in (*schema["required"], "max_tokens")
    }
    fields = st.dictionaries(st.sampled_from(sorted(schema["properties"])), VALUES, max_size=3)
    return fields.map(lambda changed: {**sound, **changed})


@pytest.mark.parametrize("path", sorted(set(SCHEMAS) - {"/v1/batches"}))
def test_no_value_of_a_field_is_a_fault_of_the_server(server: LiveServer, path: str) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(document=documents(path))
    def check(document: dict[str, Any]) -> None:
        if document.get("max_tokens") in (None, -1) or not isinstance(document.get("max_tokens"), int):
            document.pop("max_tokens", None)
        reply = server.post(path, document)
        assert reply.status < 500, (document, reply.body)
        if reply.status >= 400:
            assert json.loads(reply.body)["error"]["message"], document

    check()


@pytest.mark.parametrize(
    "body", [b"", b"null", b"3", b'"x"', b"[[]]", b"{" * 2000, b'{"a":' * 600 + b"1", b"\x00", b"1" * 5000]
)
def test_no_body_is_a_fault_of_the_server(server: LiveServer, body: bytes) -> None:
    for path in SCHEMAS:
        if path != "/v1/batches":
            assert 400 <= server.post(path, body=body).status < 500


def test_the_document_describes_every_endpoint(server: LiveServer) -> None:
    document = server.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert set(SCHEMAS) - {"/v1/batches"} <= set(document["paths"])
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
    chat = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"temperature", "min_p", "mirostat", "messages", "tools"} <= set(chat["properties"])


def test_every_described_field_is_read(server: LiveServer) -> None:
    for path, schema in SCHEMAS.items():
        if path == "/v1/batches":
            continue
        sound = {name: SOUND[name] for name in schema["required"]}
        for name in schema["properties"]:
            reply = server.post(path, {**sound, name: {"of": "no type"}})
            message = json.loads(reply.body).get("error", {}).get("message", "")
            assert f"{name} is not supported" != message, path

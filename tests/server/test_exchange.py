"""The body of a request as JSON: read as other JSON is, with the same errors, and on a thread if it is large."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from llamacli.errors import InvalidJSONError
from llamacli.json_text import parse_json
from llamacli.server.http.exchange import LARGE_BYTES, Exchange, HttpLimits, Record

VALID = [
    b'{"a": [1, -0, 1.5, true, null, "\\u00e4\\ud83d\\ude00"]}',
    b'\xef\xbb\xbf{"a": 1}',
    b'"\\ud800"',
    b'{"a": 1, "a": 2}',
    b"123456789012345678901234567890",
    b"1e999",
    b"[" * 400 + b"]" * 400,
    b"[" + b"[]," * 600 + b"1]",
]
INVALID = [b"", b"{", b'{"a": 1} x', b"[NaN]", b'"\xff"', b"[" * 600 + b"]" * 600, b"[" * 100_000, b"9" * 5000, b'{"a":}']


def exchange(body: bytes) -> Exchange:
    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    return Exchange({"headers": []}, receive, send, HttpLimits(), Record(method="POST", path="/"))


async def read(body: bytes) -> Any:
    found = exchange(body)
    await found.read_body()
    return await found.json()


@pytest.mark.parametrize("body", VALID)
def test_valid_json_is_read_as_elsewhere(body: bytes) -> None:
    assert repr(asyncio.run(read(body))) == repr(parse_json(body))


@pytest.mark.parametrize("body", INVALID)
def test_invalid_json_is_refused_as_elsewhere(body: bytes) -> None:
    with pytest.raises(InvalidJSONError) as expected:
        parse_json(body)
    with pytest.raises(InvalidJSONError) as caught:
        asyncio.run(read(body))
    assert str(caught.value) == str(expected.value)


@pytest.mark.parametrize(("size", "is_here"), [(10, True), (LARGE_BYTES, False)])
def test_a_large_body_is_read_on_a_thread(size: int, is_here: bool) -> None:
    async def main() -> int:
        found = exchange(json.dumps("x" * size).encode())
        await found.read_body()
        return await found.read(threading.get_ident)

    assert (asyncio.run(main()) == threading.get_ident()) == is_here

"""The one reader of JSON from outside."""

import json

import pytest

from llamacli.errors import InvalidJSONError, UsageError
from llamacli.json_text import MAX_DEPTH, MAX_DIGITS, parse_json


@pytest.mark.parametrize("text", ["1", '"a[{"', '{"a": [1, 2.5, null, true]}', "[]", ' {"n": -0} '])
def test_a_document_is_parsed_as_pythons_reader_does(text):
    assert parse_json(text) == parse_json(text.encode()) == parse_json("\ufeff" + text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid JSON at line 1, column 1: expecting value"),
        ('{\n"a": 1,\n  b}', "invalid JSON at line 3, column 3: expecting property name enclosed in double quotes"),
        ("[1] 2", "invalid JSON at line 1, column 5: extra data"),
        ('["a', "invalid JSON at line 1, column 2: unterminated string"),
        ('["\n"]', "invalid JSON at line 1, column 3: invalid control character"),
        ('["NaN",\n -Infinity]', "invalid JSON at line 2, column 2: -Infinity is not a JSON value"),
        (b'["\xc3\xa9\xff"]', "invalid JSON at line 1, column 4: byte 0xff is not valid UTF-8"),
    ],
)
def test_a_fault_is_located(text, message):
    with pytest.raises(InvalidJSONError) as caught:
        parse_json(text)
    assert caught.value.message == message
    with pytest.raises(UsageError, match=r"^rows\.jsonl: invalid JSON at line"):
        parse_json(text, source="rows.jsonl")


def test_the_bounds_are_exact_and_located():
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse_json(deepest)
    assert parse_json('["' + "[" * 10_000 + '\\"{"]')
    assert len(parse_json("[" + "[{}]," * MAX_DEPTH + "1]")) == MAX_DEPTH + 1
    with pytest.raises(InvalidJSONError) as caught:
        parse_json('{"[":\n' + deepest + "}")
    assert (caught.value.line, caught.value.column) == (2, MAX_DEPTH)
    assert parse_json("9" * MAX_DIGITS) == int("9" * MAX_DIGITS)
    with pytest.raises(InvalidJSONError) as caught:
        parse_json('["' + "1" * 5000 + '", ' + "1" * (MAX_DIGITS + 1) + "]")
    assert caught.value.offset == 5005
    with pytest.raises(InvalidJSONError):
        parse_json("[" * 1_000_000)

"""Grammars made from regular expressions, choices, JSON schemas and examples."""

from __future__ import annotations

import json
import random
import re
import time

import pytest

from llamacli.engine.constraint.schema import schema_to_grammar
from llamacli.errors import GrammarError, SchemaError
from llamacli.grammar.analysis.sampler import Sampler
from llamacli.grammar.choices import from_choices
from llamacli.grammar.gbnf import check_safe, parse
from llamacli.grammar.matcher import Matcher
from llamacli.grammar.regex.reader import from_regex
from llamacli.grammar.schema.converter import not_enforced
from llamacli.grammar.schema.inference import infer_schema, read_examples

# --- regular expressions ---------------------------------------------------------------------------------------------

REGEXES = [
    "", "()", "()*x", "a", "abc", "a|b|", "a||b", "(ab|cd)x", "(?:ab)?c", "(a|b)*c", "(a|)*b", "((a|)|b)*", "(|a|b){2,5}",
    "(?:a?)*", r"^\d{4}-\d\d-\d\d$", r"[^\W\d]+", "[a-cx-z]+", "[]a-]+", r"[\]\\^-]+", "[^a-c]", "[^^]", "ab?c+?d*", "a{,3}b",
    "a{b}", "a{2,}", "((a|b){2,3}){2,400}", "(?i)H2[a-f]+", "(?i:x)y", "(?s:.)x", ".", "(?P<y>a+)-(?<z>b)", r"\A\s*\Z",
    r"\x41\u4e2d\U0001F600", r'"[^"]*"', r"\.\*\(\)\[\]\{\}\|\^\$\\", r"\t\n\r\f\v", "(a*|b)+c",
    "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}", "x{0}y", "(x{0})*y",
]  # fmt: skip


@pytest.mark.parametrize("pattern", REGEXES)
def test_regexes_match_what_pythons_do(pattern):
    text = from_regex(pattern)
    check_safe(text)
    grammar = parse(text)
    matcher, oracle = Matcher(grammar), re.compile(pattern.replace("(?<", "(?P<"), re.ASCII)
    for sample in Sampler(grammar, 1).samples(40):
        assert oracle.fullmatch(sample), (text, sample)
    rng = random.Random(0)
    letters = sorted(set(pattern) - {"\0"} | set('abcxyzAé12-]["\\ \n'))
    for _ in range(1500):
        candidate = "".join(rng.choice(letters) for _ in range(rng.randrange(7)))
        assert matcher.matches(candidate) is bool(oracle.fullmatch(candidate)), (text, candidate)


@pytest.mark.parametrize(
    ("pattern", "column", "reason"),
    [
        ("a**", 3, "possessive"),
        ("(a", 1, "no closing parenthesis"),
        ("a)", 2, "unmatched"),
        (r"(a)\1", 4, "back references"),
        ("a(?=b)", 2, "look-around"),
        (r"\bx", 1, "word boundaries"),
        ("a^b", 2, "only at the start"),
        ("(a$)", 3, "only at the end"),
        ("[a", 1, "no closing bracket"),
        ("[b-a]", 4, "reversed"),
        ("a{3,2}", 2, "less than the lower bound"),
        ("*a", 1, "nothing to repeat"),
        ("a\\", 2, "backslash ends"),
        ("x{5000}", 2, "2,000"),
        ("(" * 101, 101, "100 deep"),
        (r"\p{L}", 1, "unknown escape"),
        (r"\ud800", 1, "not a character"),
        (r"[\s\S]\0", 7, "NUL"),
        (r"[^\s\S]", 1, "no character"),
    ],
)
def test_regexes_without_a_grammar_are_located(pattern, column, reason):
    with pytest.raises(GrammarError, match=f"column {column}: .*{reason}"):
        from_regex(pattern)


def test_damaged_regexes_never_raise_anything_else():
    for seed in range(3000):
        rng = random.Random(seed)
        pattern = "".join(
            rng.choice(["a", "b", "(", ")", "[", "]", "{2}", "*", "|", "\\", "?", "^", "$", "-", "(?:", "d"]) for _ in range(8)
        )
        try:
            text = from_regex(pattern)
        except GrammarError:
            continue
        check_safe(text)


# --- choices ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choices",
    [
        ["red"],
        ["red", "green", "blue", "red"],
        ['say "hi"', "back\\slash", "line\nend", "é中😀", ""],
        [f"{number:x}" for number in range(3000)],
        ["a" * number for number in range(1, 1500)],
        ["", *(chr(97 + number % 26) + str(number) for number in range(100))],
    ],
)
def test_choices_match_themselves_and_nothing_else(choices):
    text = from_choices(choices)
    check_safe(text)
    matcher = Matcher(parse(text))
    for choice in choices:
        assert matcher.matches(choice)
        assert matcher.matches(choice + "~") is (choice + "~" in choices)
        assert matcher.matches(choice[:-1]) is (choice[:-1] in choices)


def test_no_choice_is_an_error():
    with pytest.raises(GrammarError, match="no text"):
        from_choices([])
    with pytest.raises(GrammarError, match="NUL"):
        from_choices(["a\0"])


# --- schemas ---------------------------------------------------------------------------------------------------------


def test_a_schema_becomes_a_grammar():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}, "required": ["a"]}
    text = schema_to_grammar(schema)
    check_safe(text)
    matcher = Matcher(parse(text))
    assert matcher.matches('{"a": 1, "b": "x"}')
    assert not matcher.matches('{"b": "x"}')
    for sample in Sampler(parse(text), 1).samples(30):
        assert set(json.loads(sample)) <= {"a", "b"}


def test_a_bad_schema_is_an_error():
    with pytest.raises(SchemaError):
        schema_to_grammar({"type": "nonsense"})


NOT_ENFORCED = [
    ({"type": "number", "minimum": 1, "multipleOf": 2}, {("#", "multipleOf")}),
    ({"type": "integer", "minimum": 1, "exclusiveMaximum": 4}, set()),
    ({"type": "integer", "minimum": 1, "exclusiveMinimum": 0}, set()),
    ({"type": "string", "format": "email"}, set()),
    ({"type": "string", "format": "regex"}, {("#", "format")}),
    ({"type": "string", "format": "date", "minLength": 3}, {("#", "minLength")}),
    ({"type": "string", "pattern": "^a+$", "maxLength": 3}, {("#", "maxLength")}),
    ({"type": "string", "pattern": "a+"}, set()),
    ({"type": "string", "pattern": "^[\\d]+$"}, set()),
    ({"type": "string", "pattern": "^(?=a)b$", "maxLength": 8}, {("#", "pattern")}),
    ({"pattern": "a\\b"}, {("#", "pattern")}),
    ({"type": "integer", "minimum": 10**16}, set()),
    ({"type": "integer", "minimum": 10**50}, {("#", "minimum")}),
    ({"type": ["string", "null"], "enum": ["a", None]}, set()),
    ({"type": "string", "enum": ["a", 1]}, set()),
    ({"type": "integer", "const": 1.0}, set()),
    ({"allOf": [{"enum": [1, 2]}, {"enum": [2, 3]}]}, set()),
    ({"allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}], "type": "object"}, set()),
    ({"allOf": [{"properties": {"a": {}}}, {"properties": {"a": {}}}]}, set()),
    ({"allOf": [{"anyOf": [{"properties": {"a": {}}, "required": ["a"]}]}]}, set()),
    ({"allOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": {"type": "string"}}}, set()),
    ({"type": "string", "pattern": "^(ab|c)[x-z]{1,3}\\.$"}, set()),
    (
        {"type": "array", "items": {"type": "number", "maximum": 1}, "uniqueItems": True},
        {("#", "uniqueItems")},
    ),
    ({"type": "array", "prefixItems": [{"type": "null"}], "minItems": 1}, set()),
    ({"type": "object", "properties": {"a": {"not": {}}}, "required": ["b"]}, {("#/properties/a", "not")}),
    ({"type": "object", "minProperties": 1, "patternProperties": {}}, {("#", "minProperties")}),
    ({"oneOf": [{"type": "null"}, {"type": "string"}]}, set()),
    ({"oneOf": [{"type": "string"}, {"minLength": 3}]}, {("#", "oneOf")}),
    (
        {"$ref": "#/$defs/x", "minimum": 1, "$defs": {"x": {"type": "number", "maximum": 2}}},
        set(),
    ),
    ({"type": ["number", "null"], "minimum": 1}, set()),
    ({"enum": [1, 2], "minimum": 1}, set()),
    ({"enum": ["a"], "not": {"type": "null"}}, {("#", "not")}),
    ({"type": "object", "properties": {"a/b~": {"type": "number", "multipleOf": 2}}}, {("#/properties/a~1b~0", "multipleOf")}),
    ({"allOf": [{"type": "string", "minLength": 2}]}, set()),
    ({"allOf": [{"type": "string"}, {"not": {"const": "x"}}]}, {("#/allOf/1", "not")}),
    ({"minimum": 2}, set()),
    ({"maximun": 2}, {("#", "maximun")}),
    ({"title": "x", "type": "string", "description": "y", "default": "z"}, set()),
]


@pytest.mark.parametrize(
    ("schema", "expected"), NOT_ENFORCED, ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else ""
)
def test_what_the_converter_does_not_enforce_is_listed(schema, expected):
    assert {(finding.path, finding.keyword) for finding in not_enforced(schema)} == expected


@pytest.mark.parametrize(
    "schema", [schema for schema, expected in NOT_ENFORCED if any(key == "pattern" for _, key in expected)], ids=str
)
def test_any_string_is_accepted_where_a_pattern_has_no_grammar(schema):
    assert Matcher(parse(schema_to_grammar(schema))).matches('"anything"')


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "boolean", "const": 1}, "at #: no JSON value satisfies the schema"),
        ({"allOf": [{"enum": [1]}, {"enum": [2]}]}, "at #: no JSON value satisfies the schema"),
        ({"allOf": [{"enum": [1, 2]}], "type": "string"}, "at #: no JSON value satisfies the schema"),
        ({"anyOf": [{"type": "null"}], "type": "object"}, "at #: no JSON value satisfies the schema"),
        ({"properties": {"a": False}, "required": ["a"]}, "at #: no JSON value satisfies the schema"),
        ({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "at #: no JSON value satisfies the schema"),
        (False, "at #: no JSON value satisfies the schema"),
        ({"$ref": "#", "properties": {"a": {"$ref": "#/properties/a"}}}, "at #: the schema contains itself, without an end"),
        ([], "at #: a schema must be an object or a boolean"),
        ({"items": {"type": "foo"}}, "at #/items/type: type has the unknown type 'foo'"),
        ({"properties": []}, "at #/properties: properties must be an object"),
        ({"minItems": -1}, "at #/minItems: minItems must be a whole number from 0"),
    ],
    ids=str,
)
def test_a_schema_without_values_is_refused_with_its_place(schema, message):
    with pytest.raises(SchemaError) as caught:
        schema_to_grammar(schema)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("schema", "breach"),
    [
        ({"type": "number", "multipleOf": 10}, "1"),
        ({"type": "integer", "multipleOf": 2}, "3"),
        ({"type": "string", "format": "json-pointer"}, '"no pointer"'),
        ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, "[1, 1]"),
        ({"type": "object", "properties": {"a": {"type": "null"}}, "minProperties": 1}, "{}"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "1"),
    ],
)
def test_what_is_listed_is_truly_not_enforced(schema, breach):
    text = schema_to_grammar(schema)
    assert not_enforced(schema)
    assert Matcher(parse(text)).matches(breach)


# --- examples --------------------------------------------------------------------------------------------------------


def test_a_schema_is_inferred():
    examples = [
        {"id": 1, "when": "2026-01-02", "kind": "x", "size": 1, "tags": ["a"], "more": {"n": None}},
        {"id": 2, "when": "2025-11-12", "kind": "y", "size": 1.5, "tags": [], "more": {"n": "s"}},
    ]
    assert infer_schema(examples) == {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "when": {"type": "string", "format": "date"},
            "kind": {"type": "string"},
            "size": {"type": "number"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "more": {
                "type": "object",
                "properties": {"n": {"type": ["null", "string"]}},
                "required": ["n"],
                "additionalProperties": False,
            },
        },
        "required": ["id", "when", "kind", "size", "tags", "more"],
        "additionalProperties": False,
    }


def test_members_that_some_examples_lack_are_optional():
    schema = infer_schema([{"a": 1, "b": True}, {"a": 2}])
    assert schema["required"] == ["a"]
    assert schema["properties"]["b"] == {"type": "boolean"}


def test_few_values_that_come_again_become_an_enumeration():
    schema = infer_schema([{"k": kind} for kind in "abaabbab"])
    assert schema["properties"]["k"] == {"type": "string", "enum": ["a", "b"]}


def test_different_kinds_become_alternatives():
    assert infer_schema([1, {"a": 1}])["anyOf"][0] == {"type": "integer"}


@pytest.mark.parametrize("value", ["12:30:00Z", "2026-02-03T04:05:06Z", "123e4567-e89b-12d3-a456-426614174000", "2026-02-03"])
def test_inferred_formats_are_those_of_the_converter(value):
    schema = infer_schema([value])
    assert "format" in schema
    text = schema_to_grammar(schema)
    assert Matcher(parse(text)).matches(json.dumps(value))


def test_the_grammar_of_examples_matches_them():
    rng = random.Random(4)
    for _ in range(40):
        examples = [random_value(rng, 0) for _ in range(rng.randrange(1, 4))]
        text = schema_to_grammar(infer_schema(examples))
        matcher = Matcher(parse(text))
        for example in examples:
            assert matcher.matches(json.dumps(example, ensure_ascii=False)), (example, text)


def random_value(rng: random.Random, depth: int) -> object:
    kind = rng.randrange(7 if depth < 3 else 5)
    if kind < 5:
        return rng.choice([None, True, rng.randrange(100), 1.5, "text", 'é"\\', "2026-01-02"])
    if kind == 5:
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(3))]
    return {f"k{rng.randrange(4)}": random_value(rng, depth + 1) for _ in range(rng.randrange(3))}


def test_examples_are_read_in_every_form():
    assert read_examples('{"a":1}\n{"a":2}\n') == [{"a": 1}, {"a": 2}]
    assert read_examples('[{"a":1}, {"a":2}]') == [{"a": 1}, {"a": 2}]
    assert read_examples("[1, 2]", whole=True) == [[1, 2]]
    assert read_examples("[1]\n[2]") == [[1], [2]]


@pytest.mark.parametrize(
    ("text", "reason"), [("", "no example"), ("[]", "no example"), ('{"a":', "line 1"), ("[" * 100_000, "deep|line")]
)
def test_bad_examples_are_errors(text, reason):
    with pytest.raises(GrammarError, match=reason):
        read_examples(text)


def test_deep_examples_are_errors():
    with pytest.raises(GrammarError, match="100 deep"):
        infer_schema(read_examples("[" * 200 + "]" * 200, whole=True))


@pytest.mark.parametrize(
    ("pattern", "grammar"),
    [
        ("a?" * 500 + "a" * 500, 'root ::= "a"{500,1000}\n'),
        ("(ab)?(ab)*", 'root ::= ("ab")*\n'),
        ("aaa?", 'root ::= "aa" "a"?\n'),
        ("a" * 200_000, f'root ::= "{"a" * 200_000}"\n'),
    ],
    ids=["optional letters", "groups", "one repetition", "a long literal"],
)
def test_large_regexes_take_linear_time(pattern, grammar):
    start = time.process_time()
    assert from_regex(pattern) == grammar
    check_safe(grammar, "root")
    assert time.process_time() - start < 30, "a second, if linear; the square of the length would take minutes"

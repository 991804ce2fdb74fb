"""The converter of JSON schemas: references, bounds, formats, names, and the schemas that pydantic and zod write."""

from __future__ import annotations

import json
import random
import time
from decimal import Decimal

import jsonschema
import pytest
from native_grammar import NativeGrammar

from llamacli.engine.constraint.answer_constraint import schema_constraint
from llamacli.engine.constraint.schema import schema_to_grammar
from llamacli.errors import ConstraintError, SchemaError
from llamacli.grammar.analysis.sampler import Sampler
from llamacli.grammar.gbnf import parse
from llamacli.grammar.matcher import Matcher
from llamacli.grammar.schema.converter import convert, not_enforced
from llamacli.grammar.schema.formats import GRAMMARS, format_checker, is_checked
from llamacli.grammar.schema.numbers import Bound, integer_range, number_range


def matcher_of(schema) -> Matcher:
    return Matcher(parse(schema_to_grammar(schema)))


def assert_sound(schema, count=20) -> None:
    """What the grammar allows is valid."""
    validator = jsonschema.Draft202012Validator(schema, format_checker=format_checker())
    for text in Sampler(parse(schema_to_grammar(schema)), 1).samples(count):
        assert validator.is_valid(json.loads(text)), text


REFERENCES = [
    ({"$ref": "#/$defs/a~1b"}, {"a/b": {"type": "integer"}}),
    ({"$ref": "#/$defs/My%20Type"}, {"My Type": {"type": "integer"}}),
    ({"$ref": "#/$defs/Foo%3CBar%3E"}, {"Foo<Bar>": {"type": "integer"}}),
    ({"$ref": "#/$defs/~0"}, {"~": {"type": "integer"}}),
    ({"$ref": "#node"}, {"x": {"$anchor": "node", "type": "integer"}}),
    ({"$ref": "#old"}, {"x": {"$id": "#old", "type": "integer"}}),
    ({"$ref": "other.json"}, {"x": {"$id": "other.json", "type": "integer"}}),
    ({"$ref": "https://example.org/o#/$defs/y"}, {"x": {"$id": "https://example.org/o", "$defs": {"y": {"type": "integer"}}}}),
    ({"$ref": "#/$defs/x/items/0"}, {"x": {"items": [{"type": "integer"}]}}),
    ({"$ref": "#/$defs/x", "minimum": 0}, {"x": {"type": "integer"}}),
    ({"allOf": [{"$ref": "#/$defs/x"}, {"$ref": "#/$defs/x"}]}, {"x": {"type": "integer"}}),
]


@pytest.mark.parametrize(("schema", "definitions"), REFERENCES, ids=lambda value: json.dumps(value)[:40])
def test_references_within_the_document_are_resolved(schema, definitions):
    matcher = matcher_of({**schema, "$defs": definitions})
    assert matcher.matches("5")
    assert not matcher.matches('"5"')
    assert not matcher.matches("null")


def test_a_schema_can_refer_to_itself():
    node = {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}
    matcher = matcher_of({"type": "object", "properties": node, "required": ["v", "next"]})
    assert matcher.matches('{"v": 1, "next": {"v": 2, "next": null}}')
    assert not matcher.matches('{"v": 1, "next": {"v": "2", "next": null}}')


def test_a_long_chain_of_references_takes_little_time():
    definitions = {f"d{i}": {"$ref": f"#/$defs/d{i + 1}"} for i in range(2000)} | {"d2000": {"type": "null"}}
    begin = time.monotonic()
    assert matcher_of({"$ref": "#/$defs/d0", "$defs": definitions}).matches("null")
    many = {f"p{i}": {"$ref": "#/$defs/d0"} for i in range(20)}
    assert convert({"properties": many, "$defs": definitions}).not_enforced == ()
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize("count", [0, 1, 2, 999, 1000, 1001, 1999, 2000, 2001, 2002, 31_337, 100_000])
def test_every_bound_works(count):
    for least in (None, count):
        schema = {"type": "string", "maxLength": count, **({"minLength": least} if least is not None else {})}
        assert not_enforced(schema) == []
        with NativeGrammar(schema_to_grammar(schema)) as native:
            assert native.matches(json.dumps("x" * count))
            assert not native.matches(json.dumps("x" * (count + 1)))
            assert native.matches(json.dumps("x" * max(0, count - 1))) is (least is None or count == 0)
    with NativeGrammar(schema_to_grammar({"items": {"const": 1}, "minItems": count, "maxItems": count})) as native:
        assert native.matches(json.dumps([1] * count))
        assert not native.matches(json.dumps([1] * (count + 1)))


def test_a_bound_that_no_grammar_holds_is_named():
    schema = {"type": "string", "minLength": 2_000_000, "maxLength": 3_000_000}
    assert [(finding.keyword, finding.reason) for finding in not_enforced(schema)] == [
        ("minLength", "grammars count to 1,000,000"),
        ("maxLength", "grammars count to 1,000,000"),
    ]


def test_llama_cpp_follows_large_bounds():
    with NativeGrammar(schema_to_grammar({"type": "string", "minLength": 1500, "maxLength": 5000})) as native:
        assert native.accept(b'"' + b"x" * 5000) == 5001
        assert not native.is_complete
        assert native.accept(b"x") == 0


@pytest.mark.parametrize("seed", range(3))
def test_ranges_hold_exactly_their_numbers(seed):
    rng = random.Random(seed)
    for _ in range(40):
        scale = Decimal(10) ** rng.choice([0, 0, 1, 3])
        low, high = (
            Bound(Decimal(rng.randint(-(10**5), 10**5)) / scale, rng.random() < 0.3) if rng.random() < 0.8 else None
            for _ in "lh"
        )
        for step, made in ((1, integer_range(low, high)), (Decimal("0.01"), number_range(low, high))):
            numbers = [bound.value + step * i for bound in (low, high) if bound for i in range(-2, 3)]
            numbers = [number for number in numbers if step != 1 or number == number // 1]
            grammar = parse(f"root ::= {made}") if made is not None else None
            for number in numbers:
                after_low = low is None or number > low.value or (number == low.value and not low.strict)
                before_high = high is None or number < high.value or (number == high.value and not high.strict)
                matches = grammar is not None and Matcher(grammar).matches(f"{number + 0:f}")
                assert matches == (after_low and before_high), (low, high, number)


FORMATS = {
    "date": (
        ["2024-02-29", "2000-02-29", "2023-12-31"],
        ["2023-02-29", "1900-02-29", "2023-04-31", "2023-13-01", "0000-01-01"],
    ),
    "time": (["12:30:00Z", "23:59:59.5+01:00"], ["24:00:00Z", "12:30:00", "12:60:00Z"]),
    "date-time": (["2024-02-29T12:30:00Z"], ["2023-02-29T12:30:00Z", "2024-02-29 12:30:00Z"]),
    "uuid": (["123e4567-e89b-12d3-a456-426614174000"], ["123e4567-e89b-12d3-a456-42661417400"]),
    "uuid4": (["123e4567-e89b-42d3-a456-426614174000"], ["123e4567-e89b-12d3-a456-426614174000"]),
    "ipv4": (["1.2.3.4", "255.255.255.255"], ["256.1.1.1", "1.2.3", "01.2.3.4"]),
    "ipv6": (["::", "::1", "1::", "1:2:3:4:5:6:7:8", "fe80::1:2"], [":::", "1::2::3", "1:2:3", "12345::"]),
    "hostname": (["a", "a-b.example.org"], ["-a", "a..b", "a_b"]),
    "email": (["a.b@example.org"], ["a@b", "a", "@b.c", "a@b@c.d"]),
    "duration": (["P1Y2M3DT4H5M6S", "PT1H", "P2W"], ["P", "PT", "1D"]),
    "uri": (["https://example.org:80/a?b#c", "urn:isbn:1"], ["no uri", "/path", "http://"]),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_enforced(name):
    good, bad = FORMATS[name]
    schema = {"type": "string", "format": name}
    matcher = matcher_of(schema)
    assert [text for text in good if not matcher.matches(json.dumps(text))] == []
    assert [text for text in bad if matcher.matches(json.dumps(text))] == []
    assert_sound(schema)


def test_formats_without_a_grammar_are_named_and_those_with_one_are_checked():
    assert [finding.keyword for finding in not_enforced({"type": "string", "format": "regex"})] == ["format"]
    assert is_checked("regex")
    assert not is_checked("iri")
    assert all(is_checked(name) for name in set(GRAMMARS) - {"uri"})
    for name, (good, bad) in FORMATS.items():
        if name not in ("uri", "email"):
            assert all(format_checker().conforms(text, name) for text in good)
            assert not any(format_checker().conforms(text, name) for text in bad), name


NAMES = ["a]b", "[x]", "^s", "a\nb", "", 'q"', "back\\slash", "é-é", "name", "na"]


def test_any_text_is_a_name():
    schema = {"type": "object", "properties": {name: {"const": i} for i, name in enumerate(NAMES)}}
    for others in (True, {"type": "string"}, False):
        matcher = matcher_of({**schema, "additionalProperties": others})
        for i, name in enumerate(NAMES):
            assert matcher.matches(json.dumps({name: i}, ensure_ascii=False)), name
            assert not matcher.matches(json.dumps({name: "x"}, ensure_ascii=False)), name
            assert not matcher.matches(json.dumps({name: "x"})), name  # nor with escapes
        for name in ("n", "names", "b", "a]", "[x]]", "\n", "q", "éé"):
            assert matcher.matches(json.dumps({name: "x"}, ensure_ascii=False)) is (others is not False), name
    assert_sound({**schema, "additionalProperties": {"type": "null"}})


MODELS = {
    "tuple": {"prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2, "type": "array"},
    "zod tuple": {"type": "array", "prefixItems": [{"type": "number"}, {"type": "boolean"}], "items": False},
    "old tuple": {"type": "array", "items": [{"type": "number"}], "additionalItems": False, "minItems": 1, "maxItems": 1},
    "optional": {"properties": {"x": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None, "title": "X"}}},
    "discriminated": {
        "$defs": {
            "Cat": {"properties": {"kind": {"const": "cat", "default": "cat"}, "n": {"type": "integer"}}, "type": "object"},
            "Dog": {"properties": {"kind": {"enum": ["dog", "wolf"]}}, "required": ["kind"], "type": "object"},
        },
        "discriminator": {"mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}, "propertyName": "kind"},
        "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
    },
    "zod union": {
        "oneOf": [
            {"properties": {"t": {"type": "string", "const": t}}, "required": ["t"], "additionalProperties": False}
            for t in "ab"
        ]
    },
    "constrained": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    "percent": {"type": "integer", "minimum": 0, "maximum": 100},
    "bounded text": {"type": "string", "minLength": 1, "maxLength": 50},
    "list": {"type": "array", "items": {"$ref": "#/$defs/I"}, "minItems": 1, "$defs": {"I": {"type": "object"}}},
    "map": {"type": "object", "additionalProperties": {"type": "integer"}},
    "zod record": {"type": "object", "propertyNames": {"type": "string"}, "additionalProperties": {"type": "number"}},
    "enum keys": {
        "type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "integer"}, "required": ["a"],
    },
    "pattern keys": {"type": "object", "patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": False},
    "long keys": {"propertyNames": {"minLength": 2, "maxLength": 3}, "additionalProperties": {"type": "null"}},
    "intersection": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {"type": "string"}, "a": {"minimum": 3}}, "required": ["b"]},
        ]
    },
    "base and rest": {"$ref": "#/$defs/B", "properties": {"y": {"type": "null"}}, "$defs": {"B": {"properties": {"x": {}}}}},
    "closed": {"allOf": [{"properties": {"a": {"type": "null"}}}], "unevaluatedProperties": False, "type": "object"},
    "dates": {"properties": {"d": {"type": "string", "format": "date-time"}, "u": {"format": "uri", "type": "string"}}},
    "literal": {"const": "x", "type": "string", "title": "T"},
    "mixed enum": {"enum": ["a", 1, None, {"b": [1.5]}]},
    "required without properties": {"type": "object", "required": ["a"], "additionalProperties": {"type": "integer"}},
    "any": {"type": "object", "properties": {"data": {"title": "Data"}}, "required": ["data"]},
    "nested": {
        "$defs": {"T": {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/T"}}}}},
        "$ref": "#/$defs/T",
    },
    "types": {"type": ["string", "null"], "maxLength": 3},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}[0-9]+$"},
    "distribution": {"properties": {"a": {"type": "integer"}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "draft 4": {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "maximum": 3},
    "openapi": {"type": "object", "properties": {"a": {"type": "string", "example": "x"}}, "externalDocs": {}, "x-y": 1},
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_typical_models_are_enforced_without_a_gap(name):
    schema = MODELS[name]
    assert not_enforced(schema) == []
    texts = list(Sampler(parse(schema_to_grammar(schema)), 1).samples(30))
    if name == "draft 4":
        assert {json.loads(text) for text in texts} == {1, 2, 3}
    elif name == "old tuple":
        assert all(len(json.loads(text)) == 1 for text in texts)
    else:
        assert_sound(schema, 30)


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
WRAPPERS = [
    {"name": "n", "schema": SCHEMA},
    {"name": "n", "description": "d", "strict": True, "schema": SCHEMA},
    {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}},
    {"type": "json_schema", "json_schema": SCHEMA},
    {"type": "json_schema", "name": "n", "schema": SCHEMA},
]


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda wrapper: "-".join(wrapper))
def test_the_wrappers_of_openai_are_taken_off(wrapper):
    assert schema_to_grammar(wrapper) == schema_to_grammar(SCHEMA)
    text = json.dumps(wrapper)
    constraint = schema_constraint(text)
    assert constraint.not_enforced == ()
    with pytest.raises(ConstraintError, match="'a' is a required property"):
        constraint.check("{}")
    with pytest.raises(SchemaError) as caught:
        schema_constraint(text.replace('"integer"', '"intger"'))
    assert text[caught.value.place or 0 :].startswith('"integer"')


def test_a_schema_of_an_object_with_such_properties_stays():
    properties = {"name": {"type": "string"}, "schema": {"type": "integer"}}
    assert matcher_of({"type": "object", "properties": properties}).matches('{"schema": 1}')
    assert matcher_of({"type": "json_object"}).matches('{"x": [1]}')
    assert not matcher_of({"type": "json_object"}).matches("1")


def test_what_would_explode_is_shared_or_refused():
    doubled = {"type": "string"}
    for _ in range(40):
        doubled = {"type": ["object", "array"], "properties": {"a": doubled}}
    begin = time.monotonic()
    assert matcher_of(doubled).matches('{"a": {"a": []}}')
    product = {"allOf": [{"anyOf": [{"properties": {f"{i}{j}": {}}} for j in range(8)]} for i in range(8)]}
    with pytest.raises(SchemaError, match="too large when it is written out"):
        schema_to_grammar(product)
    with pytest.raises(SchemaError, match="longer than 1 MiB"):
        schema_to_grammar({"enum": ["x" * (1 << 20)]})
    assert matcher_of({"properties": {f"p{i}": {"type": "null"} for i in range(1000)}}).matches('{"p3": null, "p999": null}')
    assert time.monotonic() - begin < 60


@pytest.mark.parametrize("keyword", ["maxItems", "minLength", "maximum"])
def test_a_keyword_of_the_wrong_type_beside_an_enumeration_is_named(keyword: str) -> None:
    with pytest.raises(SchemaError, match=keyword):
        convert({"enum": [[1], "text", 5, {}], keyword: {"a": 1}})


@pytest.mark.parametrize(
    "value", [{}, [], {"a": 1, "b": [True, None, {"c": "x y"}]}, [[], {}, [1.5, "a b"]], "text", 7, [{"a": [1, 2]}]]
)
def test_a_compact_grammar_has_no_blanks_between_parts(value):
    matcher = Matcher(parse(convert(True, compact=True).grammar))
    assert matcher.matches(json.dumps(value, separators=(",", ":")))
    loose = json.dumps(value, indent=1)
    assert matcher.matches(loose) == (loose == json.dumps(value, separators=(",", ":")))


def test_a_compact_grammar_of_properties():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y z"]}}, "required": ["a"]}
    matcher = Matcher(parse(convert(schema, compact=True).grammar))
    assert [matcher.matches(text) for text in ('{"a":1}', '{"a":1,"b":"y z"}', '{"a": 1}', '{"a":1 }', '{ "a":1}')] == [
        True, True, False, False, False,
    ]  # fmt: skip
    native = NativeGrammar(convert(schema, compact=True).grammar)
    assert native.matches('{"a":1,"b":"x"}')

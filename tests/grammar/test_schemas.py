"""A schema's grammar holds what it allows to the schema, or what it does not hold is named."""

from __future__ import annotations

import json
import random
import re

import jsonschema
import pytest

from llamacli.engine.constraint.schema import schema_to_grammar
from llamacli.errors import GrammarError, SchemaError
from llamacli.grammar.analysis.sampler import Sampler
from llamacli.grammar.gbnf import parse
from llamacli.grammar.matcher import Matcher
from llamacli.grammar.schema.converter import not_enforced

NAMES = ("a", "b", "c")
PIECES = (
    "a", "[a-z]", "[^x]", r"\d", r"\w", r"\s", r"\.", "(a|b)", "(?:ab)", "{2}", "{1,3}", "*", "+", "?", ".", "|", r"[\d]",
    r"[\]]", r"\n", r"\"", '"', r"\/", "é", r"\x41", "}", r"\\", "(a|)", r'["\\]', '[^"]', r"\D", "^", "$",
)  # fmt: skip
VALUES = (1, 2, "a", "b", None, True, 1.5, [1], {"x": 1})
TARGETS = (
    {"type": "integer"},
    {"properties": {"a": {"type": "integer"}, "q": {"type": "string"}}, "required": ["q"]},
    {"enum": ["a", "b"]},
    {"anyOf": [{"type": "string"}, {"type": "null"}]},
)


class Schemas:
    """Draws schemas of everything that the converter knows, and of mixtures that it does not."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def draw(self) -> dict:
        return {**self.schema(0), "$defs": {"x": self.schema(2), "y": self.random.choice(TARGETS)}}

    def schema(self, depth: int) -> dict:
        kinds = ["string", "integer", "values", "plain", "reference"]
        kinds += ["object", "array", "types", "alternatives", "all_of", "object"] if depth < 3 else []
        return getattr(self, self.random.choice(kinds))(depth)

    def some(self, share: float, **keywords) -> dict:
        return {name: draw() for name, draw in keywords.items() if self.random.random() < share}

    def object(self, depth: int) -> dict:
        rng = self.random
        return {
            **self.some(0.8, type=lambda: "object"),
            **self.some(
                0.7,
                properties=lambda: {name: self.schema(depth + 1) for name in rng.sample(NAMES, rng.randint(0, 3))},
                required=lambda: rng.sample(NAMES, rng.randint(0, 2)),
            ),
            **self.some(0.4, additionalProperties=lambda: rng.choice([True, False, self.schema(depth + 1)])),
        }

    def array(self, depth: int) -> dict:
        rng = self.random
        return {
            **self.some(0.8, type=lambda: "array"),
            **self.some(0.5, items=lambda: self.schema(depth + 1)),
            **self.some(0.2, prefixItems=lambda: [self.schema(depth + 1) for _ in range(rng.randint(0, 2))]),
            **self.some(0.3, minItems=lambda: rng.randint(0, 2), maxItems=lambda: rng.randint(0, 3)),
        }

    def string(self, depth: int) -> dict:
        rng = self.random
        return {
            **self.some(0.9, type=lambda: "string"),
            **self.some(0.3, minLength=lambda: rng.randint(0, 3), maxLength=lambda: rng.randint(0, 5), pattern=self.pattern),
            **self.some(0.1, format=lambda: rng.choice(["date", "time", "uuid", "email"])),
        }

    def pattern(self) -> str:
        rng = self.random
        body = "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 4)))
        return rng.choice(["^", ""]) + body + rng.choice(["$", ""])

    def integer(self, depth: int) -> dict:
        def bound() -> float:
            rng = self.random
            return rng.choice([rng.randint(-200, 200), rng.uniform(-5, 5), rng.randint(-(10**12), 10**12)])

        bounds = self.some(0.3, minimum=bound, maximum=bound, exclusiveMinimum=bound, exclusiveMaximum=bound)
        return {"type": "integer", **bounds}

    def plain(self, depth: int) -> dict:
        return {"type": self.random.choice(["number", "boolean", "null"])}

    def values(self, depth: int) -> dict:
        rng = self.random
        chosen = {"const": rng.choice(VALUES)} if rng.random() < 0.3 else {"enum": rng.sample(VALUES, rng.randint(1, 3))}
        return {**chosen, **self.some(0.3, type=lambda: rng.choice(["string", "integer", "object"]))}

    def types(self, depth: int) -> dict:
        kinds = self.random.sample(["string", "null", "integer", "object", "array"], 2)
        return {**self.schema(3), "type": kinds}

    def alternatives(self, depth: int) -> dict:
        rng = self.random
        return {rng.choice(["anyOf", "oneOf"]): [self.schema(depth + 1) for _ in range(rng.randint(1, 2))]}

    def all_of(self, depth: int) -> dict:
        rng = self.random
        parts = [self.schema(depth + 1) for _ in range(rng.randint(1, 2))]
        return {"allOf": parts, **self.some(0.3, type=lambda: rng.choice(["string", "object"]))}

    def reference(self, depth: int) -> dict:
        return {"$ref": "#/$defs/" + self.random.choice("xy")}


@pytest.mark.parametrize("seed", range(4))
def test_what_a_grammar_allows_fits_its_schema_unless_something_was_named(seed):
    schemas, checked = Schemas(seed), 0
    for _ in range(100):
        schema = schemas.draw()
        try:
            grammar = parse(schema_to_grammar(schema))
            sampler = Sampler(grammar, seed)
        except GrammarError:  # such as a pattern that is none, or a reference to itself
            continue
        if not_enforced(schema):
            continue
        validator = jsonschema.Draft202012Validator(schema)
        for text in sampler.samples(5):
            assert validator.is_valid(json.loads(text)), (schema, text)
        checked += 1
    assert checked > 25


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "integer", "minimum": 100}, ["100", "999", "1000", "12345"], ["10", "99", "0", "-100", "0100"]),
        ({"type": "integer", "minimum": 1050}, ["1050", "2000", "10500"], ["105", "150", "1049"]),
        ({"type": "integer", "maximum": -6}, ["-6", "-7", "-60", "-600"], ["-5", "-06", "0", "6"]),
        ({"type": ["integer", "null"], "exclusiveMinimum": 99}, ["100", "null"], ["99", "10"]),
        ({"type": "integer", "maximum": 1e300, "minimum": -1e300}, ["0", "-5"], ["x"]),
        ({"type": "string", "pattern": "^.$"}, ['"a"', r'"\""', r'"\\"', r'"\t"'], ['"""', '"\\"', '"\t"', r'"\n"', '"ab"']),
        ({"type": "string", "pattern": r"^\d{3}-\d{4}$"}, ['"123-4567"'], ['"12-4567"', '"abc-defg"']),
        ({"type": "string", "pattern": "@"}, ['"a@b"', '"@"', r'"\"@\n"'], ['"ab"', '""']),
        ({"type": "string", "pattern": "^/"}, ['"/x"', '"/"'], ['"x/"']),
        ({"type": "string", "pattern": r"\.$"}, ['"x."'], ['".x"']),
        ({"type": "string", "pattern": "^(?=a)b", "maxLength": 2}, ['"ab"'], ['"abc"', "1"]),
        ({"pattern": r"a\b"}, ['"x"'], ["1"]),
        ({"properties": {"pattern": {"type": "string"}, "enum": True}}, ['{"pattern": "x", "enum": [1]}'], ['{"pattern": 1}']),
        ({"items": True, "type": "array"}, ['[1, "a"]'], ["1"]),
        (True, ["1", '"a"', "{}"], ["x"]),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": True}, ['{"b\\"": 1}'], ['{"\\;": 1}']),
        ({"properties": {"a": False, "b": True}}, ['{"b": 1}', "{}"], ['{"a": 1}']),
        ({"prefixItems": [{"type": "null"}], "items": False}, ["[null]"], ["[null, 1]", "[]"]),
        ({"prefixItems": [{"type": "null"}], "items": {"const": 1}, "maxItems": 2}, ["[null]", "[null, 1]"], ["[null,1,1]"]),
        ({"const": {"type": "integer", "minimum": 100}}, ['{"type":"integer","minimum":100}'], ["100"]),
    ],
    ids=lambda value: json.dumps(value)[:40] if not isinstance(value, list) else "",
)  # fmt: skip
def test_what_the_converter_gets_wrong_is_put_right(schema, good, bad):
    matcher = Matcher(parse(schema_to_grammar(schema)))
    assert [text for text in good if not matcher.matches(text)] == []
    assert [text for text in bad if matcher.matches(text)] == []


def test_patterns_match_what_pythons_do():
    schemas, rng, checked = Schemas(0), random.Random(0), 0
    for _ in range(200):
        pattern = schemas.pattern()
        schema = {"type": "string", "pattern": pattern}
        try:
            oracle = re.compile(pattern, re.ASCII)
        except re.error:
            continue
        if not_enforced(schema) or "|" in re.sub(r"\(.*?\)", "", pattern) or pattern.endswith("$"):
            continue  # beside an anchor alternatives are held to both ends, and Python's $ is also before a line's end
        matcher = Matcher(parse(schema_to_grammar(schema)))
        for _ in range(25):
            text = "".join(rng.choice('abxz09é".\\/-] \n\tAB}') for _ in range(rng.randrange(5)))
            assert matcher.matches(json.dumps(text, ensure_ascii=False)) is bool(oracle.search(text)), (pattern, text)
        checked += 1
    assert checked > 40


def test_a_pattern_does_not_meet_names_of_the_schema():
    schema = {
        "properties": {"patternx0": {"const": "patternx0"}, "b": {"type": "string", "pattern": "^(ab){2}$"}},
        "required": ["b"],
    }
    matcher = Matcher(parse(schema_to_grammar(schema)))
    assert matcher.matches('{"b": "abab", "patternx0": "patternx0"}')
    assert not matcher.matches('{"b": "ab"}')


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"properties": {"a": 1}}, "^at #/properties/a: a schema must be an object or a boolean"),
        ({"$ref": "#/x"}, "^at #: cannot resolve the reference '#/x'"),
        ({"items": {"$ref": "https://example.org/x"}}, "^at #/items: .* another document"),
    ],
)
def test_a_schema_without_a_grammar_says_where(schema, message):
    with pytest.raises(SchemaError, match=message):
        schema_to_grammar(schema)


def test_a_deep_schema_is_an_error():
    schema: dict = {}
    for _ in range(100_000):
        schema = {"items": schema}
    with pytest.raises(SchemaError, match="nested too deeply"):
        schema_to_grammar(schema)

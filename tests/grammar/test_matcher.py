"""The matcher: verdicts, places, expectations; equal to llama.cpp's on random grammars; fast and bounded on hostile ones."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import grammar_cases
import pytest
from hostile_grammars import json_text
from native_grammar import NativeGrammar

from llamacli.errors import GrammarError
from llamacli.grammar.analysis.sampler import Sampler
from llamacli.grammar.builtins import builtin
from llamacli.grammar.gbnf import examine, parse
from llamacli.grammar.matcher import Matcher

DATA = Path(__file__).parents[1] / "data" / "grammar"
TEXTS = [json.loads(line) for line in (DATA / "texts.jsonl").read_text().splitlines()]
JSON = parse(builtin("json").text)


@pytest.mark.parametrize("case", TEXTS, ids=lambda case: case["grammar"][:40])
def test_texts(case):
    matcher = Matcher(parse(case["grammar"]))
    for text in case["match"]:
        assert matcher.matches(text), text
        assert matcher.match(text).matches, text
    for text in case["refuse"]:
        assert not matcher.matches(text), text
        assert not matcher.match(text).matches, text


@pytest.mark.parametrize(
    ("text", "stop", "place", "longest", "expected", "may_end"),
    [
        ('{"a" 1}', 5, (1, 6, 5), None, [('":"', "member")], False),
        ('{"é" 1}', 5, (1, 6, 6), None, [('":"', "member")], False),
        ('{"a":\n tru', 10, (2, 5, 10), None, [('"e" (the rest of "true")', "value")], False),
        ("{}x", 2, (1, 3, 2), 2, None, True),
        ("", 0, (1, 1, 0), None, None, False),
    ],
)
def test_a_refused_text_tells_where_and_what_was_expected(text, stop, place, longest, expected, may_end):
    match = Matcher(JSON).match(text)
    assert not match.matches
    assert match.stop == stop
    assert (match.location.line, match.location.column, match.location.offset) == place
    assert match.longest == longest
    assert match.may_end is may_end
    if expected is not None:
        assert [(one.words, one.rule) for one in match.expected] == expected
    else:
        assert match.expected


def test_expectations_are_in_words():
    matcher = Matcher(parse('root ::= "ab"{2} ([0-9] | [^\\n"] | . | <think> | !<[7]> | d)\nd ::= [+-] "\\t"'))
    (only,) = matcher.match("aba").expected
    assert only.words == '"b" (the rest of "ab")'
    said = {(one.words, one.rule) for one in matcher.match("abab").expected}
    assert said == {
        ("a digit", "root"),
        ("any character except a line feed or a double quote", "root"),
        ("any character", "root"),
        ("the token <think>", "root"),
        ("any token but <[7]>", "root"),
        ('one of "+" or "-"', "d"),
    }


def test_named_tokens_can_stand_for_their_text():
    grammar = parse("root ::= <think> !</think>* </think> [a-z]+")
    text = "<think>hm, hm</think>ok"
    assert not Matcher(grammar).matches(text)
    assert Matcher(grammar.with_tokens_as_text()).matches(text)


def test_states_can_be_kept_and_followed_in_any_order():
    matcher = Matcher(JSON)
    start = matcher.advance(matcher.start, '{"a":')
    assert start is not None
    for value, ends in (("1}", True), ("[", False), ('"x"}', True), ("nul", False)):
        after = matcher.advance(start, value)
        assert after is not None
        assert matcher.may_end(after) is ends
    assert matcher.advance(start, "}") is None


@pytest.mark.parametrize(
    ("piece", "admitted"),
    [
        (b"a", True),
        ("é".encode(), True),
        ("é".encode()[:1], True),  # may become é, or ê
        (b"a\xc3", True),
        (b"\xe4\xb8", True),  # may become 中
        (b"\xf0\x9f", False),  # beyond the class
        (b"\xc3\x28", False),
        (b"\xa9", False),  # the middle of a character
        (b"", False),
        (b"z", False),
    ],
)
def test_tokens_may_end_inside_a_character(piece, admitted):
    matcher = Matcher(parse("root ::= [a-cé-中]+"))
    assert matcher.admits(matcher.start, piece) is admitted


def test_token_ids_are_known():
    matcher = Matcher(parse("root ::= <[5]> | !<[6]> | <x>"))
    assert matcher.token_ids(matcher.start) == ([5], [6])


def test_the_matcher_agrees_with_llama_cpp(request):
    """On random grammars and texts: the same verdict, and the same place where it stops."""
    seen = {"matches": 0, "prefixes": 0, "others": 0}
    for seed in range(request.config.getoption("--fuzz-cases")):
        rng = random.Random(seed)
        text = grammar_cases.grammar(rng)
        grammar, problems = examine(text)
        if problems or grammar.names_tokens:
            continue
        with NativeGrammar(text) as native:
            matcher = Matcher(grammar)
            for _ in range(6):
                compare(matcher, native, grammar_cases.text(rng), seen, seed)
            try:
                drawn = list(Sampler(grammar, seed).samples(2, 30))
            except GrammarError:
                continue
            for sample in drawn:
                assert matcher.matches(sample), f"seed {seed}: {text!r} does not match its sample {sample!r}"
                compare(matcher, native, sample, seen, seed)
    assert min(seen.values()) > request.config.getoption("--fuzz-cases") // 200


def compare(matcher, native, text, seen, seed) -> None:
    match = matcher.match(text)
    native.reset()
    data = text.encode()
    accepted = native.accept(data)
    stop = len(data[:accepted].decode(errors="ignore"))
    complete = accepted == len(data) and native.is_complete
    assert (match.matches, match.stop) == (complete, stop), f"seed {seed}: {text!r}"
    seen["matches" if complete else "prefixes" if stop == len(text) else "others"] += 1


AMBIGUOUS = {
    "doubling": ('root ::= s\ns ::= "a" s "x" | "a" s "y" | ""', "a" * 20_000),
    "many readings": ('root ::= s\ns ::= "a" | "a" s | "a" s s', "a" * 2_000),
    "repeated repetitions": ('root ::= (("a"*)*)*', "a" * 100_000),
    "repeated choices": ('root ::= ("a" | "a" | "aa")+ "b"', "a" * 100_000),
    "optional items": ("root ::= " + '"a"? ' * 300, "a" * 300),
    "bounded repetitions": ("root ::= " + "[a-z]{0,500} " * 8, "a" * 3_000),
    "a far lookback": ('root ::= (.* "b" .{100} | .* "c" .{200})*', "abc" * 30_000),
    "nested texts": ('root ::= "(" root ")" | ""', "(" * 150_000),
    "tails": ('root ::= s\ns ::= "a" s "b"? | ""', "a" * 20_000 + "b" * 20_000),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_catastrophic_grammars_get_an_answer_or_a_place(name):
    grammar, text = AMBIGUOUS[name]
    started = time.process_time()
    try:
        verdict: object = Matcher(parse(grammar)).match(text)
    except GrammarError as error:
        verdict = str(error)
        assert "line 1, column" in verdict
    assert verdict
    assert time.process_time() - started < 60  # 2 s by itself; without a bound it would never end


def test_deep_texts_are_bounded():
    with pytest.raises(GrammarError, match="nests more than 100,000 deep"):
        Matcher(parse('root ::= "(" root ")" | ""')).match("(" * 150_000)


def test_a_megabyte_of_json_takes_linear_time():
    text = json_text(1_000_000)
    started = time.process_time()
    assert Matcher(JSON).matches(text)
    assert time.process_time() - started < 30, "2 s, if linear"

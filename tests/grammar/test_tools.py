"""The linter, the formatter, the sampler and the explanations."""

from __future__ import annotations

import random
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import grammar_cases
import pytest
from native_grammar import NativeGrammar

from llamacli.errors import GrammarError, GrammarSyntaxError
from llamacli.grammar.analysis.explanation import explain
from llamacli.grammar.analysis.linter import lint
from llamacli.grammar.analysis.sampler import Sampler
from llamacli.grammar.builtins import builtin, builtin_names
from llamacli.grammar.gbnf import examine, parse
from llamacli.grammar.matcher import Matcher
from llamacli.grammar.syntax.formatter import WIDTH, format_grammar
from llamacli.render.grammar.diagram import format_diagram

# --- the linter ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "where"),
    [
        ('root ::= [z-a] "x"', "bad-range", "[z-a]"),
        ("root ::= [A-z]", "suspicious-range", "[A-z]"),
        ("root ::= [a-\\U00110000]", "suspicious-range", "[a-"),
        ('root ::= "x"\nspare ::= "y"', "unused-rule", "spare"),
        ('root ::= "x"\na ::= "(" b\nb ::= "y" | a', "unreachable-rule", "a"),
        ('root ::= "x"\nroot ::= "y"', "replaced-rule", "root"),
        ('root ::= "x" root', "endless-rule", "root"),
        ('root ::= "x" | a\na ::= "(" a ")"', "endless-rule", "a"),
        ('root ::= "x" | a\na ::= [z-a]', "endless-rule", "a"),
        ('root ::= "x" |', "empty-alternative", ""),
        ('root ::= ("x" | | "y") "z"', "empty-alternative", "|"),
        ("root ::= a\na ::=", "empty-rule", "a"),
        ('root ::= () "x"', "empty-group", "()"),
        ('root ::= [] "x"', "empty-class", "[]"),
        ('root ::= "" "x"', "empty-literal", '""'),
        ('root ::= "x" "y"{0}', "empty-repetition", "{0}"),
        ('root ::= "x"{1,2001}', "bound-ignored", "{1,2001}"),
        ('root ::= ("x"+)*', "exponential-repetition", "*"),
        ('root ::= ws*\nws ::= " "?', "exponential-repetition", "*"),
        ('root ::= "if" | [a-z]+ | "else"', "ambiguous-alternatives", "[a-z]+"),
        ('root ::= ("a" | "b" | "a") "c"', "ambiguous-alternatives", '"a") '),
        ('root ::= s\ns ::= "a" s "x" | "a" s "y" | ""', "exponential-growth", "root"),
        ("root ::= " + "(" * 1001, "too-deep", "("),
    ],
)
def test_findings(text, kind, where):
    found = [problem for problem in lint(text) if problem.kind == kind]
    assert found, [problem.kind for problem in lint(text)]
    assert text[found[0].start :].startswith(where)
    assert found[0].start <= found[0].end <= max(len(text), found[0].start + 1)


@pytest.mark.parametrize(
    "text",
    [
        'root ::= "if" | "else"',
        'root ::= ws "x"\nws ::= | " " | "\\n" [ \\t]{0,20}',
        "root ::= <think> [^<]* </think>",
        'root ::= value\nvalue ::= "(" value ")" | [0-9]+',
        'root ::= [a-z] [a-z0-9]* | "0" | [1-9] [0-9]*',
    ],
)
def test_sound_grammars_have_no_findings(text):
    assert lint(text) == []


def test_ambiguity_is_shown_by_a_text():
    (problem,) = lint('root ::= [a-z]+ | "if" | "else"')[:1]
    assert problem.message == 'alternatives 1 and 2 both match "if"'


def test_growth_is_shown_by_a_text():
    problem = next(p for p in lint('root ::= s\ns ::= "a" s "x" | "a" s "y" | ""') if p.kind == "exponential-growth")
    assert '"aaaaaaaaa"' in problem.message
    assert "1,536 readings" in problem.message


def test_warnings_wait_for_errors_to_be_mended():
    problems = lint('root ::= gone\nspare ::= "x" |')
    assert {problem.severity for problem in problems} == {"error"}


@pytest.mark.parametrize("name", builtin_names())
def test_built_in_grammars_are_clean(name):
    known = builtin(name)
    assert lint(known.text) == []
    assert format_grammar(known.text) == known.text
    assert known.summary.endswith(".")


@pytest.mark.parametrize(
    "text",
    ["root ::= " + "a " * 100_000 + '\na ::= "x"', "root ::= " + " | ".join(['"a"'] * 15_000), "root ::= " + "()" * 40_000],
)
def test_the_linter_is_bounded(text):
    started = time.process_time()
    lint(text)
    assert time.process_time() - started < 6, "2 s on a quiet machine"


# --- the formatter ---------------------------------------------------------------------------------------------------


def test_canonical_form():
    text = """

# first
root::=a   b?{2}|  "x"\t# behind


# alone

a ::= ( # open
  "a"|"b" # inner
  )*
b::=("x"  |[ab]{ 1 , 3 })  \r
"""
    assert format_grammar(text.replace("b?{2}", "b{2}")) == (
        '# first\nroot ::= a b{2} | "x"  # behind\n\n# alone\n\na ::=\n  (  # open\n    "a" |\n    "b"  # inner\n  )*\n'
        'b ::= ("x" | [ab]{1,3})\n'
    )


def test_long_rules_break_at_their_alternatives():
    text = "root ::= " + " | ".join(f'"{letter * 20}" ("{letter}" | "-")' for letter in "abcdefgh")
    lines = format_grammar(text).splitlines()
    assert lines[0] == "root ::="
    assert lines[1] == '  "aaaaaaaaaaaaaaaaaaaa" ("a" | "-") |'
    assert len(lines) == 9
    assert all(len(line) <= WIDTH for line in lines)


def test_formatting_keeps_the_language_and_the_comments(request):
    """On random grammars: the lowered rules stay the same, formatting again changes nothing, every comment is still there."""
    sound = 0
    for seed in range(min(request.config.getoption("--fuzz-cases"), 3000)):
        text = grammar_cases.grammar(random.Random(seed))
        before, problems = examine(text)
        if problems:
            continue
        sound += 1
        formatted = format_grammar(text)
        after = parse(formatted)
        assert (after.program.code, after.program.terminals) == (before.program.code, before.program.terminals), text
        assert format_grammar(formatted) == formatted, text
        assert formatted.count("#") == text.count("#"), text
    assert sound > min(request.config.getoption("--fuzz-cases"), 3000) // 30


def test_only_sound_grammars_are_formatted():
    with pytest.raises(GrammarSyntaxError):
        format_grammar("root ::= (")


# --- the sampler -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", builtin_names())
def test_samples_are_in_the_language(name):
    grammar = parse(builtin(name).text)
    matcher = Matcher(grammar)
    texts = list(Sampler(grammar, seed=3).samples(50))
    assert all(matcher.matches(text) for text in texts)
    assert len(set(texts)) > 1
    with NativeGrammar(grammar.text) as native:
        for text in texts:
            native.reset()
            assert native.accept(text.encode()) == len(text.encode()), text
            assert native.is_complete, text


def test_the_same_seed_gives_the_same_texts():
    grammar = parse(builtin("json").text)
    assert list(Sampler(grammar, 5).samples(20)) == list(Sampler(grammar, 5).samples(20))
    assert list(Sampler(grammar, 5).samples(20)) != list(Sampler(grammar, 6).samples(20))


def test_samples_are_spread_evenly_over_derivations():
    grammar = parse('root ::= "a" | "b" ("c" | "d" | "e") | "f" "g"')
    texts = list(Sampler(grammar, 1).samples(6000))
    count = {text: texts.count(text) for text in ("a", "bc", "bd", "be", "fg")}
    assert sum(count.values()) == 6000
    assert max(count[text] for text in ("bc", "bd", "be")) < 1.2 * min(count[text] for text in ("bc", "bd", "be"))
    assert min(count.values()) > 400


def test_samples_reach_every_alternative_of_a_recursive_grammar():
    texts = list(Sampler(parse(builtin("arithmetic").text), 2).samples(400))
    for piece in "+-*/().":
        assert any(piece in text for text in texts), piece


@pytest.mark.parametrize("length", [1, 2, 5, 20])
def test_samples_can_be_short(length):
    grammar = parse('root ::= [a-z] ("," [a-z])*')
    assert all(len(text) <= length for text in Sampler(grammar, 1).samples(50, length))


def test_a_text_that_cannot_be_as_short_is_an_error():
    with pytest.raises(GrammarError, match="at most 2 characters"):
        Sampler(parse('root ::= "abc"'), 1).sample(2)


@pytest.mark.parametrize("text", ['root ::= "a" root', "root ::= [z-a]", "root ::= <[5]>", 'root ::= x\nx ::= "(" x ")"'])
def test_a_language_without_texts_is_an_error(text):
    with pytest.raises(GrammarError, match="matches no finite text"):
        Sampler(parse(text), 1)


def test_characters_are_such_that_a_text_can_hold():
    grammar = parse("root ::= [^a]{20} [\\x00-\\U0010FFFF]{20}")
    for text in Sampler(grammar, 1).samples(20):
        assert "\0" not in text
        text.encode()


def test_long_and_large_grammars_end():
    for text in (
        'root ::= "a"{1900,2000}',
        "root ::= " + '"a"{0,500} ' * 30,
        "root ::= " + "a " * 20_000 + '\na ::= "x" | "y"',
    ):
        grammar = parse(text)
        (sample,) = Sampler(grammar, 1).samples(1)
        assert Matcher(grammar).matches(sample)


# --- explanations ----------------------------------------------------------------------------------------------------


def test_rules_in_words():
    grammar = parse('root ::= item{2,} end?\nitem ::= "- " [^\\n]+ "\\n" | <x>\nend ::= "." | ""')
    root, item, end = explain(grammar)
    assert root.words == "2 times or more item, then optionally end"
    assert item.words == 'either ("- ", then one or more of any character except a line feed, then "\\n") or the token <x>'
    assert (item.used_by, end.used_by) == (("root",), ("root",))
    assert end.may_be_empty
    assert not root.may_be_empty
    assert Matcher(parse(grammar.text, root="item").with_tokens_as_text()).matches(item.example)


def test_endless_rules_have_no_example():
    (rule,) = explain(parse('root ::= "a" root'))
    assert rule.example is None


@pytest.mark.parametrize("name", builtin_names())
def test_diagrams_are_sound_svg(name):
    grammar = parse(builtin(name).text)
    document = ET.fromstring(format_diagram(grammar))
    headings = [text.text for text in document.iter("{http://www.w3.org/2000/svg}text") if text.get("class") == "heading"]
    assert headings == [rule.name for rule in grammar.rules]


def test_diagrams_escape_what_they_show():
    svg = format_diagram(parse('root ::= "<script>&" [<&] <tok>'))
    assert "<script>" not in svg
    ET.fromstring(svg)


def test_what_is_too_deep_to_be_drawn_is_an_error():
    with pytest.raises(GrammarError, match="too deep to be drawn"):
        format_diagram(parse("root ::= " + "(" * 200 + '"a"' + ")" * 200))


def test_built_in_grammars_are_in_the_package():
    folder = Path(__file__).parents[2] / "llamacli" / "grammar" / "builtin"
    assert sorted(path.stem for path in folder.iterdir()) == builtin_names()
    assert {"json", "json_arr", "list", "arithmetic", "csv", "iso-date", "c-like"} <= set(builtin_names())
    assert builtin("no-such") is None

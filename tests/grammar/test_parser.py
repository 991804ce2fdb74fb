"""The GBNF parser: places, llama.cpp's verdict on everything, and hostile input."""

from __future__ import annotations

import functools
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import grammar_cases
import pytest
from hostile_grammars import HOSTILE

from llamacli.binding.library import library
from llamacli.errors import GrammarSyntaxError
from llamacli.grammar.gbnf import check_safe, examine, parse
from llamacli.grammar.syntax.nodes import Repeat, walk

DATA = Path(__file__).parents[1] / "data" / "grammar"
REFUSED = [json.loads(line) for line in (DATA / "refused.jsonl").read_text().splitlines()]
TEXTS = [json.loads(line) for line in (DATA / "texts.jsonl").read_text().splitlines()]

"""Grammars that crash llama.cpp, or take it for ever, or would a careless parser."""


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case["grammar"][:40])
def test_errors_have_their_place(case):
    with pytest.raises(GrammarSyntaxError) as caught:
        parse(case["grammar"])
    error = caught.value
    assert (error.line, error.column) == (case["line"], case["column"])
    before = case["grammar"].split("\n")[: error.line]
    start = sum(len(line.encode()) + 1 for line in before[:-1])
    assert error.offset == start + len(before[-1][: error.column - 1].encode()) if before else error.offset == 0
    assert f"line {error.line}, column {error.column}" in error.message
    assert "\n" not in str(error)
    _, problems = examine(case["grammar"], every_problem=True)
    found = next(problem for problem in problems if problem.kind == case["kind"])
    assert found.unsafe is case.get("unsafe", False)


@pytest.mark.parametrize("case", TEXTS, ids=lambda case: case["grammar"][:40])
def test_accepted_grammars_pass_the_gate(case):
    check_safe(case["grammar"])


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('root ::= "a" // note', "comments begin with #"),
        ("root ::= 'a'", "double quotes"),
        ('\ufeffroot ::= "a"', "byte order mark"),
        ('root ::= "a";', "end of the line"),
        ('root ::= "a"\n| "b"', "end the line with |"),
        ('my_rule ::= "a"', "letters, digits and '-'"),
        ('root ::= "\\q"', r"\xXX"),
        ('root ::= {"a"}', '"{"'),
    ],
)
def test_common_mistakes_come_with_a_hint(text, hint):
    with pytest.raises(GrammarSyntaxError) as caught:
        parse(text)
    assert hint in str(caught.value)


def test_text_that_is_no_utf8_or_no_c_string_is_refused_where_it_stops():
    for text, column in (('root ::= "\ud800"', 11), ('root ::= "a\0b"', 12)):
        with pytest.raises(GrammarSyntaxError) as caught:
            parse(text)
        assert caught.value.column == column


def test_another_rule_can_be_the_root():
    assert parse('start ::= "a"', root="start").root == "start"
    with pytest.raises(GrammarSyntaxError, match="the rule start is not defined"):
        parse('root ::= "a"', root="start")


def test_bounds_are_those_that_count():
    (rule,) = parse('root ::= "a"{2,3} [b]{4} "c"{5,} "d"{1,2001}').rules
    repeats = [node for node in walk(rule.body) if isinstance(node, Repeat)]
    assert [(node.minimum, node.maximum) for node in repeats] == [(2, 3), (4, 4), (5, None), (1, None)]
    assert repeats[-1].written_maximum == 2001


def test_every_problem_is_found_in_one_pass():
    text = 'root ::= one [a-z\n\ntwo ::= "\\q" three "x\nfour ::= (four "a"\nfive ::= "x"**\n'
    _, problems = examine(text, every_problem=True)
    assert [(problem.kind, text.count("\n", 0, problem.start) + 1) for problem in problems] == [
        ("undefined-rule", 1),
        ("unterminated-class", 1),
        ("bad-escape", 3),
        ("undefined-rule", 3),
        ("unterminated-literal", 3),
        ("left-recursion", 4),
        ("unclosed-group", 5),
        ("left-recursion", 5),
    ]


@functools.cache
def hostile_verdict(name):
    """Seconds of processor time, and the problems; worked out once for all tests."""
    started = time.process_time()
    _, problems = examine(HOSTILE[name])
    return time.process_time() - started, problems


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_grammars_get_an_answer_or_a_place(name):
    seconds, problems = hostile_verdict(name)
    assert seconds < 5, "2 s on a quiet machine"
    for problem in problems:
        assert 0 <= problem.start <= len(HOSTILE[name])


def test_hostile_grammars_stay_small():
    code = (
        "import resource, hostile_grammars as cases\n"
        "from llamacli.grammar.gbnf import examine\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for text in cases.HOSTILE.values(): examine(text, every_problem=True)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(DATA.parents[1] / "support")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 200


def test_llama_cpp_survives_what_passes_the_gate():
    """The hostile grammars that pass are given to llama.cpp itself, in this process."""
    for name, text in HOSTILE.items():
        if not hostile_verdict(name)[1]:
            assert native_verdict(text)


def native_verdict(text: str) -> bool:
    """Whether llama.cpp's own parser takes a grammar. Never call it with what is unsafe."""
    native = library()
    handle = native.llamacli_constraint_create(None, text.encode(), b"root")
    if handle:
        native.llamacli_constraint_free(handle)
    return bool(handle)


def test_the_verdict_is_that_of_llama_cpp(request, capfd):
    """Random grammars, sound and broken: refused exactly where llama.cpp refuses them, or where it would not survive."""
    seen = {True: 0, False: 0}
    for seed in range(request.config.getoption("--fuzz-cases")):
        rng = random.Random(seed)
        text = grammar_cases.grammar(rng, broken=rng.choice([0, 0, 0, 0.02, 0.05]))
        grammar, problems = examine(text)
        if any(problem.unsafe for problem in problems) or (not problems and names_tokens_by_text(grammar)):
            continue
        verdict = native_verdict(text)
        assert verdict is not bool(problems), f"seed {seed}: {text!r}: {problems}"
        seen[verdict] += 1
    assert min(seen.values()) > sum(seen.values()) / 10, "the generator makes too much of one kind"
    capfd.readouterr()  # llama.cpp prints to stderr


def names_tokens_by_text(grammar) -> bool:
    return any(terminal.token is not None and terminal.token_id is None for terminal in grammar.program.terminals)


def test_damaged_grammars_never_raise_anything_else(request):
    """Characters changed, cut and doubled in good grammars: an answer or a located error, nothing else."""
    sources = [path.read_text() for path in sorted((Path(__file__).parents[2] / "llamacli/grammar/builtin").iterdir())]
    for seed in range(request.config.getoption("--fuzz-cases")):
        rng = random.Random(seed)
        text = rng.choice(sources)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(text))
            text = text[:at] + rng.choice(["", text[at : at + 3] * 2, rng.choice('"[](){}|*+?<>!\\#\n\r-é\0')]) + text[at + 1 :]
        every = rng.random() < 0.3
        _, problems = examine(text, every_problem=every)
        for problem in problems:
            assert 0 <= problem.start <= len(text)


def test_importing_the_parser_is_light():
    code = (
        "import sys, llamacli.grammar.gbnf;"
        "print(sorted(name for name in sys.modules if name.startswith(('rich', 'typer', 'ctypes', 'json'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_many_optional_items_that_begin_alike_are_refused():
    with pytest.raises(GrammarSyntaxError, match="line 1, column 10: more than 32 optional items that begin alike"):
        parse("root ::= " + '("a" "b")? [ab]? ' * 30 + '"c"')
    letters = [f'"{chr(0x100 + number)}"?' for number in range(100)]
    assert parse("root ::= " + " ".join(letters)).rules


def test_a_repeated_item_that_can_be_empty_is_named():
    with pytest.raises(GrammarSyntaxError, match="line 1, column 14: this repeats an item that can be empty") as caught:
        parse('root ::= "x" ("" | "a" | "b" "c")*')
    assert "remove the empty alternative" in (caught.value.hint or "")
    with pytest.raises(GrammarSyntaxError, match="left recursion: root can begin with itself"):
        parse('root ::= "" | root "a"')


@pytest.mark.parametrize("text", ['{"type": "object"}', '\n {\n"a": 1}', "{}"])
def test_a_json_schema_is_recognized(text):
    with pytest.raises(GrammarSyntaxError, match="this is JSON, not a grammar") as caught:
        parse(text)
    assert "-jf" in (caught.value.hint or "")

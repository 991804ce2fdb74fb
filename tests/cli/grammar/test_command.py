"""`llamacli grammar` on the command line: what it writes, and its exit statuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from fakes import invoke

from llamacli.cli.framework.context import open_engine
from llamacli.grammar.builtins import builtin, builtin_names
from llamacli.grammar.gbnf import check_safe, parse
from llamacli.grammar.matcher import Matcher

GRAMMAR = 'root ::= "a" b+\nb ::= "b" | "é"\n'


@pytest.fixture
def file(tmp_path) -> str:
    path = tmp_path / "mine.gbnf"
    path.write_text(GRAMMAR)
    return str(path)


@pytest.fixture
def bad(tmp_path) -> str:
    path = tmp_path / "bad.gbnf"
    path.write_text('root ::= gone\nb ::= "\\q"\n')
    return str(path)


def grammar(*arguments, **options):
    return invoke("grammar", *arguments, **options)


# --- check -----------------------------------------------------------------------------------------------------------


def test_check_says_where_a_text_stops(file):
    result = grammar("check", file, "abé", "aéx")
    assert result.status == 8
    assert result.stdout == (
        "text 1: matches\n"
        "text 2: does not match\n"
        "  line 1, column 3, byte 3:\n"
        "    aéx\n"
        "      ^\n"
        '  found "x"; expected "b" (b), "é" (b) or end of text\n'
        '  accepted: "aé" (2 characters); which is a complete match\n'
    )
    assert result.stderr == f"llamacli: error: 1 of 2 texts does not match {file}\n"


def test_check_of_texts_that_match(file):
    result = grammar("check", file, "ab", "abé")
    assert (result.status, result.stderr) == (0, "")


def test_check_without_a_text_checks_the_grammar(file, bad):
    result = grammar("check", file)
    assert (result.status, result.stdout) == (0, f"{file}: valid, 2 rules, {len(parse(GRAMMAR).program.code)} elements\n")
    result = grammar("check", bad, "x")
    assert (result.status, result.stdout) == (5, "")
    assert result.stderr == (
        '    b ::= "\\q"\n           ^\n'
        f"llamacli: error: {bad}:2:8: unknown escape \\q "
        r"(known are \n \r \t \\ \" \[ \] \- \xXX \uXXXX \UXXXXXXXX)"
        "\n"
    )


def test_check_reads_standard_input_and_files(file, tmp_path):
    text = tmp_path / "text"
    text.write_text("abb\n")
    assert grammar("check", file, stdin=b"ab").stdout == "standard input: matches\n"
    assert grammar("check", file, stdin=b"ab\n").status == 0, "the newline that ends a file need not be meant"
    assert grammar("check", file, "--input", str(text)).stdout == f"{text}: matches\n"
    assert grammar("check", "-", "ab", stdin=GRAMMAR.encode()).status == 0
    assert grammar("check", "-", "-", stdin=GRAMMAR.encode()).status == 2
    assert grammar("check", file, "ab\n").status == 8, "an argument is meant as it is"


def test_check_writes_json(file):
    result = grammar("check", file, "ab", "ax", "--json")
    document = json.loads(result.stdout)
    assert [text["matches"] for text in document["texts"]] == [True, False]
    row = document["texts"][1]
    assert row["stop"] == {"line": 1, "column": 2, "offset": 1}
    assert (row["accepted"], row["longest"], row["may_end"]) == ("a", None, False)
    assert {(one["words"], one["rule"]) for one in row["expected"]} == {('"b"', "b"), ('"é"', "b")}


def test_check_with_another_root(file):
    assert grammar("check", file, "é", "--root", "b").status == 0
    assert grammar("check", file, "é", "--root", "c").status == 5


def test_control_characters_of_a_text_do_not_reach_the_terminal(file):
    from llamacli.cli.framework.console import Terminals

    result = grammar("check", file, "a\x1b[2J", terminals=Terminals(stdin=True, stdout=True, stderr=True))
    assert "\x1b[2J" not in result.stdout


@pytest.mark.parametrize("name", ["nonsense", "no/such.gbnf", "no.gbnf"])
def test_what_is_no_grammar_is_a_usage_error(name):
    result = grammar("check", name, "x")
    assert result.status == 2
    assert result.stderr.count("\n") == 1


# --- lint, format ----------------------------------------------------------------------------------------------------


def test_lint_shows_every_problem(bad):
    result = grammar("lint", bad)
    assert result.status == 5
    assert result.stdout.startswith(f"{bad}:1:10: error: the rule gone is not defined [undefined-rule]\n    root ::= gone\n")
    assert f"{bad}:2:8: error: unknown escape \\q [bad-escape]\n" in result.stdout
    assert result.stderr == f"llamacli: error: {bad} has 2 errors\n"


def test_lint_for_editors(bad):
    rows = json.loads(grammar("lint", bad, "--json").stdout)
    names = ("line", "column", "end_column", "offset", "severity", "kind")
    assert [tuple(row[name] for name in names) for row in rows] == [
        (1, 10, 14, 9, "error", "undefined-rule"),
        (2, 8, 10, 21, "error", "bad-escape"),
    ]


def test_lint_of_warnings(tmp_path):
    path = tmp_path / "warn.gbnf"
    path.write_text('root ::= "x"\nspare ::= "y"\n')
    assert grammar("lint", str(path)).status == 0
    assert "unused-rule" in grammar("lint", str(path)).stdout
    assert grammar("lint", str(path), "--strict").status == 8
    assert grammar("lint", "json").stdout == ""
    assert grammar("lint", "json", "--strict").status == 0


def test_format_writes_checks_and_replaces(tmp_path, bad):
    path = tmp_path / "ugly.gbnf"
    path.write_text('root::="a"|b # note\nb::="c"')
    path.chmod(0o640)
    pretty = 'root ::= "a" | b  # note\nb ::= "c"\n'
    assert grammar("format", str(path)).stdout == pretty
    assert grammar("format", str(path), "--check").status == 8
    assert grammar("format", str(path), "--write").status == 0
    assert path.read_text() == pretty
    assert path.stat().st_mode & 0o777 == 0o640
    assert grammar("format", str(path), "--check").status == 0
    assert grammar("format", bad).status == 5
    assert grammar("format", "json", "--write").status == 2
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bad.gbnf", "ugly.gbnf"]


# --- from-... --------------------------------------------------------------------------------------------------------


def test_from_schema_lists_what_is_not_enforced(tmp_path):
    path = tmp_path / "schema.json"
    path.write_text(json.dumps({"type": "object", "properties": {"n": {"type": "number", "multipleOf": 1}}, "required": ["n"]}))
    result = grammar("from-schema", str(path))
    assert result.status == 0
    assert Matcher(parse(result.stdout)).matches('{"n": 0.5}')
    assert result.stderr == ("llamacli: warning: #/properties/n: multipleOf is not enforced: the grammar has no such check\n")
    assert grammar("from-schema", str(path), "--strict").status == 8
    compact = Matcher(parse(grammar("from-schema", str(path), "--compact").stdout))
    assert (compact.matches('{"n": 0.5}'), compact.matches('{"n":0.5}')) == (False, True)
    document = json.loads(grammar("from-schema", str(path), "--json").stdout)
    assert document["grammar"] == result.stdout
    assert document["not_enforced"][0]["path"] == "#/properties/n"


@pytest.mark.parametrize("text", ['{"type": "nonsense"}', '{"type":', "3", "[" * 100_000])
def test_from_schema_of_what_is_none(text):
    result = grammar("from-schema", "-", stdin=text.encode())
    assert result.status == 5
    assert result.stdout == ""
    assert result.stderr.startswith("llamacli: error: ")


def test_from_regex_and_choices():
    assert grammar("from-regex", "a{2}|b").stdout == 'root ::= "a"{2} | "b"\n'
    assert grammar("from-regex", "(?=a)").status == 5
    assert grammar("from-choices", "red", "green").stdout == 'root ::= "red" | "green"\n'
    assert grammar("from-choices", stdin=b"red\n\ngreen\n").stdout == 'root ::= "red" | "green"\n'
    assert grammar("from-choices").status == 5


def test_from_pydantic(tmp_path, monkeypatch):
    pytest.importorskip("pydantic")
    monkeypatch.chdir(tmp_path)
    Path("shop_orders.py").write_text(
        "from pydantic import BaseModel, Field\nprint('hello')\n"
        "class Order(BaseModel):\n    name: str\n    count: int = Field(ge=1)\n"
    )
    result = grammar("from-pydantic", "shop_orders:Order")
    assert result.status == 0, result.stderr
    assert Matcher(parse(result.stdout)).matches('{"name": "x", "count": 2}')
    assert result.stderr == "hello\n"
    sys.modules.pop("shop_orders", None)


@pytest.mark.parametrize(
    "reference", ["nothing", "no_such_module:Order", "json:nothing", "json:dumps", ":x", "broken_module:X"]
)
def test_from_pydantic_of_what_is_none(reference, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("broken_module.py").write_text("1 / 0\n")
    result = grammar("from-pydantic", reference)
    assert result.status == 2
    assert result.stderr.count("\n") == 1


def test_from_examples():
    result = grammar("from-examples", "-", stdin=b'[{"a": 1}, {"a": 2, "b": "x"}]')
    assert result.status == 0
    matcher = Matcher(parse(result.stdout))
    assert matcher.matches('{"a": 5}')
    assert not matcher.matches('{"b": "x"}')
    schema = json.loads(grammar("from-examples", "-", "--schema", stdin=b'[{"a": 1}]').stdout)
    assert schema["required"] == ["a"]
    assert grammar("from-examples", "-", stdin=b"{").status == 5


# --- sample, test, explain, show -------------------------------------------------------------------------------------


def test_samples_feed_the_test_command(file, tmp_path):
    result = grammar("sample", file, "-n", "20", "-s", "1", "--jsonl")
    cases = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(cases) == 20
    path = tmp_path / "cases.jsonl"
    path.write_text(result.stdout + '{"text": "b", "valid": false}\n\n')
    passed = grammar("test", file, str(path))
    assert (passed.status, passed.stdout) == (0, "21 of 21 cases passed\n")
    path.write_text('{"text": "b", "valid": true}\n{"text": "ab", "valid": false}\n{"text": "ab", "valid": true}\n')
    failed = grammar("test", file, str(path))
    assert failed.status == 8
    assert failed.stdout == (
        'line 1: "b" should match, but does not\nline 2: "ab" should not match, but does\n1 of 3 cases passed\n'
    )
    document = json.loads(grammar("test", file, str(path), "--json").stdout)
    assert (document["passed"], [row["line"] for row in document["failed"]]) == (1, [1, 2])


@pytest.mark.parametrize("line", ["{", '{"text": "x"}', '{"text": 1, "valid": true}', "[]", '{"text": "x", "valid": 1}', ""])
def test_bad_cases_are_usage_errors(file, line):
    assert grammar("test", file, "-", stdin=line.encode()).status == 2


def test_samples_are_seeded_and_bounded(file):
    assert grammar("sample", file, "-s", "7").stdout == grammar("sample", file, "-s", "7").stdout
    lines = grammar("sample", file, "-n", "30", "--max-length", "3").stdout.splitlines()
    assert all(len(line) <= 3 for line in lines)
    assert grammar("sample", file, "--max-length", "1").status == 5
    assert grammar("sample", file, "-n", "-1").status == 2


def test_explain_and_its_diagram(file, tmp_path):
    diagram = tmp_path / "mine.svg"
    result = grammar("explain", file, "--diagram", str(diagram))
    assert result.stdout.startswith('root: "a", then one or more of b\n')
    assert diagram.read_text().startswith("<svg ")
    assert json.loads(grammar("explain", file, "--json").stdout)[1]["used_by"] == ["root"]
    assert grammar("explain", file, "--diagram", str(tmp_path / "no" / "such.svg")).status == 2


@pytest.mark.parametrize("name", builtin_names())
def test_show_writes_built_in_grammars(name):
    result = grammar("show", name)
    assert result.stdout == builtin(name).text
    check_safe(result.stdout)


def test_show_lists_them():
    lines = grammar("show").stdout.splitlines()
    assert [line.split()[0] for line in lines] == builtin_names()
    assert grammar("show", "nonsense").status == 2


# --- allowed ---------------------------------------------------------------------------------------------------------


def test_allowed_characters(file):
    assert grammar("allowed", file, "").stdout == '"a"  (root)\n'
    assert grammar("allowed", file, "ab").stdout == '"b"  (b)\n"é"  (b)\nend of text\n'
    document = json.loads(grammar("allowed", file, "ab", "--json").stdout)
    assert document["may_end"] is True
    assert document["expected"][0] == {"words": '"b"', "rule": "b", "ranges": [[98, 98]], "negated": False}


def test_a_text_that_is_not_allowed(file):
    result = grammar("allowed", file, "ax")
    assert (result.status, result.stdout) == (8, "")
    assert 'found "x"' in result.stderr


def test_allowed_tokens_of_a_model(file, tiny_model):
    result = grammar(
        "allowed", file, "a", "-m", str(tiny_model), "-p", "hello", "--json", "-n", "100000",
        open_engine=open_engine, find_model=lambda app, reference, *, offline: Path(reference),
    )  # fmt: skip
    assert result.status == 0, result.stderr
    document = json.loads(result.stdout)
    tokens = document["tokens"]
    assert document["allowed_tokens"] == len(tokens) > 0
    matcher = Matcher(parse(GRAMMAR))
    state = matcher.advance(matcher.start, "a")
    assert all(matcher.admits(state, bytes(token["bytes"])) for token in tokens)
    assert [token["probability"] for token in tokens] == sorted((t["probability"] for t in tokens), reverse=True)
    assert abs(sum(token["share"] for token in tokens) - 1) < 1e-6
    assert abs(sum(token["probability"] for token in tokens) - document["allowed_probability"]) < 1e-6
    assert 0 < document["allowed_probability"] <= 1


@pytest.mark.demo
def test_allowed_tokens_of_the_demo_model(demo_model):
    result = grammar(
        "allowed", "json", '{"a":', "-m", str(demo_model), "-n", "5",
        open_engine=open_engine, find_model=lambda app, reference, *, offline: Path(reference),
    )  # fmt: skip
    assert result.status == 0, result.stderr
    assert '"{"  (object)' in result.stdout
    assert "allowed tokens" in result.stdout


def test_an_empty_text_is_not_shown(tmp_path):
    empty = tmp_path / "empty.gbnf"
    empty.write_text("")
    assert invoke("grammar", "check", empty).stderr.count("\n") == 1
    assert "line 1, column 1, byte 0\n" in invoke("grammar", "check", "json", "").stdout


@pytest.mark.parametrize("name", ["mine.gbnf", "mine"])
def test_a_dangling_link_is_named_as_such(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).symlink_to("nowhere")
    result = grammar("check", name)
    assert (result.status, result.stderr) == (
        2, f"llamacli: error: {name} does not exist (it is a link to a file that does not exist)\n"
    )  # fmt: skip

"""Constraints, documents and dry runs of `llamacli run`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import tiny
from fakes import FakeEngine, Result, invoke
from hypothesis import given, settings
from hypothesis import strategies as st

from llamacli.cli.framework import context
from llamacli.cli.framework.console import Terminals
from llamacli.engine.chat.chat_turn import thinking_state
from llamacli.engine.chat.framing import frame_of, framed, until_rules
from llamacli.engine.chat.message import Message
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.chat.template import ChatTemplate
from llamacli.engine.constraint.answer_constraint import check_json
from llamacli.engine.constraint.guidance import Constraint
from llamacli.engine.events import TokenLogprob
from llamacli.engine.runtime.logit_bias import resolve_biases
from llamacli.engine.runtime.model import Model
from llamacli.errors import ConstraintError, UsageError
from llamacli.grammar.gbnf import parse
from llamacli.grammar.matcher import Matcher
from llamacli.grammar.schema.json_location import find_value
from llamacli.grammar.syntax.writer import rules_text
from llamacli.render.code import first_code_block

ROOT = Path(__file__).parents[3]
TEMPLATES = ROOT / "vendor" / "llama.cpp" / "models" / "templates"
SCHEMAS = sorted((Path(__file__).parents[2] / "data" / "schemas").glob("*.json"))
FIM_NAMES = {"fim_pre": "prefix", "fim_suf": "suffix", "fim_mid": "middle"}
PERSON = '{"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}'


def run(model: Path, *arguments: str, **how) -> Result:
    """Runs in this process, with the real engine."""
    return invoke("run", "-m", str(model), "-t", "1", *arguments, open_engine=context.open_engine, **how)


# --- constraints hold -------------------------------------------------------------------------------------------------

SAMPLING = [
    [], ["--temp", "0"], ["--temp", "2", "--top-k", "0", "--top-p", "1", "--min-p", "0"], ["--mirostat", "1"],
    ["--mirostat", "2"], ["--repeat-penalty", "1.3"], ["--xtc-probability", "0.5"], ["--dry-multiplier", "0.8"],
    ["--typical-p", "0.5"], ["--samplers", "temperature"], ["--samplers", "top_k,adaptive_p", "--adaptive-target", "0.5"],
    ["--top-n-sigma", "1"], ["-l", "{=false", "--temp", "1.5"], ["--ignore-eos"], ["--top-k", "1"], ["--top-k", "400"],
]  # fmt: skip


@pytest.mark.parametrize("sampling", SAMPLING, ids=" ".join)
def test_a_constraint_holds_with_every_sampler(tiny_model, sampling):
    result = run(tiny_model, "--regex", "[a-f]{3}-(red|green)!", "-s", "1", *sampling, "Hello")
    assert (result.status, result.stderr) == (0, "")
    assert re.fullmatch("[a-f]{3}-(red|green)!\n", result.stdout)


@pytest.mark.parametrize("seed", ["1", "2", "3"])
@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)
def test_schemas_hold_or_the_program_says_so(tiny_model, schema, seed):
    result = run(tiny_model, "-jf", str(schema), "-s", seed, "-c", "512", "--temp", "1.5", "Hello")
    if result.status == 0:
        check_json(result.stdout, json.loads(schema.read_text()))
    else:
        assert result.status == 5
        assert "the answer was cut because the context is full" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--choices", "red,green,blue"], "red|green|blue"),
        (["--choices", r"a\,b,c d"], "a,b|c d"),
        (["--choices", "é🏠"], "é🏠"),
        (["--grammar", 'root ::= "x" [0-9] [0-9]'], "x[0-9]{2}"),
        (["--regex", "(ab|cd){2}"], "(ab|cd){2}"),
        (["-j", '{"const": {"a": [1, null]}}'], r'\{"a":\[1,null\]\}'),
        (["-j", '{"type": "boolean"}'], "true|false"),
    ],
)
@pytest.mark.parametrize("prompt", [[], ["--raw"], ["--chat-template", "llama3"], ["-sys", "Be brief."]])
def test_every_constraint_with_every_way_to_prompt(tiny_model, arguments, expected, prompt):
    result = run(tiny_model, *arguments, *prompt, "-s", "1", "Hello")
    assert (result.status, result.stderr) == (0, "")
    assert re.fullmatch(expected, result.stdout.rstrip("\n"))


def test_a_grammar_from_a_file_and_a_builtin_one(tiny_model, tmp_path):
    file = tmp_path / "mine.gbnf"
    file.write_text('root ::= "yes" | "no"\n')
    assert run(tiny_model, "--grammar-file", str(file), "Hello").stdout in ("yes\n", "no\n")
    cut = run(tiny_model, "--grammar-file", "json", "-n", "1", "Hello")
    assert cut.status in (0, 5)


def test_an_answer_ends_when_nothing_may_follow(tiny_model):
    result = run(tiny_model, "--choices", "abc", "--stats", "--raw", "Hello")
    assert result.stdout == "abc"
    assert "generated 3 tokens" in result.stderr
    assert "finished" in result.stderr


@pytest.mark.parametrize("extra", [["-n", "2"], ["-n", "0"], ["--stop", "b"]])
def test_an_answer_that_is_cut_is_exit_5_with_what_there_is(tiny_model, extra):
    result = run(tiny_model, "--regex", "abcdefg", *extra, "Hello")
    assert result.status == 5
    assert "abcdefg".startswith(result.stdout.rstrip("\n"))
    assert "was cut by " in result.stderr
    assert result.stderr.count("\n") == 1


def test_cut_where_it_could_end_but_need_not_is_still_cut(tiny_model):
    assert run(tiny_model, "--regex", "a+", "-n", "3", "--ignore-eos", "Hello").status == 5


def test_a_base_model_under_a_constraint(tiny_base_model):
    assert run(tiny_base_model, "--choices", "one,two", "Hello").stdout in ("one\n", "two\n")


def test_samples_under_a_constraint(tiny_model):
    result = run(tiny_model, "--choices", "red,green,blue", "--samples", "4", "-s", "1", "--json", "Hello")
    choices = json.loads(result.stdout)["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert all(choice["message"]["content"] in ("red", "green", "blue") for choice in choices)


@pytest.mark.demo
@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)
def test_schemas_with_the_demo_model(demo_model, schema):
    result = run(demo_model, "-jf", str(schema), "--temp", "0", "-n", "300", "-t", "2", "Invent an example, in JSON.")
    if result.status == 0:
        check_json(result.stdout, json.loads(schema.read_text()))
    else:
        assert (result.status, "cut by -n" in result.stderr) == (5, True)


# --- what is invalid, before a model is loaded ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says", "caret"),
    [
        (["-j", '{"type": }'], "-j:1:10: invalid JSON", 9),
        (["-j", '{"type": "strin"}'], "-j:1:10: invalid JSON schema", 9),
        (["-j", '{"a": 1, "properties": {"x": {"minimum": "1"}}}'], "-j:1:42: invalid JSON schema", 41),
        (["--grammar", 'root ::= "a" |  )'], "--grammar:1:17: ", 16),
        (["--grammar", "root ::= nothing"], "--grammar:1:10: ", 9),
        (["--regex", "a(b"], "--regex:1:2: this group has no closing parenthesis", 1),
    ],
)
def test_what_is_invalid_is_shown_with_a_caret(arguments, says, caret):
    result = invoke("run", "Hi", *arguments)
    assert (result.status, result.stdout, result.engine.path) == (5, "", None)
    *_, line, pointer, error = result.stderr.rstrip("\n").split("\n")
    assert error.startswith(f"llamacli: error: {says}")
    assert pointer.strip("^ ") == ""
    assert pointer.index("^") == caret + 4
    assert arguments[1] in line


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--choices", "a,b", "--regex", "c"], 2, "--regex cannot be used with --choices"),
        (["--choices", "a,,b"], 2, "contains an empty choice"),
        (["-jf", "missing.json"], 2, "missing.json does not exist"),
        (["--grammar-file", "missing"], 2, "no such file or built-in grammar: missing"),
        (["-j", '{"$ref": "#/nowhere"}'], 5, "#/nowhere"),
        (["-j", "[" * 100_000], 5, "nested more than 500 deep"),
        (["--grammar", "root ::= root"], 5, "--grammar:1:"),
        (["--grammar", "root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000], 5, "--grammar:1:"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_other_mistakes_in_constraints(arguments, status, says):
    result = invoke("run", "Hi", *arguments)
    assert (result.status, result.stdout, result.engine.path) == (status, "", None)
    assert says in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("schema", "shown", "says"),
    [
        ('{"a": 1, "$ref": "#/x"}', '    {"a": 1, "$ref": "#/x"}\n    ^\n', "-j:1:1: at #: cannot resolve the reference '#/x'"),
        (
            '{"properties": {"a": {"prefixItems": [{}, {"$ref": "#x"}]}}}',
            '    {"properties": {"a": {"prefixItems": [{}, {"$ref": "#x"}]}}}\n    ' + " " * 42 + "^\n",
            "-j:1:43: at #/properties/a/prefixItems/1: cannot resolve the reference '#x'",
        ),
        ('{"minLength": 5, "maxLength": 2}', " " * 18 + "^\n", "-j:1:15: at #/minLength: minLength is greater than maxLength"),
        (
            '{"properties": {\n"a": {"properties": {"b": {"minimum": 9, "maximum": 3}}}}}',
            " " * 42 + "^\n",
            "-j:2:39: at #/properties/a/properties/b/minimum: minimum is greater than maximum",
        ),
        (
            '{"$ref": "#/$defs/x", "$defs": {"x": {"items": {"$ref": "#/$defs/y"}},\n"y": {"minItems": 3, "maxItems": 1}}}',
            " " * 22 + "^\n",
            "-j:2:19: at #/$defs/y/minItems: minItems is greater than maxItems",
        ),
        (
            '{"properties": {"a": true,\n"b": {"type": "object", "required": ["c"],\n"properties": {"c": {"$ref": "#/no"}}}}}',
            " " * 24 + "^\n",
            "-j:3:21: at #/properties/b/properties/c: cannot resolve the reference '#/no'",
        ),
        ('{"const": ' + "1" * 5000 + "}", " " * 14 + "^\n", "-j:1:11: invalid JSON: an integer has more than 4300 digits"),
        ("", "", "-j:1:1: invalid JSON: expecting value"),
        ("5", "    5\n    ^\n", "-j:1:1: invalid JSON schema: it is not an object"),
        ('{"$schema": 1}', "    ^\n", "-j:1:1: invalid JSON schema: $schema is not a string"),
        ('{"minimum": NaN}', "                ^\n", "-j:1:13: invalid JSON: NaN is not a JSON value"),
    ],
)
def test_a_schema_without_a_grammar_is_shown_with_its_place(schema, shown, says):
    result = invoke("run", "Hi", "-j", schema)
    assert (result.status, result.stdout, result.engine.path) == (5, "", None)
    assert shown in result.stderr
    assert result.stderr.splitlines()[-1].startswith(f"llamacli: error: {says}")
    assert result.stderr.count("\n") == (3 if shown else 1)


def test_what_of_a_schema_is_not_enforced_is_named_or_refused():
    schema = '{"type": "object", "properties": {"n": {"type": "number", "multipleOf": 4}}, "required": ["n"]}'
    engine = FakeEngine(['{"n": 4}'], satisfied=True)
    result = invoke("run", "Hi", "-j", schema, engine=engine)
    assert (result.status, result.stdout) == (0, '{"n": 4}\n')
    assert "warning: #/properties/n: multipleOf is not enforced" in result.stderr
    strict = invoke("run", "Hi", "-j", schema, "--strict")
    assert (strict.status, strict.engine.path) == (5, None)
    assert "the schema cannot be enforced: multipleOf" in strict.stderr
    wrong = invoke("run", "Hi", "-j", schema, engine=FakeEngine(['{"n": 2}'], satisfied=True))
    assert (wrong.status, wrong.stdout) == (5, '{"n": 2}\n')
    assert "does not fit the schema at #/n: 2 is not a multiple of 4" in wrong.stderr


def test_compact_json(tiny_model: Path) -> None:
    def run(*arguments: str) -> Result:
        return invoke("run", "Hi", *arguments, find_model=lambda *a, **k: tiny_model, open_engine=context.open_engine)

    schema = '{"type": "object", "properties": {"a b": {"enum": [1, 2]}, "c": {"type": "null"}}, "required": ["a b", "c"]}'
    for seed in range(4):
        answered = run("-j", schema, "--json-compact", "--seed", str(seed))
        assert answered.status == 0
        assert answered.stdout in ('{"a b":1,"c":null}\n', '{"a b":2,"c":null}\n')
    assert "--json-compact needs -j or -jf" in invoke("run", "Hi", "--json-compact").stderr
    refused = invoke("run", "Hi", "-j", schema, "--json-compact", "--url", "http://localhost:1")
    assert (refused.status, "cannot be used with --url" in refused.stderr) == (2, True)


def test_what_is_said_of_one_of_several_and_of_one_token():
    told = invoke(
        "run", "Hi", "-j", '{"oneOf": [{"type": "null"}, {"type": ["null", "boolean"]}]}', engine=FakeEngine(["null"])
    )
    assert "#: oneOf is not enforced: more than one alternative may match" in told.stderr
    assert invoke("run", "Hi", "--dry-run").stderr.startswith("llamacli: 1 token; the context would have ")


@pytest.mark.parametrize(
    ("pieces", "says"),
    [
        (["{"], "the answer: invalid JSON at line 1, column 2"),
        (['{"age": "x"}'], "does not fit the schema at #/age"),
        (["{}"], "'age' is a required property"),
        (["[" * 100_000], "nested more than 500 deep"),
        (["1" * 5000], "an integer has more than 4300 digits"),
    ],
)
def test_what_comes_out_is_checked(pieces, says):
    result = invoke("run", "Hi", "-j", PERSON, engine=FakeEngine(pieces, satisfied=True))
    assert result.status == 5
    assert says in result.stderr


@pytest.mark.parametrize(
    ("reason", "says"),
    [("length", "cut by -n"), ("context", "cut because the context is full"), ("stop", "cut by a stop text")],
)
def test_a_cut_document_is_still_written(reason, says):
    engine = FakeEngine(['{"age": '], reason=reason, satisfied=False)
    result = invoke("run", "Hi", "-j", PERSON, "--json", engine=engine)
    assert result.status == 5
    assert json.loads(result.stdout)["choices"][0]["message"]["content"] == '{"age": '
    assert says in result.stderr


def test_references_to_other_documents_are_not_fetched():
    with pytest.raises(ConstraintError, match="the schema refers to https"):
        check_json("1", {"$ref": "https://example.invalid/schema.json"})


@settings(deadline=None, max_examples=100)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
        max_leaves=20,
    ),
    st.sampled_from([None, 1, 3]),
    st.data(),
)
def test_places_in_json(document, indent, data):
    text = json.dumps(document, indent=indent)
    path: list = []
    value = document
    while isinstance(value, (dict, list)) and value and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        value = value[key]
        path.append(key)
    found, _ = json.JSONDecoder().raw_decode(text, find_value(text, path))
    assert found == value
    assert find_value(text, [*path, "not there"]) == find_value(text, path)


# --- where a constraint begins ----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(st.lists(st.text("ab<", min_size=1, max_size=4), min_size=1, max_size=3, unique=True), st.text("ab<c", max_size=12))
def test_until_rules_end_at_the_first_end(ends, text):
    matcher = Matcher(parse(rules_text({"root": "until0", **until_rules("until", ends)})))
    first = min((at + len(end) for end in ends if (at := text.find(end)) >= 0), default=None)
    stops = [length for length in range(len(text) + 1) if matcher.match(text[:length]).matches]
    assert stops == ([first] if first is not None else [])


def framed_for(name: str, **rendering) -> tuple[Matcher, str]:
    """The grammar of an answer yes or no under a template, and what the template wants before it."""
    messages = [Message("user", "Hi")]
    with ChatTemplate((TEMPLATES / f"{name}.jinja").read_text(), bos="<s>", eos="</s>") as template:
        asked = Rendering(**rendering)
        rendered = template.render(messages, asked)
        frame = frame_of(template, rendered, messages, asked)
        constraint = framed(Constraint(grammar='root ::= "yes" | "no"'), rendered, frame, thinking_state(rendered))
    return Matcher(parse(constraint.grammar, constraint.root)), rendered.generation_prompt


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        (
            "Qwen-Qwen3-0.6B",
            ["yes", "<think>\nhm\n</think>\n\nno", "<think></think>yes"],
            ["<think>hm", "hm</think>yes", "maybe"],
        ),
        (
            "deepseek-ai-DeepSeek-V3.1",
            ["hm</think>yes", "</think>no", "a < b </thinking></think>\n\nyes"],
            ["yes", "<think>yes"],
        ),
        (
            "openai-gpt-oss-120b",
            [
                "<|channel|>final<|message|>yes",
                "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>no",
            ],
            ["yes", "<|channel|>analysis<|message|>hm<|end|>yes"],
        ),
        ("google-gemma-4-31B-it", ["yes", "<|channel>thought\nhm<channel|>no"], ["<|channel>hm"]),
        ("Qwen3.5-4B", ["hm\n</think>\n\nyes"], ["hm<tool_call>yes"]),
        ("upstage-Solar-Open-100B", ["<|content|>yes"], ["yes"]),
        ("meta-llama-Llama-3.1-8B-Instruct", ["yes", "no"], [" yes"]),
    ],
)
def test_a_constraint_begins_after_the_thinking(name, right, wrong):
    matcher, _ = framed_for(name)
    assert [text for text in right if not matcher.match(text).matches] == []
    assert [text for text in wrong if matcher.match(text).matches] == []


def test_every_template_leaves_room_for_a_constraint():
    for path in TEMPLATES.glob("*.jinja"):
        for thinks in (True, False):
            matcher, prompt = framed_for(path.stem, enable_thinking=thinks)
            assert not matcher.match("").matches, path.stem
            assert not matcher.match("maybe").matches, (path.stem, prompt)


def test_thinking_that_is_switched_off_has_no_place_in_the_grammar(tiny_model):
    chat = str(TEMPLATES / "ByteDance-Seed-OSS.jinja")  # its template does not switch it off
    result = run(tiny_model, "--chat-template", chat, "--reasoning", "off", "--choices", "red,green", "-c", "1024", "Hello")
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout in ("red\n", "green\n")


# --- documents --------------------------------------------------------------------------------------------------------


def test_a_chat_completion():
    result = invoke("run", "one two", "--json", "-m", "some.gguf", engine=FakeEngine(["Hi", " there"], cached=2))
    document = json.loads(result.stdout)
    assert (result.status, result.stderr, result.stdout.count("\n")) == (0, "", 1)
    assert (document["object"], document["model"]) == ("chat.completion", "some.gguf")
    assert document["id"].startswith("chatcmpl-")
    assert isinstance(document["created"], int)
    assert document["choices"] == [
        {"index": 0, "message": {"role": "assistant", "content": "Hi there"}, "logprobs": None, "finish_reason": "stop"}
    ]
    assert document["usage"] == {
        "prompt_tokens": 2, "completion_tokens": 2, "total_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2},
    }  # fmt: skip
    assert document["timings"] == {
        "cache_n": 2, "prompt_n": 2, "prompt_ms": 100.0, "prompt_per_second": 20.0,
        "predicted_n": 2, "predicted_ms": 200.0, "predicted_per_second": 10.0,
    }  # fmt: skip


def test_a_text_completion_and_its_echo():
    arguments = ["run", "--raw", "Once", "--json", "--logprobs", "1"]
    top = (TokenLogprob(7, b" up", -0.25), TokenLogprob(8, b"\xff", -2.0))
    engine = FakeEngine([" upon"], logprob=-0.5, top=top)
    document = json.loads(invoke(*arguments, engine=engine).stdout)
    assert (document["object"], document["choices"][0]["text"]) == ("text_completion", " upon")
    assert document["choices"][0]["logprobs"] == {
        "tokens": [" upon"], "token_logprobs": [-0.5],
        "top_logprobs": [{" up": -0.25, "�": -2.0, " upon": -0.5}], "text_offset": [0],
    }  # fmt: skip
    assert engine.params.logprobs == 1
    echoed = json.loads(invoke(*arguments, "--echo", engine=engine).stdout)
    assert echoed["choices"][0]["text"] == "Once upon"
    assert echoed["choices"][0]["logprobs"]["text_offset"] == [4]
    arguments[3] = "--stream-json"
    lines = invoke(*arguments, "--echo", engine=FakeEngine([" upon", " a"], logprob=-0.5)).stdout.splitlines()
    logprobs = [json.loads(line)["choices"][0]["logprobs"] for line in lines]
    assert [found["text_offset"] for found in logprobs if found] == [[4], [9]]


def test_log_probabilities_of_a_chat_completion():
    engine = FakeEngine(["é"], logprob=-0.5, top=(TokenLogprob(7, "é".encode(), -0.5),))
    document = json.loads(invoke("run", "x", "--json", "--logprobs", "1", engine=engine).stdout)
    best = {"token": "é", "id": 7, "logprob": -0.5, "bytes": [195, 169]}
    assert document["choices"][0]["logprobs"] == {"content": [{**best, "id": 1000, "top_logprobs": [best]}]}
    assert invoke("run", "x", "--json", engine=engine).engine.params.logprobs is None


def test_log_probabilities_of_the_real_engine(tiny_model):
    result = run(tiny_model, "--json", "--logprobs", "3", "-n", "4", "--temp", "0", "--ignore-eos", "Hello")
    content = json.loads(result.stdout)["choices"][0]["logprobs"]["content"]
    assert len(content) == 4
    for position in content:
        ranked = [candidate["logprob"] for candidate in position["top_logprobs"]]
        assert len(ranked) == 3
        assert ranked == sorted(ranked, reverse=True)
        assert position["logprob"] == ranked[0] < 0


@pytest.mark.parametrize("raw", [[], ["--raw"]])
def test_chunks_put_together_are_the_answer(raw):
    result = invoke("run", "Once", "--stream-json", *raw, "--echo", engine=FakeEngine(["a", "", "b"], logprob=-1.0))
    chunks = [json.loads(line) for line in result.stdout.splitlines()]
    choices = [chunk["choices"][0] for chunk in chunks]
    if raw:
        assert "".join(choice["text"] for choice in choices) == "Onceab"
    else:
        assert "".join(choice["delta"].get("content", "") for choice in choices) == "ab"
        assert chunks[0]["prompt"] == "<user>Once"
    assert [choice["finish_reason"] for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[-1]["usage"]["completion_tokens"] == 3
    assert "timings" in chunks[-1]


def test_chunks_are_written_as_they_come_with_log_probabilities():
    result = invoke("run", "x", "--stream-json", "--logprobs", "0", engine=FakeEngine(["a", "", "b"], logprob=-1.0))
    chunks = [json.loads(line)["choices"][0] for line in result.stdout.splitlines()]
    assert sum(len(chunk["logprobs"]["content"]) for chunk in chunks if "logprobs" in chunk) == 3


def test_samples_are_answers_in_order():
    engine = FakeEngine(["a", "b"])
    assert invoke("run", "x", "--samples", "3", engine=engine).stdout == "ab\n\nab\n\nab\n"
    assert (engine.context.n_seq_max, engine.context.kv_unified) == (3, True)
    document = json.loads(invoke("run", "x", "--samples", "2", "--json", engine=engine).stdout)
    assert len(document["choices"]) == 2
    assert document["usage"] == {
        "prompt_tokens": 1, "completion_tokens": 4, "total_tokens": 5, "prompt_tokens_details": {"cached_tokens": 0},
    }  # fmt: skip


def test_samples_share_one_prefill(tiny_model):
    result = run(tiny_model, "--samples", "3", "--stats", "-n", "8", "-s", "5", "--ignore-eos", "Hello world " * 10)
    cached = [int(n) for n in re.findall(r"\((\d+) cached\)", result.stderr)]
    total = {int(n) for n in re.findall(r"prompt (\d+) tokens", result.stderr)}
    assert len(total) == 1
    assert cached == [total.pop() - 1] * 2
    first = run(tiny_model, "-n", "8", "-s", "6", "--ignore-eos", "Hello world " * 10).stdout
    assert first.rstrip("\n") in result.stdout  # the second sample has the next seed


def test_echo_comes_first():
    assert invoke("run", "Once", "--raw", "--echo").stdout == "OnceBecause of Rayleigh scattering."
    assert invoke("run", "Why?", "--echo").stdout == "<user>Why?Because of Rayleigh scattering.\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Here:\n```sh\nls -l\n```\nDone.", "ls -l\n"),
        ("```\na\n\nb\n```", "a\n\nb\n"),
        ("````md\n```\nx\n```\n````", "```\nx\n```\n"),
        ("~~~py\nprint('```')\n~~~", "print('```')\n"),
        ("```\n```\n```\nx\n```", ""),
        ("no code", None),
        ("```sh\nls", None),
        ("inline ```x``` only", None),
        ("- ```x``` in a list", None),
        ("1. Do:\n\n   ```py\n   if x:\n       y\n\n   z\n   ```\n", "if x:\n    y\n\nz\n"),
        ("* a\n    * ~~~py\n      if x:\n          y\n      ~~~", "if x:\n    y\n"),
        ("- a\n\n\t```\n\tif x:\n\t\ty\n\t```", "if x:\n\ty\n"),
        ("  ```\n  a\n b\nc\n    d\n  ```", "a\nb\nc\n  d\n"),
        ("```py\n'\n    ```\n    x\n    ```\n'\n```", "'\n    ```\n    x\n    ```\n'\n"),
        ("Text.\n\n    ```\n    quoted\n    ```\n", None),
        ("```\r\na\r\n```\r\n", "a\r\n"),
    ],
)
def test_the_first_code_block(text, code):
    assert first_code_block(text) == code


def test_extract_writes_code_or_fails():
    result = invoke("run", "x", "-x", engine=FakeEngine(["Sure:\n```sh\n", "ls\n```\n", "Bye"]))
    assert (result.status, result.stdout, result.stderr) == (0, "ls\n", "")
    none = invoke("run", "x", "-x", engine=FakeEngine(["rm it"]))
    assert (none.status, none.stdout) == (5, "")
    assert none.stderr == "rm it\nllamacli: error: the answer has no complete fenced code block\n"


def test_extract_of_an_answer_that_was_interrupted():
    engine = FakeEngine(["Sure:\n```sh\nls"], reason="cancelled")
    result = invoke("run", "x", "-x", engine=engine)
    assert (result.status, result.stdout, result.stderr) == (0, "", "Sure:\n```sh\nls\n")


def test_hostile_output_is_harmless_on_a_terminal():
    terminal = Terminals(stdin=True, stdout=True, stderr=True)
    for extra in (["--samples", "2"], ["-x"], ["--json"], ["--stream-json"], ["--echo"]):
        result = invoke("run", "\x1b[1mx", *extra, terminals=terminal, engine=FakeEngine(["\x1b[2J\u202e"]))
        assert "\x1b" not in result.stdout
        assert "\u202e" not in result.stdout


# --- dry runs, biases, infill -----------------------------------------------------------------------------------------


def test_a_dry_run_writes_the_prompt_exactly_and_generates_nothing(tiny_model):
    result = run(tiny_model, "--dry-run", "-sys", "Be brief.", "Hello")
    assert (result.status, result.stdout) == (
        0, "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
    )  # fmt: skip
    assert re.fullmatch(r"llamacli: \d+ tokens; the context would have 512\n", result.stderr)
    document = json.loads(run(tiny_model, "--dry-run", "--json", "-c", "100", "Hello").stdout)
    assert (document["prompt_tokens"], document["n_ctx"]) == (len(document["tokens"]), 100)
    small = run(tiny_model, "--dry-run", "--raw", "-c", "3", "Hello world, hello")
    assert "which is too small" in small.stderr


def test_the_context_of_a_dry_run_is_the_one_that_is_used(tiny_model):
    dry = json.loads(run(tiny_model, "--dry-run", "--json", "-n", "5", "Hello").stdout)
    stats = json.loads(run(tiny_model, "--json", "-n", "5", "Hello").stdout)["usage"]
    assert dry["prompt_tokens"] == stats["prompt_tokens"]


def test_biases_by_text_and_by_id(tiny_model):
    with Model(tiny_model) as model:
        (token,) = model.vocabulary.tokenize("x")
        assert resolve_biases(model.vocabulary, [("x", -1.0), ("<|im_end|>", 2.0)]) == ((token, -1.0), (2, 2.0))
        with pytest.raises(UsageError, match="no tokens"):
            resolve_biases(model.vocabulary, [("", 1.0)])
    first = ["--raw", "--temp", "0", "-n", "2", "--ignore-eos", "-l", "x=100", "-l", "y=50"]
    assert run(tiny_model, *first, "Hello").stdout == "xx"
    for bias in ("x=false", f"{token}=false", f"{token}-100", '"x"=-100'):
        assert run(tiny_model, *first, "-l", bias, "Hello").stdout == "yy"
    assert run(tiny_model, *first, "-l", "99999=1", "Hello").status == 2


@pytest.mark.parametrize(
    ("text", "biases"),
    [
        ("15043+1", ((15043, 1.0),)),
        ("15043-1.5", ((15043, -1.5),)),
        ("15043=false", ((15043, float("-inf")),)),
        ("cat=2", ((1003, 2.0),)),
        ("a=b=-1", ((1003, -1.0),)),
        ('"42"=1', ((1002, 1.0),)),
        (" cat=false", ((1004, float("-inf")),)),
    ],
)
def test_spellings_of_biases(text, biases):
    assert invoke("run", "x", "-l", text).engine.params.sampling.logit_bias == biases


def test_infill(tmp_path):
    assert invoke("run", "--infill", "def f(", "):").engine.prompt.text == "def f(<gap>):"
    file = tmp_path / "x.py"
    file.write_text("ab\ncd\n")
    for place, expected in {
        "1:1": "<gap>ab\ncd\n",
        "2:2": "ab\nc<gap>d\n",
        "2:3": "ab\ncd<gap>\n",
        "3": "ab\ncd\n<gap>",
    }.items():
        assert invoke("run", "-f", str(file), "--at", place).engine.prompt.text == expected
    for arguments in (["--at", "9:1"], ["--at", "1:9"], ["--at", "0:1"], ["--at", "x"]):
        assert invoke("run", "-f", str(file), *arguments).status == 2
    assert invoke("run", "--at", "1:1").status == 2
    piped = invoke("run", "-f", "-", "--at", "2:2", stdin=b"ab\ncd\n")
    assert (piped.status, piped.engine.prompt.text) == (0, "ab\nc<gap>d\n")
    assert "standard input has no position 9:1" in invoke("run", "-f", "-", "--at", "9:1", stdin=b"ab\n").stderr
    file.write_text("a\x0cb\u2028c\r\nd\re\n", newline="")
    for place, expected in {"2:1": "a\x0cb\u2028c\r\n<gap>d\re\n", "3:2": "a\x0cb\u2028c\r\nd\re<gap>\n"}.items():
        assert invoke("run", "-f", str(file), "--at", place).engine.prompt.text == expected


def test_a_model_with_the_tokens_fills_in(tmp_path):
    marks = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    vocabulary = tiny.default_vocabulary(control=(*tiny.CONTROL_TOKENS, *marks))
    ids = {f"tokenizer.ggml.{name}_token_id": vocabulary.tokens.index(f"<|fim_{word}|>") for name, word in FIM_NAMES.items()}
    model = tiny.tiny_model(tmp_path / "code.gguf", vocabulary=vocabulary, change=ids)
    dry = run(model, "--infill", "def f(", "<|im_end|>):", "--dry-run", "--json")
    document = json.loads(dry.stdout)
    assert document["prompt"] == "<|fim_prefix|>def f(<|fim_suffix|><|im_end|>):<|fim_middle|>"
    assert [token for token in document["tokens"] if token < 6] == [3, 4, 5]  # what was given became no control token
    result = run(model, "--infill", "def f(", "):", "--choices", "a,b")
    assert (result.status, result.stdout) in [(0, "a"), (0, "b")]


def test_a_model_that_cannot_fill_in_says_so(tiny_model):
    result = run(tiny_model, "--infill", "a", "b")
    assert (result.status, result.stdout) == (2, "")
    assert "its vocabulary has no token for prefix, suffix, middle" in result.stderr

"""Tools and reasoning: recorded answers of the model families, read whole, in pieces and under their grammars."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakeEngine, invoke

from llamacli.cli.framework import context
from llamacli.cli.framework.console import Terminals
from llamacli.engine.chat.answers.judgement import check_answer
from llamacli.engine.chat.answers.parser import AnswerParser
from llamacli.engine.chat.answers.reader import AnswerReader
from llamacli.engine.chat.chat_turn import chat_turn
from llamacli.engine.chat.message import Message, Tool, ToolCall
from llamacli.engine.chat.prompt import Prompt
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.chat.template import ChatTemplate
from llamacli.engine.chat.turn import Turn
from llamacli.engine.constraint.guidance import Constraint, Guidance, Thinking
from llamacli.engine.constraint.guide import Guide
from llamacli.engine.constraint.trigger import Trigger
from llamacli.engine.events import Answer, Timings, Usage
from llamacli.engine.runtime.model import Model
from llamacli.errors import ConstraintError, UsageError

ROOT = Path(__file__).parents[3]
TEMPLATES = ROOT / "vendor" / "llama.cpp" / "models" / "templates"
CASES = json.loads((Path(__file__).parents[2] / "data" / "tool_answers.json").read_text())
TOOLS = (
    Tool("get_weather", "Weather.", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}),
    Tool("get_time", "Tells the time."),
)
TOOL_LIST = [tool.to_json() for tool in TOOLS]
QUESTION = [Message("user", "What is the weather in Paris?")]
each_case = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def template(name: str) -> ChatTemplate:
    return ChatTemplate((TEMPLATES / f"{name}.jinja").read_text(), bos="<s>", eos="</s>")


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[Model]:
    with Model(tiny_model) as loaded:
        yield loaded


def turn_for(model: Model, case: dict, choice: str = "auto") -> Turn:
    with template(case["template"]) as chat:
        rendering = Rendering(tools=TOOLS, tool_choice=choice, parallel_tool_calls=case.get("parallel", False))
        return chat_turn(model.vocabulary, chat, QUESTION, rendering)


@each_case
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_recorded_answers_are_read_whole_and_in_pieces(model, case, size, monkeypatch):
    monkeypatch.setattr(AnswerParser, "PAUSE", 0.0)
    text = case["text"]
    with AnswerReader(turn_for(model, case)) as reader:
        deltas = [delta for i in range(0, len(text), size) for delta in reader.feed(text[i : i + size])]
        answer, last = reader.finish(complete=True)
    deltas += last
    assert answer.well_formed
    assert answer.content.rstrip() == case.get("content", "").rstrip() == "".join(d.content for d in deltas).strip()
    assert answer.reasoning_content.strip() == case.get("reasoning", "") == "".join(d.reasoning_content for d in deltas).strip()
    assert [[call.name, json.loads(call.arguments)] for call in answer.tool_calls] == case["calls"]
    for number, call in enumerate(answer.tool_calls):
        parts = [d.tool_call for d in deltas if d.tool_call is not None and d.tool_call.index == number]
        assert (parts[0].name, parts[0].id) == (call.name, call.id)
        assert "".join(part.arguments for part in parts) == call.arguments
        assert call.id == case.get("id") or call.id.startswith("call_")
    assert len({call.id for call in answer.tool_calls}) == len(answer.tool_calls)


def follow(guide: Guide, model: Model, text: str) -> bool:
    """Feeds an answer as the scheduler does, each token checked by the grammar that is at work; whether one ever was."""
    constrained = False
    for token in model.vocabulary.tokenize(text, special=True):
        if guide.matcher is not None:
            constrained = True
            assert guide._matcher.accept(token), model.vocabulary.special_piece(token)
        guide.observe(token)
    return constrained


@each_case
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_recorded_answers_pass_the_grammars_of_their_templates(model, case, choice):
    if choice == "required" and (not case["calls"] or case.get("content")):
        pytest.skip("not an answer to this")
    turn = turn_for(model, case, choice)
    if turn.guidance is None or turn.guidance.constraint is None:
        assert case["name"].startswith("Llama")  # it has no mark at which a grammar could begin
        return
    guide = Guide(model, turn.guidance)
    constrained = follow(guide, model, case["text"])
    matcher = guide._matcher
    assert constrained == bool(case["calls"])
    assert not case["calls"] or matcher.may_end
    guide.close()


def test_a_required_call_is_not_left_out(model):
    for case in CASES:
        turn = turn_for(model, case, "required")
        if turn.guidance.constraint.lazy:
            continue
        guide = Guide(model, turn.guidance)
        assert not guide.satisfied
        guide.close()


def test_tools_and_a_grammar_exclude_each_other(model):
    with template("Qwen-Qwen3-0.6B") as chat:
        constraint = Constraint(grammar='root ::= "a"')
        with pytest.raises(UsageError, match="cannot be used with tools"):
            chat_turn(model.vocabulary, chat, QUESTION, Rendering(tools=TOOLS), constraint=constraint)
        assert chat_turn(
            model.vocabulary, chat, QUESTION, Rendering(tools=TOOLS, tool_choice="none"), constraint=constraint
        ).is_constrained


# --- triggers and thinking --------------------------------------------------------------------------------------------


def guide_of(model: Model, *triggers: Trigger, thinking: Thinking | None = None) -> Guide:
    constraint = Constraint(grammar='root ::= "<call>" [a-z]+ "</call>"', lazy=True, triggers=triggers)
    return Guide(model, Guidance(constraint=constraint, thinking=thinking))


WORD = Trigger("word", "<call>")


@pytest.mark.parametrize(
    ("trigger", "text", "begins"),
    [
        (WORD, "some text <call>abc</call>", True),
        (WORD, "x" * 2000 + "<call>abc</call>", True),
        (WORD, "<cal l>", False),
        (Trigger("pattern", r"say\s+(<call>)"), "say   <call>a</call>", True),
        (Trigger("pattern", "^<call>"), "no <call>a</call>", False),
        (Trigger("pattern", "^<call>"), "x" * 600 + "<call>a</call>", False),
        (Trigger("pattern", "^<call>"), "<call>a</call>", True),
        (Trigger("pattern", "(?:^|!)(<call>)"), "y" * 600 + "<call>", False),
        (Trigger("pattern_full", "<call>"), "<call>a</call>", True),
        (Trigger("pattern_full", "<call>"), "no <call>", False),
    ],
)
def test_triggers(model, trigger, text, begins):
    guide = guide_of(model, trigger)
    assert follow(guide, model, text) == begins
    if begins:
        assert guide.must_end
    guide.close()


def test_a_text_that_the_grammar_does_not_allow_after_its_trigger_is_left_alone(model):
    constraint = Constraint(grammar='root ::= "<other>"', lazy=True, triggers=(WORD,))
    guide = Guide(model, Guidance(constraint=constraint))
    assert not follow(guide, model, "<call>abc")
    assert guide.matcher is None
    guide.close()


def test_a_trigger_while_thinking_is_none_but_the_end_of_thinking_may_be(model):
    thinking = Thinking(start="<think>", ends=("</think>", "<call>"), opened=True)
    guide = guide_of(model, WORD, thinking=Thinking(start="<think>", ends=("</think>",), opened=True))
    assert not follow(guide, model, "hm <call> hm </think> well")
    assert follow(guide, model, " <call>a</call>")
    guide.close()
    guide = guide_of(model, WORD, thinking=thinking)
    assert follow(guide, model, "hm <call>a</call>")
    guide.close()


@pytest.mark.parametrize("budget", [0, 3])
def test_the_end_of_thinking_is_forced_when_its_budget_is_used_up(model, budget):
    guide = Guide(model, Guidance(thinking=Thinking(start="<think>", ends=("</think>",), opened=True, budget=budget)))
    tokens = model.vocabulary.tokenize("abcdefgh")
    for token in tokens[:budget]:
        assert guide.forced() is None
        guide.observe(token)
    forced = []
    while (token := guide.forced()) is not None:
        forced.append(token)
        guide.observe(token)
    assert model.vocabulary.detokenize(forced) == b"</think>"
    for token in tokens:
        guide.observe(token)
        assert guide.forced() is None
    guide.close()


def test_thinking_is_not_ended_in_the_middle_of_a_character(model):
    guide = Guide(model, Guidance(thinking=Thinking(start="<think>", ends=("</think>",), opened=True, budget=1)))
    pieces = model.vocabulary.tokenize("🏠")
    assert len(pieces) == 4
    for token in pieces[:3]:
        guide.observe(token)
        assert guide.forced() is None
    guide.observe(pieces[3])
    assert guide.forced() is not None
    guide.close()


# --- on the command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "tools.json").write_text(json.dumps(TOOL_LIST))
    return tmp_path


def talking(name: str, **how) -> FakeEngine:
    """An engine that answers with a recorded text, in small pieces."""
    case = next(case for case in CASES if case["name"] == name)
    text = case["text"]
    with template(case["template"]) as chat:
        rendered = chat.render(QUESTION, Rendering(tools=TOOLS, parallel_tool_calls=True))
    return FakeEngine([text[i : i + 5] for i in range(0, len(text), 5)], answer_format=rendered.answer_format, **how)


def test_calls_are_the_last_line_and_thinking_goes_to_stderr(files):
    result = invoke("run", "Weather?", "--tools", str(files / "tools.json"), engine=talking("gpt-oss"))
    assert (result.status, result.stderr) == (0, "I should look.\n")
    calls = json.loads(result.stdout)["tool_calls"]
    assert [(call["type"], call["function"]) for call in calls] == [
        ("function", {"name": "get_weather", "arguments": '{"city":"Paris"}'})
    ]
    assert calls[0]["id"].startswith("call_")
    assert [tool.name for tool in result.engine.rendering.tools] == ["get_weather", "get_time"]


def test_a_text_before_the_call_comes_first(files):
    engine = talking("Hermes, a text before the call")
    result = invoke("run", "Weather?", "--tools", str(files / "tools.json"), engine=engine)
    text, line = result.stdout.split("\n", 1)
    assert text == "Let me look."
    assert json.loads(line)["tool_calls"][0]["function"]["name"] == "get_weather"


def test_calls_in_a_document(files):
    arguments = ["run", "Weather?", "--tools", str(files / "tools.json"), "--json"]
    result = invoke(*arguments, engine=talking("Qwen 3, thinking and two calls"))
    choice = json.loads(result.stdout)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert choice["message"]["reasoning_content"].strip() == "I should look."
    assert [call["function"]["name"] for call in choice["message"]["tool_calls"]] == ["get_weather", "get_time"]
    hidden = invoke(*arguments, "--hide-reasoning", engine=talking("Qwen 3, thinking and two calls"))
    assert "reasoning_content" not in json.loads(hidden.stdout)["choices"][0]["message"]
    assert (result.stderr, hidden.stderr) == ("", "")


def test_calls_in_chunks(files, monkeypatch):
    monkeypatch.setattr(AnswerParser, "PAUSE", 0.0)
    engine = talking("Qwen 3, thinking and two calls")
    result = invoke("run", "Weather?", "--tools", str(files / "tools.json"), "--stream-json", engine=engine)
    chunks = [json.loads(line) for line in result.stdout.splitlines()]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant"
    assert "".join(delta.get("reasoning_content", "") for delta in deltas).strip() == "I should look."
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert [call["function"]["name"] for call in calls if "name" in call["function"]] == ["get_weather", "get_time"]
    assert json.loads("".join(c["function"]["arguments"] for c in calls if c["index"] == 0)) == {"city": "Paris"}
    assert len({call["id"] for call in calls if "id" in call}) == 2
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert chunks[-1]["usage"]["total_tokens"] > 0


def test_thinking_is_dim_on_a_terminal_and_can_be_hidden():
    engine = talking("Qwen 3, an answer")
    terminal = Terminals(stdin=True, stdout=True, stderr=True)
    result = invoke("run", "Hi", terminals=terminal, engine=engine)
    assert result.stdout == "Hello there.\n"
    assert "\x1b[2m" in result.stderr
    assert "No tool helps." in result.stderr.replace("\x1b[2m", "").replace("\x1b[0m", "")
    assert invoke("run", "Hi", "--hide-reasoning", terminals=terminal, engine=engine).stderr == ""


@pytest.mark.parametrize(
    ("choice", "tools", "asked"),
    [
        ("auto", ["get_weather", "get_time"], "auto"),
        ("none", ["get_weather", "get_time"], "none"),
        ("required", ["get_weather", "get_time"], "required"),
        ("get_time", ["get_time"], "required"),
    ],
)
def test_tool_choice(files, choice, tools, asked):
    result = invoke("run", "Hi", "--tools", str(files / "tools.json"), "--tool-choice", choice, "--parallel-tool-calls")
    rendering = result.engine.rendering
    assert [tool.name for tool in rendering.tools] == tools
    assert (rendering.tool_choice, rendering.parallel_tool_calls) == (asked, True)
    assert result.status == (5 if asked == "required" else 0)
    if asked == "required":
        assert "the answer has no complete tool call" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tools", "missing.json"], "missing.json does not exist"),
        (["--tools", "tools.json", "--tool-choice", "fly"], "unknown tool 'fly' (the tools are get_weather, get_time)"),
        (["--tool-choice", "required"], "--tool-choice needs --tools"),
        (["--tools", "tools.json", "--raw"], "--raw uses no chat template"),
        (["--tools", "bad.json"], "bad.json: invalid JSON at line 1, column 2"),
        (["--tools", "empty.json"], "empty.json contains no tools"),
        (["--tools", "wrong.json"], "wrong.json: tool 1, its function must be an object"),
        (["--messages", "wrong.json"], "wrong.json: message 1 has no role"),
        (["--messages", "bad.json"], "bad.json: invalid JSON at line 1, column 2"),
        (["--messages", "deep.json"], "nested more than 500 deep"),
        (["--messages", "long.json"], "an integer has more than 4300 digits"),
        (["--infill", "x", "--messages", "wrong.json"], "--infill uses no chat template"),
        (["--json", "--stream-json"], "cannot be used with"),
        (["-x", "--json"], "-x writes text"),
        (["--logprobs", "2"], "needs --json or --stream-json"),
    ],
)
def test_what_makes_no_sense_is_refused_before_a_model_is_loaded(files, monkeypatch, arguments, says):
    monkeypatch.chdir(files)
    (files / "bad.json").write_text("[")
    (files / "empty.json").write_text("[]")
    (files / "wrong.json").write_text('[{"type": "function"}]')
    (files / "deep.json").write_text("[" * 100_000)
    (files / "long.json").write_text("1" * 5000)
    result = invoke("run", "Hi", *arguments)
    assert (result.status, result.stdout, result.engine.path) == (2, "", None)
    assert says in result.stderr


def test_a_tool_with_parameters_that_are_no_schema_is_named(tmp_path):
    wrong = {"type": "object", "properties": {"a": {"type": "objct"}}}
    (tmp_path / "t.json").write_text(json.dumps([{"type": "function", "function": {"name": "fly", "parameters": wrong}}]))
    result = invoke("run", "Hi", "--tools", str(tmp_path / "t.json"))
    assert (result.status, result.stdout, result.engine.path) == (5, "", None)
    assert "the parameters of the tool fly: at #/properties/a/type: type has the unknown type 'objct'" in result.stderr


def test_a_conversation_with_the_results_of_tools(tmp_path):
    messages = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]  # fmt: skip
    file = tmp_path / "messages.json"
    file.write_text(json.dumps({"messages": messages}))
    result = invoke("run", "--messages", str(file))
    assert (result.status, result.engine.messages) == (0, messages)
    more = invoke("run", "--messages", "-", "-sys", "Be brief.", "And now?", stdin=None)
    assert more.status != 0  # nothing is piped in, and a terminal has no messages
    added = invoke("run", "--messages", str(file), "-sys", "Be brief.", "And now?")
    assert [message["role"] for message in added.engine.messages] == ["system", "user", "assistant", "tool", "user"]


def test_messages_from_standard_input_and_their_end(tmp_path):
    given = b'[{"role": "user", "content": "Hi"}]'
    assert invoke("run", "--messages", "-", stdin=given).engine.messages == [{"role": "user", "content": "Hi"}]
    answered = tmp_path / "answered.json"
    answered.write_text('[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]')
    result = invoke("run", "--messages", str(answered))
    assert result.status == 2
    assert "nothing to answer" in result.stderr
    assert invoke("run", "--messages", str(answered), "Why?").status == 0


@pytest.mark.parametrize(("option", "thinks"), [("auto", True), ("on", True), ("off", False)])
def test_reasoning_options_reach_the_template(option, thinks):
    result = invoke("run", "Hi", "--reasoning", option, "--reasoning-budget", "7")
    assert (result.engine.rendering.enable_thinking, result.engine.budget) == (thinks, 7)
    assert "does not support reasoning" in result.stderr


def test_tools_with_the_real_engine(tiny_model, files):
    chat = str(TEMPLATES / "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja")
    result = invoke(
        "run", "-m", str(tiny_model), "-t", "1", "--chat-template", chat, "--tools", str(files / "tools.json"),
        "--tool-choice", "get_time", "-n", "400", "--temp", "0", "-c", "2048", "--json", "Time?",
        open_engine=context.open_engine,
    )  # fmt: skip
    choice = json.loads(result.stdout)["choices"][0]
    called = choice["finish_reason"] == "tool_calls"
    assert result.status == (0 if called else 5)  # a model of random weights may talk until it is cut
    assert not called or choice["message"]["tool_calls"][0]["function"]["name"] == "get_time"


@pytest.mark.parametrize("template_name", ["Qwen-Qwen3-0.6B", "deepseek-ai-DeepSeek-V3.1", "openai-gpt-oss-120b"])
def test_a_budget_and_a_constraint_with_the_real_engine(tiny_model, template_name):
    result = invoke(
        "run", "-m", str(tiny_model), "-t", "1", "--chat-template", str(TEMPLATES / f"{template_name}.jinja"),
        "--reasoning-budget", "6", "--choices", "red,green", "--temp", "0", "-c", "2048", "-n", "300", "Color?",
        open_engine=context.open_engine,
    )  # fmt: skip
    assert (result.status, result.stdout) in [(0, "red\n"), (0, "green\n")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('{"city": "Oslo", "unit": "rankine"}', "the call of get_weather does not fit the schema at #/unit"),
        ('{"city": 5}', "the call of get_weather does not fit the schema at #/city"),
        ('{"city": "Oslo"', "the call of get_weather: invalid JSON at line 1"),
    ],
)
def test_the_arguments_of_a_call_are_checked_against_its_tool(arguments: str, message: str) -> None:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city"],
    }
    turn = Turn(prompt=Prompt("", ()), tools=(Tool("get_weather", parameters=parameters),))
    usage, timings = Usage(1, 1), Timings(1, 1.0, 1, 1.0)

    def answer(name: str, arguments: str) -> Answer:
        return Answer(tool_calls=(ToolCall(name, arguments),), finish_reason="stop", usage=usage, timings=timings)

    check_answer(turn, answer("get_weather", '{"city": "Oslo", "unit": "celsius"}'))
    with pytest.raises(ConstraintError, match=message):
        check_answer(turn, answer("get_weather", arguments))
    with pytest.raises(ConstraintError, match=r"unknown tool 'get_wether'"):
        check_answer(turn, answer("get_wether", "{}"))


@pytest.mark.parametrize("text", ['<tool_call>\n{"na', "<tool_call>", "no call at all"])
def test_a_cut_answer_of_which_the_format_claims_nothing_is_content(model, text: str) -> None:
    with template("Qwen-Qwen3-0.6B") as chat:
        turn = chat_turn(model.vocabulary, chat, QUESTION, Rendering(tools=TOOLS))
    with AnswerReader(turn) as reader:
        shown = "".join(delta.content for delta in reader.feed(text))
        read, rest = reader.finish(complete=False)
    assert read.content == text
    assert shown + "".join(delta.content for delta in rest) == text

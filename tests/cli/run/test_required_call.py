"""`--tool-choice required`: the grammars of chat templates let no prose come before the call, but what the format needs."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import FakeEngine, invoke

from llamacli.engine.chat.chat_turn import chat_turn
from llamacli.engine.chat.message import Message, Tool
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.chat.template import ChatTemplate
from llamacli.engine.runtime.model import Model
from llamacli.errors import LlamacliError
from llamacli.grammar.gbnf import parse
from llamacli.grammar.matcher import Matcher
from llamacli.grammar.required_call import without_prose

TEMPLATES = Path(__file__).parents[3] / "vendor" / "llama.cpp" / "models" / "templates"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = (Tool("get_weather", "The weather", CITY), Tool("get_time", "The time", CITY))
QUESTION = [Message("user", "What is the weather in Paris?")]
PROSE = "Well, let me see. "


@pytest.fixture(scope="module")
def model(tiny_model: Path):
    with Model(tiny_model) as model:
        yield model


def grammar_of(model: Model, name: str, choice: str = "required", *, thinking: bool = True) -> tuple[Matcher, str] | None:
    """The grammar of a template, and the end of the prompt with which it begins; None where it has none from the beginning."""
    with ChatTemplate((TEMPLATES / f"{name}.jinja").read_text(), bos="<s>", eos="</s>") as template:
        rendering = Rendering(tools=TOOLS, tool_choice=choice, enable_thinking=thinking)
        turn = chat_turn(model.vocabulary, template, QUESTION, rendering)
    constraint = turn.guidance.constraint if turn.guidance is not None else None
    if constraint is None or constraint.lazy:
        return None
    return Matcher(parse(constraint.grammar).with_tokens_as_text()), constraint.prefix


def allows(grammar: tuple[Matcher, str], text: str) -> bool:
    """Whether the answer may begin with `text`."""
    return grammar[0].advance(grammar[0].start, grammar[1] + text) is not None


HERMES = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("name", "before", "call"),
    [
        ("NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", "", HERMES),
        ("NousResearch-Hermes-3-Llama-3.1-8B-tool_use", "\n", HERMES),
        ("Qwen-Qwen2.5-7B-Instruct", "", HERMES),
        ("Qwen-Qwen3-0.6B", "<think>\nI must look.\n</think>\n\n", HERMES),
        ("Qwen-QwQ-32B", "I must look.\n</think>\n\n", HERMES),
        ("meta-llama-Llama-3.1-8B-Instruct", "", '{"name": "get_weather", "parameters": {"city": "Paris"}}'),
        ("mistralai-Mistral-Nemo-Instruct-2407", "", '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris"}'),
        (
            "mistralai-Ministral-3-14B-Reasoning-2512",
            "[THINK]I must look.[/THINK]",
            '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}',
        ),
        ("google-gemma-4-31B-it", "<|channel>thought\nI must look.<channel|>", "<|tool_call>call:get_weather{"),
        (
            "openai-gpt-oss-120b",
            "<|channel|>analysis<|message|>I must look.<|end|><|start|>assistant",
            '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Paris"}',
        ),
        ("deepseek-ai-DeepSeek-V3.1", "I must look.</think>", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather"),
        ("deepseek-ai-DeepSeek-V3.2", "I must look.</think>\n\n", "<｜DSML｜function_calls>"),
    ],
)
def test_what_the_format_needs_comes_before_the_call_and_no_prose(model, name, before, call):
    grammar = grammar_of(model, name)
    assert allows(grammar, before + call)
    assert not allows(grammar, before + PROSE)
    assert not allows(grammar, before + PROSE + call)


@pytest.mark.parametrize("thinking", [True, False], ids=["thinks", "thinks not"])
@pytest.mark.parametrize("name", sorted(path.stem for path in TEMPLATES.glob("*.jinja")))
def test_every_template(model, name, thinking):
    try:
        grammar = grammar_of(model, name, thinking=thinking)
    except LlamacliError:
        pytest.skip("knows no tools")
    if grammar is None:
        pytest.skip("has no grammar")
    assert allows(grammar, "")  # it begins as the prompt ends
    prompt_thinks = any(mark in grammar[1] for mark in ("think", "THINK", "reasoning")) and allows(grammar, PROSE)
    if not prompt_thinks:
        assert not allows(grammar, PROSE)


def test_a_choice_is_not_forced(model):
    assert grammar_of(model, "Qwen-Qwen2.5-7B-Instruct", "auto") is None


@pytest.mark.parametrize(
    ("grammar", "expected"),
    [
        ("root ::= until-1? tool-call", "root ::= space tool-call"),
        ("root ::= until-2? tool-call", "root ::=  tool-call"),  # its mark begins with a line end
        ("root ::= space until-1 space tool-calls", "root ::= space  space tool-calls"),
        ("root ::= until-3 tool-call", None),  # which must be there
        ('root ::= "<think>" until-1 space tool-call', None),
        ('root ::= ("<think>" until-1 "</think>")? tool-call', None),
        ('root ::= ("<say>" until-1 "</say>")? tool-call', "root ::=  tool-call"),
        (
            'root ::= ("<think>" until-1 tool-call | until-1 tool-call)',
            'root ::= ("<think>" until-1 tool-call | space tool-call)',
        ),
        ("root ::= until-1?", None),
        ('root ::= "x" until-9? tool-call', None),  # no such rule
    ],
)
def test_what_is_cut(grammar, expected):
    rules = (
        'tool-call ::= "[" [0-9]+ "]"\ntool-calls ::= tool-call+\nspace ::= | " "\n'
        "until-1 ::= | [^<] until-1\nuntil-2 ::= | [\\n] | [^\\n] until-2\nuntil-3 ::= [^<] | [^<] until-3\n"
    )
    text = f"{grammar}\n{rules}"
    cut = without_prose(text, "", lambda mark: mark == "<think>")
    assert cut == (text if expected is None else f"{expected}\n{rules}")


def test_the_grammar_stays_where_it_would_no_longer_begin_as_the_prompt_ends():
    text = 'root ::= until-1? tool-call\ntool-call ::= "[x]"\nuntil-1 ::= | [^[] until-1\n'
    assert without_prose(text, "assistant: ", bool) == text


def test_prose_in_place_of_a_call_is_no_matter_of_its_length(tmp_path):
    file = tmp_path / "tools.json"
    file.write_text('[{"type": "function", "function": {"name": "look"}}]')
    result = invoke(
        "run", "Hi", "--tools", str(file), "--tool-choice", "required", engine=FakeEngine(["Well"], reason="length")
    )
    assert (result.status, result.stderr) == (5, "llamacli: error: the answer has no complete tool call\n")


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ('"all\\n" until-0 tool-a | tools', "tools"),
        ('tools | "all\\n" until-0 tool-a | "more" until-0 tool-a', "tools"),
        ('"x" until-0 tool-a | tool-a | "y" until-0 tool-a | tools | "z" until-0 tool-a', "tool-a | tools"),
    ],
)
def test_options_with_prose_give_way_to_those_without(options, kept):
    rest = 'until-0 ::= | [a-z] until-0\ntool-a ::= "a"\ntools ::= tool-a+\n'
    text = f'root ::= "begin" ({options})\n{rest}'
    assert without_prose(text, "begin", lambda _: False) == f'root ::= "begin" ({kept})\n{rest}'

"""The shim's other functions: JSON schemas, grammars, memory, the system; and that nothing native prints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from native_grammar import NativeGrammar

from llamacli.binding import bridge, log
from llamacli.binding.library import library
from llamacli.engine.chat.message import Message, ToolCall, read_messages, read_tools
from llamacli.errors import ConstraintError, ModelError, UsageError

GRAMMARS = Path(__file__).parents[2] / "vendor" / "llama.cpp" / "grammars"


@pytest.fixture(autouse=True)
def silence(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever a test does, nothing comes out of the native side."""
    log.route()
    yield
    assert capfd.readouterr() == ("", "")


# --- JSON schemas of tools ------------------------------------------------------------------------------------------------


TEMPLATE = (Path(__file__).parents[2] / "vendor/llama.cpp/models/templates/Qwen-Qwen2.5-7B-Instruct.jinja").read_text()


def render_with_tool(parameters: Any) -> dict[str, Any]:
    tool = {"type": "function", "function": {"name": "f", "description": "", "parameters": parameters}}
    with bridge.Chat({"source": TEMPLATE}) as chat:
        return chat.render({"messages": [{"role": "user", "content": "x"}], "tools": [tool], "tool_choice": "required"})


def test_the_schema_of_a_tool_is_in_its_grammar() -> None:
    node = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}
    assert '"\\"next\\""' in render_with_tool({"$defs": {"node": node}, "$ref": "#/$defs/node"})["grammar"]


def test_what_is_no_json_is_a_usage_error() -> None:
    nested: list[Any] = []
    for _ in range(500):
        nested = [nested]
    for schema in (nested, {1, 2}, float("nan")):
        with pytest.raises(UsageError):
            render_with_tool(schema)


# --- grammars -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(GRAMMARS.glob("*.gbnf")), ids=lambda path: path.stem)
def test_llama_cpps_own_grammars_are_read(path: Path) -> None:
    NativeGrammar(path.read_text()).close()


# --- memory and system ----------------------------------------------------------------------------------------------------


def test_memory_grows_with_the_context(tiny_model: Path) -> None:
    lib = library()
    model, context = lib.llama_model_default_params(), lib.llama_context_default_params()
    sizes = []
    for n_ctx in (256, 4096):
        context.n_ctx = n_ctx
        document = bridge.memory(str(tiny_model).encode(), model, context)
        assert document["devices"][-1]["host"]
        assert document["n_layer"] > 0
        sizes.append(document["devices"][-1]["context"])
    assert sizes[1] >= 8 * sizes[0] > 0


def test_parameters_are_fitted(tiny_model: Path) -> None:
    lib = library()
    model, context = lib.llama_model_default_params(), lib.llama_context_default_params()
    context.n_ctx = 0
    with bridge.Fitted(str(tiny_model).encode(), model, context, margin=1 << 20, n_ctx_min=64) as fitted:
        assert fitted.description["fits"]
        assert fitted.description["n_ctx"] == context.n_ctx > 0


def test_a_missing_model_is_a_model_error(tmp_path: Path) -> None:
    lib = library()
    with pytest.raises(ModelError):
        bridge.memory(
            str(tmp_path / "none.gguf").encode(), lib.llama_model_default_params(), lib.llama_context_default_params()
        )
    with log.complaints() as complaints:
        lib.llama_sampler_free(lib.llama_sampler_init_dist(0))
    assert complaints == []  # the log goes where it went before


def test_system() -> None:
    system = bridge.system()
    devices = [device for backend in system["backends"] for device in backend["devices"]]
    assert system["commit"] == library().build["commit"]
    assert any(device["type"] == "cpu" and device["total"] > 0 for device in devices)
    assert any("CPU" in backend["name"] and backend["features"] for backend in system["backends"])


def test_an_answer_in_no_format_is_a_constraint_error() -> None:
    with pytest.raises(UsageError, match="unknown format"):
        bridge.Parser({"format": "none"})
    with bridge.Parser({"format": "Content-only"}) as parser, pytest.raises(ConstraintError, match="nested too deep"):
        parser.parse("[" * 20_000, partial=False)


# --- messages and tools ---------------------------------------------------------------------------------------------------


def test_messages_are_read() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    document = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "well"},
        {"role": "tool", "content": "2", "tool_call_id": "1", "name": "f"},
    ]
    messages = read_messages(document)
    assert messages == (
        Message("user", ("a", "b")),
        Message("assistant", None, (ToolCall("f", '{"a": 1}', "1"),), "well"),
        Message("tool", "2", tool_call_id="1", name="f"),
    )
    assert messages[0].text == "a\nb"
    assert read_messages([message.to_json() for message in messages]) == messages


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({}, "must be a list"),
        ([], "at least one"),
        (["x"], "message 1 must be an object"),
        ([{"content": "x"}], "message 1 has no role"),
        ([{"role": "user"}], "neither content nor tool calls"),
        ([{"role": "user", "content": 1}], "content must be a string or a list"),
        (
            [{"role": "user", "content": [{"type": "video"}]}],
            "only content parts of type text, image_url and input_audio are supported, not 'video'",
        ),
        ([{"role": "user", "content": "x", "name": 1}], "name must be a string"),
        ([{"role": "assistant", "tool_calls": "x"}], "tool_calls must be a list"),
        ([{"role": "assistant", "tool_calls": [{"function": {}}]}], "message 1, tool call 1 has no name"),
    ],
)
def test_bad_messages(document: Any, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_messages(document)
    assert reason in caught.value.message


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({}, "must be a list"),
        ([1], "tool 1 must be an object"),
        ([{"type": "web"}], "only tools of type function"),
        ([{"function": {"description": "x"}}], "tool 1 has no name"),
        ([{"function": {"name": "f", "parameters": []}}], "its parameters must be an object"),
        ([{"function": {"name": "f"}}, {"function": {"name": "f"}}], "same name"),
    ],
)
def test_bad_tools(document: Any, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_tools(document)
    assert reason in caught.value.message

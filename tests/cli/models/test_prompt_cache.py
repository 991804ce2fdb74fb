"""`llamacli models cache`, and the options that decide what is kept."""

from __future__ import annotations

import json

import pytest
from fakes import FakeEngine, invoke

from llamacli.backend.child.params import ChildParams
from llamacli.store.prompt_cache import BLOCK
from llamacli.store.prompt_cache.block_file import Block
from llamacli.store.prompt_cache.cache import PromptCache


def keep(model: str, start: int) -> None:
    tokens = tuple(range(start, start + BLOCK))
    PromptCache().write("f" * 64, tokens, BLOCK, lambda a, b: Block(tokens[a:b], [1], (b"x" * 1000,)), model)


def test_it_lists_what_is_kept_by_model():
    keep("one.gguf", 0)
    keep("two.gguf", 1000)
    keep("two.gguf", 2000)
    shown = invoke("models", "cache").stdout.splitlines()
    assert [line.split()[0] for line in shown] == ["MODEL", "two.gguf", "one.gguf", "all"]
    assert [line.split()[1] for line in shown[1:]] == ["256", "128", "384"]
    document = json.loads(invoke("models", "cache", "--json").stdout)
    assert [(one["id"], one["tokens"]) for one in document["data"]] == [("two.gguf", 256), ("one.gguf", 128)]
    assert int(invoke("models", "cache", "size").stdout) == sum(one["size"] for one in document["data"])


def test_it_removes_all_or_one_model():
    keep("one.gguf", 0)
    keep("two.gguf", 1000)
    assert "removed" in invoke("models", "cache", "clear", "--of", "one.gguf").stderr
    assert [one.model for one in PromptCache().kept()] == ["two.gguf"]
    assert invoke("models", "cache", "clear").status == 0
    assert (PromptCache().size(), invoke("models", "cache", "size").stdout) == (0, "0\n")
    assert invoke("models", "cache").stdout == "No evaluated prompt is kept.\n"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("clear", "--of", "x.gguf"), 3, "no prompts of x.gguf are kept"),
        (("--of", "x.gguf"), 2, "--of needs the action clear"),
        (("size", "--json"), 2, "--json needs the action list"),
        (("burn",), 2, "not one of list, size, clear"),
    ],
)
def test_mistakes_are_named(arguments, status, message):
    result = invoke("models", "cache", *arguments)
    assert (result.status, result.stdout) == (status, "")
    assert message in result.stderr


def child_of(*arguments: str, command: str = "run", **how: object) -> ChildParams:
    engine = FakeEngine()
    result = invoke(command, *arguments, engine=engine, **how)
    assert result.status == 0, result.stderr
    return engine.child


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        ((), {}, (True, None)),
        (("--no-prompt-cache",), {}, (False, None)),
        ((), {"LLAMACLI_PROMPT_CACHE": "false"}, (False, None)),
        (("--cache-size", "1.5G"), {}, (True, 3 << 29)),
        (("--cache-size", "500m"), {}, (True, 500 << 20)),
        (("--cache-size", "64 KiB"), {}, (True, 64 << 10)),
        (("--cache-size", "1000"), {"LLAMACLI_PROMPT_CACHE": "true"}, (True, 1000)),
    ],
)
def test_the_options_reach_the_engine(monkeypatch, arguments, environ, expected):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    child = child_of("Hi", *arguments)
    assert (child.prompt_cache, child.cache_size) == expected


@pytest.mark.parametrize("size", ["0", "-1", "2X", "", "G", "1e3", "0.0001"])
def test_a_size_that_is_none_is_a_usage_error(size):
    result = invoke("run", "Hi", f"--cache-size={size}")
    assert result.status == 2
    assert "is not a size such as 500M or 2G" in result.stderr or not size


def test_a_conversation_that_saves_nothing_keeps_no_prompt(tmp_path):
    script = tmp_path / "script"
    script.write_text("Hello\n")
    assert child_of("--script", str(script), command="chat").prompt_cache
    assert not child_of("--script", str(script), "--no-save", command="chat").prompt_cache

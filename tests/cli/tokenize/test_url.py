"""`tokenize --url`: the tokens of a server are those of its model here; what the server does not tell is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import Result, invoke
from odd_server import Script, odd_server, response
from pictures import image_part
from serving import LiveServer, serving, spec_of

from llamacli.backend.remote.tokenizer import _around

TEXTS = ("Hello world", "  two  spaces", "naïve café ☕", "<|im_end|> is text", "")
PROPS = {"total_slots": 1}


@pytest.fixture(scope="module")
def server(tiny_model: Path) -> Iterator[LiveServer]:
    with serving(spec_of(tiny_model, n_ctx=512)) as live:
        yield live


def here(model: Path, *arguments: str, **more: object) -> Result:
    return invoke("tokenize", *arguments, find_model=lambda *a, **k: model, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("form", [("--ids",), ("--count",), ("--ids", "--no-bos"), ("--ids", "--special"), ("--json",)])
def test_tokens_are_those_of_the_model_here(server: LiveServer, tiny_model: Path, text: str, form: tuple[str, ...]) -> None:
    there = invoke("tokenize", "--url", server.base, *form, "--", text)
    own = here(tiny_model, *form, "--", text)
    assert there.status == own.status == 0, there.stderr
    assert there.stdout.replace('"tiny"', '"tiny.gguf"') == own.stdout


def test_a_conversation_has_the_servers_template(server: LiveServer, tiny_model: Path) -> None:
    there = invoke("tokenize", "--url", server.base, "--chat", "-sys", "Be brief.", "--ids", "Hello")
    assert there.status == 0, there.stderr
    assert there.stdout == here(tiny_model, "--chat", "-sys", "Be brief.", "--ids", "Hello").stdout


def test_images_are_not_counted_by_a_server(server: LiveServer, tmp_path: Path) -> None:
    file = tmp_path / "chat.json"
    file.write_text(json.dumps([{"role": "user", "content": [image_part()]}]))
    result = invoke("tokenize", "--url", server.base, "--chat", "-f", str(file), "--count")
    assert (result.status, result.stdout) == (2, "")
    assert "a server does not tell the tokens of images and sounds (without --url" in result.stderr


def test_ids_become_text_again(server: LiveServer) -> None:
    ids = invoke("tokenize", "--url", server.base, "--ids", "--no-bos", "Hello world").stdout
    assert invoke("tokenize", "--url", server.base, "--detokenize", ids).stdout == "Hello world"


def test_lines_keep_their_errors_in_place(server: LiveServer) -> None:
    done = invoke("tokenize", "--url", server.base, "--jsonl", "-", stdin=b"one\n\xff\nthree\n")
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.status == 6
    assert ["error" in one for one in documents] == [False, True, False]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--compare", "demo"), "--compare"),
        (("--chat", "--chat-template", "chatml"), "--chat-template"),
        (("--url", "http://127.0.0.1:1"), "one --url"),
        (("--detokenize", "--special", "1"), "--special"),
    ],
)
def test_what_needs_the_vocabulary_here_is_refused(server: LiveServer, arguments: tuple[str, ...], said: str) -> None:
    done = invoke("tokenize", "--url", server.base, *arguments, "1")
    assert (done.status, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_server_without_tokens_says_so() -> None:
    with odd_server(Script()) as address:
        done = invoke("tokenize", "--url", address, "Hello")
    assert (done.status, done.stdout) == (2, "")
    assert "does not tell tokens" in done.stderr


@pytest.mark.parametrize("answer", [{}, {"tokens": 7}, {"tokens": ["x"]}, {"tokens": [-1]}, {"tokens": [{"id": 1}]}, []])
def test_anything_but_tokens_is_status_7(answer: object) -> None:
    script = Script([response(json.dumps(answer))], models={"data": [{"id": "odd"}]}, pages={"/props": PROPS})
    with odd_server(script) as address:
        done = invoke("tokenize", "--url", address, "--ids", "Hello")
    assert done.status == 7, done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("tokens", "inner", "around"),
    [([1, 5, 6, 2], [5, 6], (1, 1)), ([5, 6], [5, 6], (0, 0)), ([1], [], (0, 1)), ([1, 2], [3], (0, 0))],
)
def test_added_tokens_are_around_the_text(tokens: list[int], inner: list[int], around: tuple[int, int]) -> None:
    assert _around(tokens, inner) == around

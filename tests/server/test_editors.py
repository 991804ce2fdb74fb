"""What editors send to fill a gap: limits at the lines of an answer, and the fields of the response that they want."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from serving import LiveServer, serving, spec_of


@pytest.fixture(scope="module")
def server(tiny_model: Path) -> Iterator[LiveServer]:
    with serving(spec_of(tiny_model)) as live:
        yield live


LINES = 'root ::= "b\\n  c\\n\\td\\n\\t\\te\\nf\\ng"'


@pytest.mark.parametrize(
    ("limits", "text", "reason"),
    [
        ({}, "b\n  c\n\td\n\t\te\nf\ng", "stop"),
        ({"n_indent": 0, "t_max_predict_ms": 0}, "b\n  c\n\td\n\t\te\nf\ng", "stop"),
        ({"n_indent": 1, "t_max_predict_ms": 10**9}, "b\n  c\n\td\n\t\te\n", "length"),
        ({"n_indent": 2}, "b\n  c\n\t", "length"),
        ({"n_indent": 1, "stop": ["f\ngx"]}, "b\n  c\n\td\n\t\te\n", "length"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_ends_at_its_indentation(
    server: LiveServer, limits: dict[str, object], text: str, reason: str, stream: bool
) -> None:
    body = {"prompt": "x", "grammar": LINES, "max_tokens": 64, "temperature": 0, **limits}
    if stream:
        *chunks, _done = server.post("/v1/completions", {**body, "stream": True}).events()
        found = [chunk["choices"][0] for chunk in chunks]
    else:
        found = server.post("/v1/completions", body).json()["choices"]
    assert ("".join(choice["text"] for choice in found), found[-1]["finish_reason"]) == (text, reason)


def test_an_answer_ends_with_a_line_when_its_time_is_over(server: LiveServer) -> None:
    body = {"prompt": "x", "grammar": 'root ::= "ab\\n"{80} "c"', "max_tokens": 300, "t_max_predict_ms": 1}
    (choice,) = server.post("/v1/completions", body).json()["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["text"].endswith("b\n")
    assert len(choice["text"]) < 240


@pytest.mark.parametrize(
    ("field", "wrong"),
    [("n_indent", -1), ("n_indent", "x"), ("t_max_predict_ms", -2), ("t_max_predict_ms", 1e40), ("t_max_predict_ms", True)],
)
def test_wrong_limits_of_lines_are_named(server: LiveServer, field: str, wrong: object) -> None:
    for path, body in (("/v1/completions", {"prompt": "x"}), ("/infill", {"input_prefix": "a", "input_suffix": "b"})):
        reply = server.post(path, {**body, field: wrong})
        assert (reply.status, reply.error["param"]) == (400, field)


@pytest.fixture(scope="module")
def fim_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    marks = {"fim_pre": "<|fim_prefix|>", "fim_suf": "<|fim_suffix|>", "fim_mid": "<|fim_middle|>"}
    vocabulary = tiny.default_vocabulary(control=(*tiny.CONTROL_TOKENS, *marks.values()))
    ids = {f"tokenizer.ggml.{name}_token_id": vocabulary.tokens.index(mark) for name, mark in marks.items()}
    return tiny.tiny_model(tmp_path_factory.mktemp("models") / "fim.gguf", vocabulary=vocabulary, change=ids)


def test_infill_answers_with_the_fields_that_are_wanted(fim_model: Path) -> None:
    asked = {
        "input_prefix": "f(", "input_suffix": ")", "input_extra": [], "prompt": "x", "n_predict": 3, "stop": [], "n_indent": 2,
        "top_k": 40, "top_p": 0.9, "samplers": ["top_k", "top_p", "infill"], "stream": False, "cache_prompt": True,
        "t_max_prompt_ms": 500, "t_max_predict_ms": 1000,
    }  # fmt: skip
    with serving(spec_of(fim_model)) as server:
        whole = server.post("/infill", asked).json()
        for wanted, names in (
            (["content", "timings/prompt_n", "tokens_cached", "truncated"], None),
            (["content", "nothing", "timings/nothing", "content/deep"], ["content"]),
            ("content", ["content"]),
            ([""], []),
            ([], list(whole)),
        ):
            reply = server.post("/infill", {**asked, "response_fields": wanted}).json()
            assert list(reply) == (wanted if names is None else names)
        streamed = {**asked, "stream": True, "response_fields": ["timings/predicted_n"]}
        *_, last = server.post("/infill", streamed).events()
        assert last == {"timings/predicted_n": 3}
        assert server.post("/infill", {**asked, "response_fields": [1]}).error["param"] == "response_fields"


@pytest.mark.parametrize(("field", "taken", "refused"), [("id_slot", -1, 0), ("timings_per_token", False, True)])
def test_fields_of_llama_server_with_one_meaning_here(server: LiveServer, field: str, taken: object, refused: object) -> None:
    body = {"prompt": "x", "max_tokens": 1}
    assert server.post("/v1/completions", {**body, field: taken}).status == 200
    reply = server.post("/v1/completions", {**body, field: refused})
    assert (reply.status, reply.error["param"]) == (400, field)

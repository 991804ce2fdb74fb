"""`tokenize --chat` counts images and sounds as a model evaluates them, and says what it cannot count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import Result, invoke
from pictures import audio_part, image_part, picture, wav
from tiny_projector import write_projector
from tiny_vision import Kind, Seeing

from llamacli.cli.framework.console import Terminals
from llamacli.cli.framework.context import find_projector
from llamacli.engine.chat.message import read_messages
from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams

TEXT = {"type": "text", "text": "What is it?"}
PICTURES = [image_part("red", size=(300, 200)), TEXT, image_part("blue", size=(64, 100))]


def write(folder: Path, name: str, *parts: Any) -> str:
    path = folder / name
    path.write_text(json.dumps([{"role": "user", "content": list(parts)}]))
    return str(path)


def tokenize(seeing: Seeing, *arguments: str, kind: Kind = "qwen2vl", **options: Any) -> Result:
    found = seeing(kind, 1 if kind == "ultravox" else None)
    options = {"find_projector": lambda *_, **__: found.projector, **options}
    return invoke("tokenize", "-m", str(found.model), "--chat", *arguments, **options)


@pytest.mark.parametrize("kind", ["idefics3", "qwen2vl", "gemma3", "ultravox"])
def test_the_count_is_that_of_a_real_answer(seeing: Seeing, tmp_path: Path, kind: Kind) -> None:
    found = seeing(kind, 1 if kind == "ultravox" else None)
    parts = [audio_part(), TEXT] if kind == "ultravox" else PICTURES
    file = write(tmp_path, "chat.json", *parts)
    ids = json.loads(tokenize(seeing, "-f", file, "--ids", kind=kind).stdout)
    messages = read_messages(json.loads(Path(file).read_text()))
    with Engine(found.model, ModelParams(mmproj=str(found.projector)), ContextParams(threads=1)) as engine:
        turn = engine.chat_turn(messages)
        answer = next(one for one in engine.answer(turn, GenerationParams(max_tokens=1)) if isinstance(one, Answer))
    assert len(ids) == answer.usage.prompt_tokens
    assert [max(token, -1) for token in ids] == [max(token, -1) for token in turn.prompt.tokens]
    assert sum(token < 0 for token in ids) > 1


def test_conversations_with_and_without_images_keep_their_order(seeing: Seeing, tmp_path: Path) -> None:
    with_image, text = write(tmp_path, "a.json", image_part(), TEXT), write(tmp_path, "b.json", TEXT)
    arguments = [word for name in (text, with_image, text, with_image) for word in ("-f", name)]
    document = json.loads(tokenize(seeing, *arguments, "--count", "--json").stdout)
    assert [one["count"] for one in document["documents"]] == [19, 29, 19, 29]
    lines = "\n".join(Path(name).read_text() for name in (with_image, text))
    documents = tokenize(seeing, "--jsonl", "-", stdin=lines.encode()).stdout.splitlines()
    assert [json.loads(line)["count"] for line in documents] == [29, 19]


def test_the_projector_is_looked_for_once(seeing: Seeing, tmp_path: Path) -> None:
    asked: list[Path] = []

    def find(_app: object, path: Path, *_: object, **__: object) -> Path:
        asked.append(path)
        return seeing("qwen2vl").projector

    file = write(tmp_path, "a.json", image_part(), TEXT)
    both = json.loads(tokenize(seeing, "-f", file, "-f", file, "--count", "--json", find_projector=find).stdout)
    assert [one["count"] for one in both["documents"]] == [29, 29]
    assert len(asked) == 1


def test_json_has_an_object_for_each_embedding(seeing: Seeing, tmp_path: Path) -> None:
    document = json.loads(tokenize(seeing, "-f", write(tmp_path, "a.json", image_part(), TEXT), "--json").stdout)
    embeddings = [token for token in document["tokens"] if token["id"] < 0]
    assert len(embeddings) == 8
    assert {(token["piece"], token["special"]) for token in embeddings} == {("", True)}
    assert len({(token["start"], token["end"]) for token in embeddings}) == 1
    pieces = "".join(token["piece"] for token in document["tokens"])
    assert "<|vision_start|><|vision_end|>What is it?" in pieces
    assert document["bytes"] == len(pieces)


@pytest.mark.parametrize("width", [40, 200])
def test_a_terminal_shows_embeddings_together(seeing: Seeing, tmp_path: Path, width: int) -> None:
    file = write(tmp_path, "a.json", *PICTURES)
    result = tokenize(seeing, "-f", file, terminals=Terminals(stdin=True, stdout=True), width=width, environ={"NO_COLOR": "1"})
    assert result.stdout.count("[embedding]") == 2
    assert "247 x" in result.stdout
    assert "24 x" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= width


def test_the_most_tokens_of_an_image_are_an_option(seeing: Seeing, tmp_path: Path) -> None:
    file = write(tmp_path, "a.json", image_part(size=(600, 600)))
    whole, less = (int(tokenize(seeing, "-f", file, "--count", *more).stdout) for more in ((), ("--image-max-tokens", "100")))
    assert less < 150 < whole


@pytest.mark.parametrize(
    ("kind", "parts", "options", "words"),
    [
        ("qwen2vl", [image_part(), TEXT], {"find_projector": lambda *_, **__: None}, "takes no images (--mmproj names its"),
        ("qwen2vl", [audio_part(), TEXT], {}, "takes no sound: its projector mmproj-qwen2vl-hand.gguf has no encoder for it"),
        ("ultravox", [image_part(), TEXT], {}, "takes no images: its projector mmproj-ultravox-1.gguf has no encoder"),
        ("qwen2vl", [{"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}], {}, "is not a data URL"),
    ],
)
def test_what_is_not_taken_is_one_line(
    seeing: Seeing, tmp_path: Path, kind: Kind, parts: list[Any], options: dict[str, Any], words: str
) -> None:
    file = write(tmp_path, "a.json", *parts)
    alone = tokenize(seeing, "-f", file, "--count", kind=kind, **options)
    assert (alone.status, alone.stdout, words in alone.stderr) == (2, "", True), alone.stderr
    assert alone.stderr.count("\n") == 1
    beside = tokenize(seeing, "-f", file, "-f", write(tmp_path, "b.json", TEXT), "--count", kind=kind, **options)
    assert (beside.status, "19 " in beside.stdout) == (6, True)


@pytest.mark.parametrize(("data", "noun"), [(picture(), "an image"), (wav(), "a sound")])
def test_a_file_that_is_an_image_is_not_text(seeing: Seeing, tmp_path: Path, data: bytes, noun: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(data)
    result = tokenize(seeing, "-f", str(path), "--count")
    assert (result.status, result.stdout) == (2, "")
    assert f"x is {noun}, not text (llamacli run -f {path} --dry-run" in result.stderr


@pytest.mark.parametrize("mmproj", ["wide", "none"])
def test_a_projector_that_does_not_exist_or_fit_is_refused(seeing: Seeing, tmp_path: Path, mmproj: str) -> None:
    wrong = tmp_path / "mmproj.gguf"
    if mmproj == "wide":
        write_projector(wrong, width=96)
    result = tokenize(
        seeing, "-f", write(tmp_path, "a.json", image_part()), "--mmproj", str(wrong), find_projector=find_projector
    )
    assert (result.status, result.stdout) == (3, "")
    assert ("mmproj.gguf makes embeddings of 96 values, and" if mmproj == "wide" else "file not found") in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["Hello", "--mmproj", "x.gguf"], "--mmproj needs --chat"),
        (["Hello", "--chat", "--url", "http://localhost:9", "--mmproj", "x.gguf"], "--mmproj cannot be used with --url"),
    ],
)
def test_a_projector_without_use_is_refused(arguments: list[str], words: str) -> None:
    result = invoke("tokenize", *arguments)
    assert (result.status, words in result.stderr) == (2, True)

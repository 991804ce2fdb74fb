"""Images and sounds of `run`: where they come from, the projector that they need, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes import Result, invoke
from pictures import data_url, image_part, picture, wav
from tiny_projector import projector_metadata, write_projector
from tiny_vision import COLOURS, vision_model

from llamacli.cli.framework.context import find_model, find_projector, open_engine


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with a picture, a sound, a text and a projector."""
    monkeypatch.chdir(tmp_path)
    Path("red.png").write_bytes(picture("red"))
    Path("blue.jpg").write_bytes(picture("blue", name="JPEG"))
    Path("a.wav").write_bytes(wav())
    Path("notes.txt").write_text("Notes.")
    Path("rows.jsonl").write_text("{}\n")
    write_projector(Path("mmproj.gguf"))
    return tmp_path


def run(*arguments: str, **options: Any) -> Result:
    """Run with a model whose projector takes images."""
    return invoke("run", *arguments, **{"find_projector": lambda *_, **__: Path("mmproj.gguf"), **options})


def kinds(result: Result, message: int = 0) -> list[str]:
    assert result.status == 0, result.stderr
    assert result.engine.messages is not None
    return [part["type"] for part in result.engine.messages[message]["content"]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-f", "red.png", "What?"], ["image_url", "text"]),
        (["--image", "red.png", "--image", "blue.jpg", "What?"], ["image_url", "image_url", "text"]),
        (["-f", "notes.txt", "-f", "red.png", "What?"], ["image_url", "text"]),
    ],
)
def test_images_go_before_the_text(folder, arguments, expected):
    result = run(*arguments)
    assert kinds(result) == expected
    assert result.engine.model.mmproj == "mmproj.gguf"


def test_files_that_are_texts_stay_in_the_prompt(folder):
    result = run("-f", "notes.txt", "-f", "red.png", "What?", "--image-max-tokens", "64")
    assert result.engine.messages[0]["content"][1]["text"] == "Notes.\n\nWhat?"
    assert result.engine.model.image_max_tokens == 64


def test_standard_input_is_an_image(folder):
    assert kinds(run("--image", "-", "What?", stdin=picture())) == ["image_url", "text"]
    result = run("--image", "-", "--image", "-", "What?", stdin=picture())
    assert (result.status, "only one image or sound" in result.stderr) == (2, True)
    result = run("--image", "-", "-f", "-", "What?", stdin=picture())
    assert (result.status, "standard input can be read only once" in result.stderr) == (2, True)
    assert run("--image", "-", "What?", stdin=b"").status == 3


def test_messages_have_images(folder):
    messages = [{"role": "user", "content": [{"type": "text", "text": "What?"}, image_part()]}]
    Path("chat.json").write_text(json.dumps(messages))
    assert kinds(run("--messages", "chat.json")) == ["text", "image_url"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--image", "none.png", "x"], 2, "none.png does not exist"),
        (["--image", "notes.txt", "x"], 3, "notes.txt is not a picture that can be read"),
        (["--image", "a.wav", "x"], 3, "a.wav is a sound"),
        (["--raw", "--image", "red.png", "x"], 2, "images and sounds need a chat template"),
        (["--image", "red.png"], 2, "the prompt is missing"),
        (["--input", "rows.jsonl", "--image", "red.png"], 2, "--image cannot be used with --input"),
        (["--audio", "a.wav", "x"], 2, "demo.gguf takes no sound: its projector mmproj.gguf has no encoder for it"),
    ],
)
def test_what_cannot_be_is_one_line(folder, arguments, status, words):
    result = run(*arguments)
    assert (result.status, words in result.stderr) == (status, True), result.stderr
    assert result.stderr.count("\n") == 1
    assert result.engine.path is None  # nothing was loaded


def test_a_model_that_takes_no_images_says_so_before_it_is_loaded(folder):
    result = run("-f", "red.png", "What?", find_projector=lambda *_, **__: None)
    assert result.status == 2
    assert "demo.gguf takes no images (--mmproj names its projector)" in result.stderr
    assert result.engine.path is None
    assert "--no-mmproj leaves" in run("-f", "red.png", "What?", "--no-mmproj").stderr


def test_text_alone_loads_no_projector(folder):
    assert run("Hi").engine.model.mmproj is None
    assert run("Hi", "--mmproj", "mmproj.gguf").engine.model.mmproj == "mmproj.gguf"


def test_a_repository_is_asked_for_the_projector_of_an_image_only(folder):
    asked = []

    def find(app: Any, path: Path, reference: str | None, **options: Any) -> Path:
        asked.append(options["wanted"])
        return Path("mmproj.gguf")

    run("--image", "red.png", "x", find_projector=find)
    run("x", "--mmproj", "mmproj.gguf", find_projector=find)
    assert asked == [True, False]


def test_sounds_have_the_rate_that_the_projector_wants(folder):
    pytest.importorskip("soundfile")
    write_projector(Path("mmproj.gguf"), projector_metadata("audio", "mimo_audio"))
    result = run("-f", "a.wav", "x")
    assert kinds(result) == ["input_audio", "text"]


def test_an_image_follows_an_answer_in_the_log(folder):
    """Its projector is that of the model of the log, and an image in the log needs it, too."""
    asked = []

    def find(app: Any, path: Path, reference: str | None, **options: Any) -> Path:
        asked.append(path.name)
        return Path("mmproj.gguf")

    assert run("Hi", "--log", "-m", "other.gguf").status == 0
    assert kinds(run("-C", "-f", "red.png", "--log", "What?", find_projector=find), 2) == ["image_url", "text"]
    assert run("-C", "And now?", "--image-max-tokens", "64", find_projector=find).engine.model.image_max_tokens == 64
    assert asked == ["other.gguf", "other.gguf"]


def real(folder: Path, *arguments: str, **options: Any) -> Result:
    """Run a real model that sees, in a child."""
    model = vision_model(folder).model
    found = {"open_engine": open_engine, "find_model": find_model, "find_projector": find_projector}
    return invoke("run", "-m", str(model), "--temp", "0", "-n", "3", *arguments, **found, **options)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["-f", "red.png", "x"], "images"), (["--image", "red.png", "x"], "images"), (["-f", "a.wav", "x"], "sound"),
        (["--messages", "chat.json"], "images"), (["--messages", "chat.json", "--dry-run"], "images"),
        (["--input", "rows.csv", "--template", "{image} {word}"], "images"),
        (["--input", "rows.csv", "--template", "{image} {word}", "--image-max-tokens", "64"], "images"),
        (["--input", "rows.csv", "--template", "{word}: {audio}"], "sound"),
    ],
)  # fmt: skip
def test_a_model_of_text_refuses_each_form_before_it_is_loaded(folder, arguments, word):
    messages = [{"role": "user", "content": [{"type": "text", "text": "What?"}, image_part()]}]
    Path("chat.json").write_text(json.dumps(messages))
    Path("rows.csv").write_text("image,audio,word\nred.png,a.wav,one\n")
    result = run(*arguments, find_projector=lambda *_, **__: None)
    assert (result.status, result.stdout, result.engine.path) == (2, "", None)
    assert result.stderr == f"llamacli: error: demo.gguf takes no {word} (--mmproj names its projector)\n"


def test_rows_of_a_model_of_text_fail_alone(folder):
    rows = [{"prompt": "Hi"}, {"messages": [{"role": "user", "content": [image_part()]}]}]
    model = vision_model(folder).model
    result = invoke(
        "run", "-m", str(model), "--no-mmproj", "-n", "1", "--input", "-", stdin="\n".join(map(json.dumps, rows)).encode(),
        open_engine=open_engine, find_model=find_model, find_projector=find_projector,
    )  # fmt: skip
    good, bad = (json.loads(line) for line in result.stdout.splitlines())
    assert (result.status, "text" in good) == (6, True)
    assert bad["error"]["message"].startswith("this model takes no images")


def test_a_picture_stays_when_the_context_is_shifted(folder):
    model = vision_model(folder, "qwen2vl").model
    found = {"open_engine": open_engine, "find_model": find_model, "find_projector": find_projector}
    arguments = ["--image", "red.png", "What?", "-c", "80", "--context-shift", "--ignore-eos", "-n", "90"]
    result = invoke("run", "-m", str(model), *arguments, **found)
    assert result.status == 4
    assert "fill the context of 80; nothing old can be dropped (-c makes it larger, -n ends the answer" in result.stderr
    shifted = real(folder, *arguments)
    assert (shifted.status, shifted.stdout.count("red")) == (0, 90)


def test_rows_name_images(folder):
    Path("rows.csv").write_text(f'image,word\nred.png,one\nnone.png,two\n"{data_url("blue")}",three\n')
    result = real(folder, "--input", "rows.csv", "--template", "{image} Is it {word}?")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.status == 6
    assert lines[1]["error"]["message"].startswith("none.png does not exist")
    assert [line.get("text", "").strip() for line in lines] == ["red", "", "blue"]


def test_rows_have_parts(folder):
    messages = [{"role": "user", "content": [image_part("green"), {"type": "text", "text": "What?"}]}]
    result = real(folder, "--input", "-", stdin=json.dumps({"messages": messages}).encode())
    assert (result.status, json.loads(result.stdout)["text"].strip()) == (0, "green"), result.stderr


def test_the_answer_depends_on_the_picture(folder):
    for color in COLOURS[:2]:
        Path("x.webp").write_bytes(picture(color, (40, 30), "WEBP"))
        result = real(folder, "-f", "x.webp", "What is it?")
        assert (result.status, result.stdout.strip()) == (0, color), result.stderr

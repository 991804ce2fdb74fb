"""Images that go to a server: in a prompt, in rows and in a conversation, and what a server's model does not take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import Result, invoke
from pictures import picture, wav
from serving import LiveServer, serving, spec_of
from talk import talk
from tiny_vision import vision_model


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, LiveServer]]:
    """One whose model sees, and one whose model reads text only."""
    found = vision_model(tmp_path_factory.mktemp("seeing"))
    seeing = spec_of(found.model, name="seeing", find_projector=lambda path: found.projector)
    with serving(seeing) as one, serving(spec_of(found.model, name="blind")) as other:
        yield one, other


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for color in ("red", "blue"):
        Path(f"{color}.png").write_bytes(picture(color))
    Path("a.wav").write_bytes(wav())
    Path("rows.csv").write_text("image,word\nred.png,one\nblue.png,two\nnone.png,three\n")
    return tmp_path


def run(server: LiveServer, *arguments: str) -> Result:
    return invoke("run", "--url", server.base, "--temp", "0", "-n", "3", *arguments)


def test_a_prompt(servers: tuple[LiveServer, LiveServer], folder: Path) -> None:
    for color in ("red", "blue"):
        result = run(servers[0], "-f", f"{color}.png", "What?")
        assert (result.status, result.stdout.strip()) == (0, color), result.stderr


def test_rows(servers: tuple[LiveServer, LiveServer], folder: Path) -> None:
    result = run(servers[0], "--input", "rows.csv", "--template", "{image} Is it {word}?")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert (result.status, [line.get("text", "").strip() for line in lines]) == (6, ["red", "blue", ""])
    assert lines[2]["error"]["message"].startswith("none.png does not exist")


def test_a_conversation(servers: tuple[LiveServer, LiveServer], folder: Path) -> None:
    result = talk("/image red.png\rWhat?\r", "--url", servers[0].base, "--temp", "0", "-n", "3")
    assert "red.png: image, 8 x 4, sent with the next message" in " ".join((result.stdout + result.stderr).split())
    assert "red" in result.stdout.splitlines()


@pytest.mark.parametrize(
    ("number", "arguments", "words"),
    [
        (0, ["-f", "a.wav", "x"], "has a model that takes no sound"),
        (1, ["-f", "red.png", "x"], "has a model that takes no images"),
        (0, ["--raw", "--image", "red.png", "x"], "images and sounds need a chat template: --raw"),
        (0, ["-f", "red.png", "x", "--dry-run"], "--dry-run cannot be used with --url"),
    ],
)
def test_what_cannot_be_is_one_line(
    servers: tuple[LiveServer, LiveServer], folder: Path, number: int, arguments: list[str], words: str
) -> None:
    result = run(servers[number], *arguments)
    assert (result.status, result.stdout, words in result.stderr) == (2, "", True), result.stderr
    assert result.stderr.count("\n") == 1


def test_a_conversation_with_a_model_of_text(servers: tuple[LiveServer, LiveServer], folder: Path) -> None:
    result = talk("/image red.png\rHi\r", "--url", servers[1].base, "--temp", "0", "-n", "3")
    shown = " ".join((result.stdout + result.stderr).split())
    assert shown.count("has a model that takes no images") == 1

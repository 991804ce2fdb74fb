"""Images in a conversation: attached by commands, by -f, and by a file that is dropped on the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pictures import picture
from talk import Talker, talk
from tiny_projector import write_projector

from llamacli.errors import UsageError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("red.png").write_bytes(picture("red"))
    Path("a b.webp").write_bytes(picture("blue", name="WEBP"))
    Path("notes.txt").write_text("Notes.")
    return tmp_path


def types(engine: Talker, number: int = 0) -> list[str]:
    content = engine.asked[number][-1][1]
    return [part["type"] for part in content] if isinstance(content, list) else ["text"]


@pytest.mark.parametrize(
    "keys",
    ["/image red.png\rWhat?\rMore\r", "/file red.png\rWhat?\rMore\r", "{folder}/red.png\rWhat?\rMore\r",
     "'{folder}/red.png' \rWhat?\rMore\r", "file://{folder}/red.png\rWhat?\rMore\r"],
)  # fmt: skip
def test_an_image_goes_with_the_next_message(folder, keys):
    engine = Talker()
    result = talk(keys.format(folder=folder), engine=engine)
    assert result.status == 0, result.stderr
    assert types(engine) == ["image_url", "text"]
    assert engine.asked[0][0][1][1]["text"] == "What?"
    assert types(engine, 1) == ["text"]
    shown = " ".join((result.stdout + result.stderr).split())
    assert "red.png: image, 8 x 4, 0 tokens, sent with the next message" in shown


def test_a_name_with_spaces_is_one_file():
    engine = Talker()
    talk("/image a b.webp\rWhat?\r", engine=engine)
    assert types(engine) == ["image_url", "text"]


def test_an_image_of_the_command_line_goes_with_the_first_message():
    engine, projector = Talker(), write_projector(Path("mmproj.gguf"))
    talk("", "-f", "red.png", "-f", "notes.txt", "What?", engine=engine, find_projector=lambda *_, **__: projector)
    assert types(engine) == ["image_url", "text"]
    assert engine.asked[0][0][1][1]["text"] == "Notes.\n\nWhat?"


@pytest.mark.parametrize(
    ("keys", "words"),
    [("/image\r", "/image needs a path"), ("/image none.png\r", "none.png does not exist"),
     ("/image notes.txt\r", "notes.txt is not a picture"), ("/audio red.png\r", "red.png is a picture")],
)  # fmt: skip
def test_what_cannot_be_attached_is_one_line(keys, words):
    result = talk(keys)
    assert words in result.stdout + result.stderr


def test_none_takes_images_back():
    engine = Talker()
    talk("/image red.png\r/file none\rWhat?\r", engine=engine)
    assert types(engine) == ["text"]


@pytest.mark.parametrize("keys", ["/image red.png", "/file red.png", "{folder}/red.png"])
def test_a_model_that_takes_none_says_so_and_goes_on(folder, monkeypatch, keys):
    engine = Talker()
    whole = engine.chat_turn

    def refuse(messages, *arguments, **options):
        if any(message.media for message in messages):
            raise UsageError("this model takes no images", hint="mmproj names its projector", parameter="mmproj")
        return whole(messages, *arguments, **options)

    monkeypatch.setattr(engine, "chat_turn", refuse)
    result = talk(keys.format(folder=folder) + "\rHi\r", engine=engine)
    shown = " ".join((result.stdout + result.stderr).split())
    assert shown.count("this model takes no images (--mmproj names its projector)") == 1
    assert [content for _, content in engine.asked[0]] == ["Hi"]


def test_a_model_of_text_refuses_an_image_of_the_command_line_before_it_is_loaded():
    result = talk("", "-f", "red.png", "What?")
    assert (result.status, result.engine.path) == (2, None)
    assert "demo.gguf takes no images (--mmproj names its projector)" in result.stderr


def test_another_model_takes_back_what_it_does_not_take():
    engine = Talker()
    result = talk("/image red.png\rWhat?\r/image red.png\r/model other\rHi\r", engine=engine)
    shown = " ".join((result.stdout + result.stderr).split())
    assert "red.png is not sent: other takes no images" in shown
    assert "the conversation has images, which other does not take: /clear begins without, /model goes back" in shown
    assert engine.asked[1][-1] == ("user", "Hi")


def test_a_session_keeps_its_images(folder):
    talk("/image red.png\rWhat?\r", "--session", "x", engine=Talker())
    engine = Talker()
    talk("And now?\r", "--session", "x", engine=engine)
    content = engine.asked[0][0][1]
    assert [part["type"] for part in content] == ["image_url", "text"]
    assert "red.png" not in json.dumps(content)


def test_a_terminal_that_can_shows_a_thumbnail():
    shown = talk("/image red.png\r", environ={"TERM": "xterm-kitty"}).stdout
    assert "\x1b_Ga=T," in shown
    assert "\x1b_G" not in talk("/image red.png\r", "--thumbnails", "off", environ={"TERM": "xterm-kitty"}).stdout

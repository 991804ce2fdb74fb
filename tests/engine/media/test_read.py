"""Parts of messages that are pictures and sounds: decoded, or refused in one line that names the message."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pictures import audio_part, data_url, image_part, picture, wav

from llamacli.engine.chat.message import Message, read_messages
from llamacli.engine.media.media import new_image
from llamacli.engine.media.read import read_media
from llamacli.errors import LlamacliError, MediaError, UsageError

RED = new_image(8, 4, b"\xff\0\0" * 32)


def content(*parts: Any) -> Any:
    return read_messages([{"role": "user", "content": list(parts)}])[0].content


def test_images_are_parts_of_a_message() -> None:
    text = {"type": "text", "text": "What is it?"}
    assert content(image_part(), text, image_part()) == (RED, "What is it?", RED)
    assert content({"type": "image_url", "image_url": data_url()}) == (RED,)
    assert content({"type": "image_url", "image_url": {"url": f"data:;base64,{data_url().partition(',')[2]}"}}) == (RED,)
    message = Message("user", (RED, "What is it?"))
    assert read_messages([message.to_json()]) == (message,)


def test_sounds_are_parts_of_a_message() -> None:
    pytest.importorskip("soundfile")
    (sound,) = content(audio_part())
    assert (sound.kind, sound.rate, sound.seconds) == ("audio", 16_000, 0.01)
    assert read_messages([Message("user", (sound,)).to_json()])[0].content == (sound,)
    assert read_media(wav(0.5), "a.wav", rate=24_000).seconds == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ({"type": "image_url"}, "message 1: image_url must have a url"),
        ({"type": "image_url", "image_url": {"url": "http://x/y.png"}},
         "message 1: image_url is not a data URL with base64 (send the image as data:image/png;base64,…; addresses of other"),
        ({"type": "image_url", "image_url": "file:///etc/passwd"}, "message 1: image_url is not a data URL with base64"),
        ({"type": "image_url", "image_url": "data:image/png,abc"}, "message 1: image_url is not a data URL with base64"),
        ({"type": "image_url", "image_url": "data:image/png;base64,a?"}, "message 1: image_url is not base64"),
        ({"type": "image_url", "image_url": "data:image/png;base64,AAAA"}, "message 1: the image is not a picture"),
        ({"type": "input_audio"}, "message 1: input_audio must have data in base64"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "aac"}},
         "message 1: input_audio has the unknown format 'aac'; known are wav, mp3, flac, ogg"),
        ({"type": "input_audio", "input_audio": {"data": "AAAA"}}, "message 1: the sound is not a sound"),
        ({"type": "video"}, "message 1: only content parts of type text, image_url and input_audio are supported, not 'video'"),
        ("text", "message 1: only content parts of type"),
    ],
)  # fmt: skip
def test_other_parts_are_refused(part: Any, error: str) -> None:
    with pytest.raises(LlamacliError) as caught:
        content(part)
    assert str(caught.value).startswith(error)
    assert isinstance(caught.value, UsageError | MediaError)


def test_a_file_is_what_its_content_says() -> None:
    assert read_media(picture(name="WEBP"), "a.txt").kind == "image"
    with pytest.raises(MediaError, match=r"a\.png is neither a picture nor a sound"):
        read_media(b"Hello", "a.png")
    with pytest.raises(MediaError, match=r"a\.wav is a picture"):
        read_media(picture(), "a.wav", "audio")


def test_metadata_and_names_stay_behind() -> None:
    part = content({"type": "image_url", "image_url": {"url": data_url(), "detail": "secret.png"}})[0]
    data = base64.b64decode(part.to_json()["image_url"]["url"].partition(",")[2])
    assert part == RED
    assert b"secret" not in data

"""Pictures and sounds as values: their identity, their files, and messages that carry them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
import tiny
from PIL import Image

from llamacli.backend.child.wire.codec import decode, encode
from llamacli.engine.chat.message import Message
from llamacli.engine.media.media import Media, new_image, new_sound, png, wav
from llamacli.errors import UsageError
from llamacli.gguf.analysis.projector import Encoder, read_projector
from llamacli.gguf.model import read_file_header

PIXELS = bytes(range(18))


def test_id_knows_every_pixel_and_the_shape() -> None:
    image = new_image(3, 2, PIXELS)
    others = [new_image(2, 3, PIXELS), new_image(3, 2, PIXELS[::-1]), new_sound(16000, bytes(20)), new_sound(8000, bytes(20))]
    assert image == new_image(3, 2, bytes(PIXELS))
    assert image.id == new_image(3, 2, PIXELS).id
    assert len({one.id for one in (image, *others)}) == 5


@pytest.mark.parametrize(
    ("width", "height", "size"), [(0, 1, 0), (1, 0, 0), (-1, -1, 3), (2, 2, 11), (2, 2, 13)], ids=lambda value: str(value)
)
def test_wrong_sizes_are_refused(width: int, height: int, size: int) -> None:
    with pytest.raises(UsageError, match="bytes"):
        new_image(width, height, bytes(size))


@pytest.mark.parametrize(("rate", "size"), [(0, 4), (16000, 0), (16000, 5)])
def test_wrong_sounds_are_refused(rate: int, size: int) -> None:
    with pytest.raises(UsageError, match="not a sound"):
        new_sound(rate, bytes(size))


def test_png_has_the_pixels() -> None:
    with Image.open(io.BytesIO(png(new_image(3, 2, PIXELS)))) as image:
        assert (image.format, image.mode, image.size, image.tobytes()) == ("PNG", "RGB", (3, 2), PIXELS)


def test_wav_has_the_samples() -> None:
    samples = bytes(range(16))
    file = wav(new_sound(16000, samples))
    assert file[:4] == b"RIFF"
    assert int.from_bytes(file[4:8], "little") == len(file) - 8
    assert file.endswith(b"data\x10\0\0\0" + samples)


def test_message_with_a_picture() -> None:
    image = new_image(3, 2, PIXELS)
    message = Message("user", ("What is", image, "this?"))
    assert (message.text, message.media) == ("What is\nthis?", (image,))
    first, picture, last = message.to_json()["content"]
    assert (first["text"], last["text"]) == ("What is", "this?")
    assert base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,")) == png(image)
    assert "PIXELS" not in repr(message)
    assert len(repr(message)) < 300


def test_pixels_do_not_travel_with_messages() -> None:
    message = Message("user", (new_image(3, 2, PIXELS), "What?"))
    received = decode(encode(message), Message)
    assert received == message
    assert received.media[0].data == b""
    assert received.media[0].size == len(PIXELS)
    assert isinstance(received.media[0], Media)


PROJECTOR: dict[str, Any] = {
    "general.architecture": "clip",
    "clip.has_vision_encoder": True,
    "clip.projector_type": "idefics3",
    "clip.vision.image_size": 32,
    "clip.vision.patch_size": 8,
    "clip.vision.projection_dim": 7,
}


def test_projector_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mmproj.gguf"
    path.write_bytes(tiny.gguf_bytes(PROJECTOR, [tiny.Tensor("mm.model.fc.weight", (8, 64), bytes(4 * 8 * 64))]))
    projector = read_projector(read_file_header(path))
    assert projector is not None
    assert projector.audio is None
    assert projector.image == Encoder(type="idefics3", width=64, image_size=32, patch_size=8)


def test_width_is_stated_if_no_tensor_shows_it(tmp_path: Path) -> None:
    path = tmp_path / "mmproj.gguf"
    path.write_bytes(tiny.gguf_bytes(PROJECTOR, []))
    projector = read_projector(read_file_header(path))
    assert projector is not None
    assert projector.image is not None
    assert projector.image.width == 7

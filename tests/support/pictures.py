"""Small pictures and sounds as files, and as parts of messages."""

from __future__ import annotations

import base64
import io
import struct
from typing import Any

from PIL import Image


def picture(color: str = "red", size: tuple[int, int] = (8, 4), name: str = "PNG") -> bytes:
    """A picture of one colour as a file."""
    data = io.BytesIO()
    Image.new("RGB", size, color).save(data, name)
    return data.getvalue()


def data_url(color: str = "red", **options: Any) -> str:
    """The same as a data URL."""
    return f"data:image/png;base64,{base64.b64encode(picture(color, **options)).decode()}"


def image_part(color: str = "red", **options: Any) -> dict[str, Any]:
    """The same as a part of a message in OpenAI's format."""
    return {"type": "image_url", "image_url": {"url": data_url(color, **options), "detail": "auto"}}


def wav(seconds: float = 0.01, rate: int = 16_000) -> bytes:
    """A sound of silence as a WAV file."""
    samples = bytes(2 * int(seconds * rate))
    form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body)) + body


def audio_part() -> dict[str, Any]:
    """The same as a part of a message in OpenAI's format."""
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav()).decode(), "format": "wav"}}

"""A picture or a sound as a prompt carries it: decoded, without its file's name and metadata."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from llamacli.errors import UsageError
from llamacli.values import dataclass

MediaKind = Literal["image", "audio"]

NOUNS: dict[MediaKind, str] = {"image": "images", "audio": "sound"}
"""What a model takes or does not take, in words."""

NOUN: dict[MediaKind, str] = {"image": "picture", "audio": "sound"}
"""One of a kind, in words."""

MOST_BYTES = 300_000_000
"""Bytes of pixels or samples: a picture of 100 megapixels."""

_QUICK = 1
"""The level of zlib: pixels of photographs hardly get smaller at higher ones."""


class MediaData:
    """Pixels or samples. They stay behind when their `Media` goes to another process, which gets them on their own."""

    __slots__ = ("data",)

    def __init__(self, data: bytes = b"") -> None:
        self.data = data


@dataclass(frozen=True, slots=True)
class Media:
    """A picture (`image`) or a sound (`audio`). `new_image` and `new_sound` make one.

    `id` is a SHA-256 of everything, by which caches know it: two with one id are equal. Without data it stands for one that the
    reader has already.
    """

    kind: MediaKind
    id: str
    content: MediaData = field(repr=False, compare=False)
    width: int = 0
    height: int = 0
    rate: int = 0
    samples: int = 0

    @property
    def data(self) -> bytes:
        """The rows of a picture from the top, three bytes (red, green, blue) for each pixel, or the samples of a sound.

        These are 32-bit little-endian floats of one channel, `samples` of them, `rate` a second.
        """
        return self.content.data

    @property
    def size(self) -> int:
        """Bytes of the data, even without them."""
        return 3 * self.width * self.height if self.kind == "image" else 4 * self.samples

    @property
    def seconds(self) -> float:
        """The duration of a sound."""
        return self.samples / self.rate if self.rate else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return it as a part of a message in OpenAI's format: a picture as PNG, a sound as WAV, both without loss."""
        import base64

        if self.kind == "image":
            url = f"data:image/png;base64,{base64.b64encode(png(self)).decode()}"
            return {"type": "image_url", "image_url": {"url": url}}
        return {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav(self)).decode(), "format": "wav"}}


def new_image(width: int, height: int, pixels: bytes) -> Media:
    """Return a picture of these pixels.

    Raises:
        UsageError: if there is no pixel, or another number of bytes than three for each.
    """
    if width < 1 or height < 1 or len(pixels) != 3 * width * height:
        raise UsageError(f"a picture of {width} x {height} pixels has {3 * width * height} bytes, not {len(pixels)}")
    return Media("image", _identity("image", pixels, width, height), _bounded(pixels), width=width, height=height)


def new_sound(rate: int, samples: bytes) -> Media:
    """Return a sound of these samples.

    Raises:
        UsageError: if there is no sample, or part of one.
    """
    if rate < 1 or not samples or len(samples) % 4:
        raise UsageError(f"{len(samples)} bytes at {rate} Hz are not a sound of 32-bit samples")
    return Media("audio", _identity("audio", samples, rate), _bounded(samples), rate=rate, samples=len(samples) // 4)


def _bounded(data: bytes) -> MediaData:
    if len(data) > MOST_BYTES:
        raise UsageError(f"a picture or sound of {len(data)} bytes is larger than the {MOST_BYTES} that the engine takes")
    return MediaData(data)


def _identity(kind: MediaKind, data: bytes, *numbers: int) -> str:
    import hashlib  # most prompts have text only

    digest = hashlib.sha256(f"{kind} {' '.join(map(str, numbers))}\n".encode())
    digest.update(data)
    return digest.hexdigest()


def png(image: Media) -> bytes:
    """Return a picture as a PNG file, which has nothing but its pixels (https://www.w3.org/TR/png)."""
    import struct
    import zlib

    row = 3 * image.width
    rows = b"".join(b"\0" + image.data[start : start + row] for start in range(0, len(image.data), row))
    head = struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(rows, _QUICK)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def wav(sound: Media) -> bytes:
    """Return a sound as a WAV file of floating-point samples."""
    import struct

    form = struct.pack("<HHIIHHH", 3, 1, sound.rate, 4 * sound.rate, 4, 32, 0)
    fact = struct.pack("<I", len(sound.data) // 4)
    body = b"".join(
        name + struct.pack("<I", len(data)) + data for name, data in ((b"fmt ", form), (b"fact", fact), (b"data", sound.data))
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body

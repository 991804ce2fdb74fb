"""Pictures and sounds from files and from parts of messages, decoded: their names and metadata go no further."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

from llamacli.engine.media.media import Media, new_image, new_sound
from llamacli.errors import MediaError, UsageError
from llamacli.gguf.analysis.projector import SOUND_RATE
from llamacli.media.decoder import current_decoder
from llamacli.media.kind import HEAD_BYTES, READABLE, MediaKind, describe_unreadable, kind_of

MOST_FILE_BYTES = 1 << 28
"""Bytes of a file that is decoded, at most."""

_BASE64_BLOCK = 1 << 18

_DATA_URL = re.compile(r"data:[\w.+-]*/?[\w.+-]*(?:;[\w.+-]+=[\w.+-]*)*;base64,", re.IGNORECASE)
_FORMATS = ("wav", "mp3", "flac", "ogg")


def read_media(data: bytes, name: str, kind: MediaKind | None = None, *, rate: int = SOUND_RATE) -> Media:
    """Return the picture or sound that the bytes of a file are; its content says what it is unless `kind` does.

    `name` begins the error messages. A sound is converted to `rate` samples a second.

    Raises:
        MediaError: if it is not a picture or sound, or is damaged, too large or made to do harm.
        UsageError: if the package that decodes it is not installed.
    """
    if len(data) > MOST_FILE_BYTES:
        raise MediaError(f"{name} is larger than {MOST_FILE_BYTES >> 20} MiB")
    head = data[:HEAD_BYTES]
    found = kind or kind_of(head)
    if found == "image":
        picture = current_decoder().picture(data, name)
        return new_image(picture.width, picture.height, picture.pixels)
    if found == "audio":
        sound = current_decoder().sound(data, rate, name)
        return new_sound(sound.rate, sound.samples)
    what = describe_unreadable(head) or "neither a picture nor a sound"
    raise MediaError(f"{name} is {what}", hint=f"{READABLE['image']} are read, and {READABLE['audio']}")


def read_part(part: Mapping[str, Any], subject: str) -> Media:
    """Return the picture or sound of a part of a message: `image_url` with a data URL, or `input_audio`.

    Raises:
        MediaError, UsageError: as `read_media`.
        UsageError: if the part has another form. Addresses of other machines are not fetched.
    """
    if part.get("type") == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, Mapping) else image
        if not isinstance(url, str):
            raise UsageError(f"{subject}: image_url must have a url")
        return read_media(decode_data_url(url, f"{subject}: image_url"), f"{subject}: the image", "image")
    sound = part.get("input_audio")
    if not isinstance(sound, Mapping) or not isinstance(sound.get("data"), str):
        raise UsageError(f"{subject}: input_audio must have data in base64")
    if sound.get("format", "wav") not in _FORMATS:
        raise UsageError(f"{subject}: input_audio has the unknown format {sound['format']!r}; known are {', '.join(_FORMATS)}")
    return read_media(decode_base64(sound["data"], f"{subject}: input_audio"), f"{subject}: the sound", "audio")


def decode_data_url(url: str, subject: str) -> bytes:
    """Return the bytes of a data URL. Raises UsageError if it is another URL, or not base64."""
    begin = _DATA_URL.match(url)
    if begin is None:
        hint = "send the image as data:image/png;base64,…; addresses of other machines are not fetched"
        raise UsageError(f"{subject} is not a data URL with base64", hint=hint)
    return decode_base64(url[begin.end() :], subject)


def decode_base64(text: str, subject: str) -> bytes:
    """Return the bytes of base64 text, with line breaks or without. Raises UsageError if it is not base64."""
    if len(text) > MOST_FILE_BYTES // 3 * 4:
        raise MediaError(f"{subject} is larger than {MOST_FILE_BYTES >> 20} MiB")
    try:
        return b"".join(_decoded_blocks("".join(text.split())))
    except (binascii.Error, ValueError) as error:
        raise UsageError(f"{subject} is not base64") from error


def _decoded_blocks(text: str) -> Iterator[bytes]:
    """Yield what base64 text stands for, in blocks between which other threads run. Raises ValueError if it is not base64."""
    for start in range(0, len(text), _BASE64_BLOCK):
        block = text[start : start + _BASE64_BLOCK]
        if block.endswith("=") and start + _BASE64_BLOCK < len(text):
            raise ValueError("text follows the padding")
        yield base64.b64decode(block, validate=True)

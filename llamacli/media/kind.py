"""Recognition of pictures and sounds by their first bytes; the names of files do not count."""

from __future__ import annotations

import re
from typing import Literal

from llamacli.errors import MediaError

MediaKind = Literal["image", "audio"]

HEAD_BYTES = 64
"""Bytes from the beginning of a file that suffice to recognize it."""

_SIGNATURES: tuple[tuple[MediaKind, str, re.Pattern[bytes]], ...] = (
    ("image", "PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("image", "JPEG", re.compile(rb"\xff\xd8\xff")),
    ("image", "WEBP", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("image", "GIF", re.compile(rb"GIF8[79]a")),
    ("image", "BMP", re.compile(rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL)),
    ("image", "TIFF", re.compile(rb"II[*+]\0|MM\0[*+]")),
    ("audio", "WAV", re.compile(rb"(?:RIFF|RF64)....WAVE", re.DOTALL)),
    ("audio", "FLAC", re.compile(rb"fLaC")),
    ("audio", "OGG", re.compile(rb"OggS\0")),
    ("audio", "MP3", re.compile(rb"ID3[\x02-\x04]|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")),
)

_UNREADABLE = (
    ("an AVIF or HEIC picture", re.compile(rb".{4}ftyp(?:avi[fs]|hei[cfmsx]|hev[cmsx]|mi[af]1|msf1)", re.DOTALL)),
    ("an MPEG-4 or QuickTime file", re.compile(rb".{4}ftyp", re.DOTALL)),
    ("a JPEG XL picture", re.compile(rb"\xff\x0a|\0\0\0\x0cJXL ")),
    ("a JPEG 2000 picture", re.compile(rb"\0\0\0\x0cjP  ")),
    ("an icon", re.compile(rb"\0\0[\x01\x02]\0.\0", re.DOTALL)),
    ("a Photoshop document", re.compile(rb"8BPS\0")),
    ("AAC sound", re.compile(rb"\xff[\xf0\xf1\xf8\xf9]")),
    ("a Matroska or WebM file", re.compile(rb"\x1a\x45\xdf\xa3")),
    ("a video", re.compile(rb"RIFF....AVI ", re.DOTALL)),
)

_NAMES: dict[MediaKind, str] = {"image": "a picture", "audio": "a sound"}

READABLE: dict[MediaKind, str] = {"image": "PNG, JPEG, WebP, GIF, BMP and TIFF", "audio": "WAV, FLAC, MP3 and OGG"}
"""The formats that are read, in words."""

_LONGEST_REASON = 120


def kind_of(head: bytes) -> MediaKind | None:
    """Return what a file is by its first `HEAD_BYTES`; None if it is neither a picture nor a sound that can be read.

    >>> kind_of(b"GIF89a")
    'image'
    >>> kind_of(b"Hello!") is None
    True
    """
    return next((kind for kind, _, signature in _SIGNATURES if signature.match(head)), None)


def describe_unreadable(head: bytes) -> str | None:
    """Return in words what kind of picture, sound or video a file is that cannot be read; None for anything else."""
    return next((what for what, signature in _UNREADABLE if signature.match(head)), None)


def require_kind(data: bytes, kind: MediaKind, name: str) -> None:
    """Check that a file is a picture or a sound, as `kind` says. `name` begins the message.

    Raises:
        MediaError: if it is anything else; the message names what it is, if that is known.
    """
    found = kind_of(data)
    if found != kind:
        what = describe_unreadable(data) or (_NAMES[found] if found else f"not {_NAMES[kind]} that can be read")
        raise MediaError(f"{name} is {what}", hint=f"{READABLE[kind]} are read")


def damaged(data: bytes, name: str, message: str, error: Exception) -> MediaError:
    """Return the error for a damaged file. `message` is that of the decoder's `error`, whose type stands for an odd one."""
    line = " ".join(message.split())
    reason = line if line.isprintable() and 0 < len(line) < _LONGEST_REASON else type(error).__name__
    file_format = next((name for _, name, signature in _SIGNATURES if signature.match(data)), None)
    return MediaError(f"{name} is a damaged {file_format} file: {reason}")

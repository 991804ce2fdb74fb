"""The decoder of pictures and sounds in a child."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO, Final, TypeVar

import msgspec

from llamacli.backend.child.wire.method import Method
from llamacli.backend.child.work.connection import Handler
from llamacli.backend.child.work.limits import EXIT_FILE_MEMORY, EXIT_FILE_SECONDS, limited
from llamacli.backend.child.work.task import Task
from llamacli.media.picture import decode_picture, preload_pillow
from llamacli.media.sound import decode_sound

T = TypeVar("T")


class Encoded(msgspec.Struct, frozen=True):
    """Arguments of `PICTURE` and `SOUND`: a file's name for messages, the limits of the work, the sample rate of a sound.

    Two files come with the call: one with the bytes, and one for the pixels or samples.
    """

    name: str
    seconds: float
    memory: int
    rate: int = 0


PICTURE: Final = Method("decode_picture", Encoded, tuple[int, int])
"""Result: width and height."""

SOUND: Final = Method("decode_sound", Encoded)


def service() -> dict[Method, Handler]:
    """Return the handlers, with Pillow imported; what decodes sounds is imported with the first, and starts threads."""
    preload_pillow()
    return {PICTURE: _picture, SOUND: _sound}


def _picture(asked: Encoded, task: Task) -> tuple[int, int]:
    source, target = _files(task)
    with source, target:
        picture = _limited(asked, lambda: decode_picture(source.read(), asked.name))
        target.write(picture.pixels)
    return picture.width, picture.height


def _sound(asked: Encoded, task: Task) -> None:
    source, target = _files(task)
    with source, target:
        target.write(_limited(asked, lambda: decode_sound(source.read(), asked.rate, asked.name)).samples)


def _files(task: Task) -> tuple[IO[bytes], IO[bytes]]:
    target, source = task.descriptors.pop(), task.descriptors.pop()
    return os.fdopen(source, "rb"), os.fdopen(target, "wb")


def _limited(asked: Encoded, work: Callable[[], T]) -> T:
    exits = (EXIT_FILE_SECONDS, EXIT_FILE_MEMORY)
    with limited(seconds=asked.seconds, extra_bytes=asked.memory, exits=exits, with_native_threads=True):
        return work()

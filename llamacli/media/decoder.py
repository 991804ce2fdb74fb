"""Where this process has pictures and sounds decoded: in itself, or elsewhere, for the time of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from llamacli.media.picture import Picture
    from llamacli.media.sound import Sound


class Decoder(Protocol):
    """Decodes the bytes of files. `name` begins the error messages.

    Both methods raise MediaError if a file is not of a format that is read, is damaged, too large or takes too much, and
    UsageError if the package that decodes it is not installed.
    """

    def picture(self, data: bytes, name: str) -> Picture:
        """Return a picture."""

    def sound(self, data: bytes, rate: int, name: str) -> Sound:
        """Return a sound of `rate` samples a second."""


class _LocalDecoder:
    """Decodes in this process, which a hostile file can then end, or keep busy."""

    def picture(self, data: bytes, name: str) -> Picture:
        """Return a picture. Raises as `decode_picture`."""
        from llamacli.media.picture import decode_picture

        return decode_picture(data, name)

    def sound(self, data: bytes, rate: int, name: str) -> Sound:
        """Return a sound. Raises as `decode_sound`."""
        from llamacli.media.sound import decode_sound

        return decode_sound(data, rate, name)


_current: Decoder = _LocalDecoder()


def current_decoder() -> Decoder:
    """Return what decodes in this process now, on every thread."""
    return _current


@contextmanager
def decoding_with(decoder: Decoder) -> Iterator[None]:
    """Have a decoder decode, on every thread, for the time of the block."""
    global _current
    before, _current = _current, decoder
    try:
        yield
    finally:
        _current = before

"""Pictures and sounds decoded in a child that is sandboxed and has limits: their decoders are native code, and files are not
trusted.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llamacli.backend.child.file_child import FileChild, FileReader
from llamacli.backend.child.params import ChildParams
from llamacli.errors import CapacityError, MediaError
from llamacli.media.decoder import decoding_with

if TYPE_CHECKING:
    from llamacli.backend.child.wire.method import Method
    from llamacli.media.kind import MediaKind
    from llamacli.media.picture import Picture
    from llamacli.media.sound import Sound

SECONDS = 20.0
MEMORY = 4 << 30
_BYTES_PER_SECOND = 1 << 20
_PATIENCE = 60.0
"""Seconds without a sign of life: a decoder that keeps Python's lock is not counted in processor time."""


class MediaDecoder(FileReader):
    """Decodes pictures and sounds in a child, which starts with the first one. `close()` ends it. A context manager.

    A file may take `seconds` of processor time, and more by its size, and `memory` bytes beside what the child needs. A child
    that a file ends is replaced for the next one. Methods may be called from any thread.
    """

    def __init__(self, params: ChildParams | None = None, *, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._seconds, self._memory = seconds, memory
        params = params or ChildParams()
        params = dataclasses.replace(params, patience=min(params.patience, _PATIENCE))
        self._child = FileChild("llamacli.backend.child.services.decoder", params, refusal=MediaError)

    def picture(self, data: bytes, name: str) -> Picture:
        """Return a picture. Raises MediaError, UsageError as `decode_picture`, or if decoding takes too much."""
        from llamacli.backend.child.services.decoder import PICTURE
        from llamacli.media.picture import MAX_PIXELS, Picture

        (width, height), pixels = self._decoded(PICTURE, "image", data, name, 3 * MAX_PIXELS)
        if min(width, height) < 1 or len(pixels) != 3 * width * height:
            raise MediaError(f"{name} cannot be read: its decoder failed")
        return Picture(width, height, pixels)

    def sound(self, data: bytes, rate: int, name: str) -> Sound:
        """Return a sound. Raises MediaError, UsageError as `decode_sound`, or if decoding takes too much."""
        from llamacli.backend.child.services.decoder import SOUND
        from llamacli.media.sound import MAX_SECONDS, Sound

        _, samples = self._decoded(SOUND, "audio", data, name, 4 * (MAX_SECONDS + 1) * rate, rate)
        return Sound(rate, samples)

    def _decoded(self, method: Method, kind: MediaKind, data: bytes, name: str, most: int, rate: int = 0) -> tuple[Any, bytes]:
        """Return the result of a method for a file, and the pixels or samples that it writes: at most `most` bytes."""
        from llamacli.backend.child.services.decoder import Encoded
        from llamacli.backend.nameless_file import nameless_file
        from llamacli.gguf.text import printable
        from llamacli.media.kind import require_kind

        require_kind(data, kind, name)
        asked = Encoded(printable(name), self._seconds + len(data) / _BYTES_PER_SECOND, self._memory, rate)
        with nameless_file() as source, nameless_file() as target:
            source.write(data)
            source.seek(0)
            try:
                found = self._child.call(method, asked, name, descriptors=[source.fileno(), target.fileno()])
            except CapacityError as error:
                raise MediaError(error.message, hint=error.hint) from error
            target.seek(0)
            return found, target.read(min(os.fstat(target.fileno()).st_size, most))


@contextmanager
def decoding_in_child(params: ChildParams | None = None) -> Iterator[MediaDecoder]:
    """Have a child decode the pictures and sounds of this process for the time of the block, from the first one on.

    The decoder may be closed before the block ends: then none are decoded any more.
    """
    with MediaDecoder(params) as decoder, decoding_with(decoder):
        yield decoder

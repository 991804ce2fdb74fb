"""Files as memory that two processes share."""

from __future__ import annotations

import mmap
from typing import IO

_POPULATED = getattr(mmap, "MAP_POPULATE", 0)
"""Pages are made at once: one by one, when they are first touched, they take longer than what is copied into them."""


def map_shared(file: IO[bytes], size: int) -> memoryview:
    """Return the first `size` bytes of a file as writable memory, which lives as long as a view of it."""
    if _POPULATED:
        return memoryview(mmap.mmap(file.fileno(), size, flags=mmap.MAP_SHARED | _POPULATED))
    return memoryview(mmap.mmap(file.fileno(), size))

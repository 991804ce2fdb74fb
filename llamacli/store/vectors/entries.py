"""The values of an index: texts with their places, and the files that they are from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

_LINES = re.compile(r"(\d{1,9})-(\d{1,9})")


def identity_of(path: str) -> str:
    """Return the id of a file. Bytes of its name that are not UTF-8 are escaped, for SQLite."""
    return path.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class Entry:
    """A text in the index. `place` is where it is in its file: lines as in "12-30", or words as in "page 3"."""

    number: int
    id: str | None
    text: str
    place: str | None = None

    @property
    def lines(self) -> tuple[int, int] | None:
        """The first and the last line, None if the place is in words."""
        found = _LINES.fullmatch(self.place or "")
        return (int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a file, and its place as in `Entry`."""

    text: str
    place: str


@dataclass(frozen=True, slots=True)
class Root:
    """A folder or a file whose changes are followed: its path, and the size and the overlap of its passages in tokens."""

    path: str
    size: int
    overlap: int


@dataclass(frozen=True, slots=True)
class FileState:
    """A file as it was when it was read: its size, the time of its last change in nanoseconds, and the hash of its content.

    `is_text` is False for a binary file, which is known in order not to be read again.
    """

    size: int
    mtime: int
    digest: bytes
    is_text: bool = True

    def is_like(self, size: int, mtime: int) -> bool:
        """Return whether a file of this size and time is unchanged."""
        return (self.size, self.mtime) == (size, mtime)


@dataclass(frozen=True, slots=True)
class NewText:
    """A text to be added, with its vector: float32 of length 1."""

    id: str | None
    text: str
    vector: bytes


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file of a root, and all its passages with their vectors; None if they are as before."""

    root: str
    id: str
    state: FileState
    passages: Sequence[tuple[Passage, bytes]] | None


def hash_of(identity: str | None, text: str) -> bytes:
    """The SHA-256 hash of an id and a text, which identifies the content."""
    return hashlib.sha256(f"{identity or ''}\0{text}".encode("utf-8", "surrogatepass")).digest()

"""Reading a file for an index: its content and its state, whatever else is done to it meanwhile."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from llamacli.documents.document import Document
from llamacli.documents.formats import may_be_document
from llamacli.documents.text import MAX_INPUT_BYTES, is_binary
from llamacli.errors import LlamacliError
from llamacli.retrieval.folder import FoundFile
from llamacli.store.vectors.entries import FileState

ReadDocument = Callable[[bytes, str], Document]
"""From the bytes of a file, and its name, to its text. Raises LlamacliError."""

LARGEST_FOUND = 8 << 20
"""Bytes of the largest file of a folder that is read: larger ones are data. Files that are named may be larger."""

_TRIES = 3
_UNSURE_NS = 2_000_000_000
"""A file may change again within the resolution of its time."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was read. `document` is None if it holds no text: then `reason` says why, empty for binary files."""

    state: FileState
    document: Document | None
    reason: str = ""


def read_source(found: FoundFile, read: ReadDocument, *, is_named: bool) -> SourceFile:
    """Read a file. Raises OSError if that is impossible."""
    limit = MAX_INPUT_BYTES if is_named else LARGEST_FOUND
    if found.size > limit:
        reason = f"{found.path} is larger than {limit >> 20} MiB"
        return SourceFile(FileState(found.size, found.mtime, b""), None, reason)
    data, mtime = _read_unchanged(found.path, limit)
    state = FileState(len(data), mtime, hashlib.sha256(data).digest())
    if is_binary(data) and not may_be_document(data):
        return SourceFile(replace(state, is_text=False), None)
    try:
        return SourceFile(state, read(data, found.path))
    except LlamacliError as error:
        return SourceFile(state, None, error.message + (f" ({error.hint})" if error.hint else ""))


def _read_unchanged(path: str, limit: int) -> tuple[bytes, int]:
    """Return the content of a file and the time of its last change; the time is 0 if it may have changed meanwhile."""
    for _ in range(_TRIES):
        with Path(path).open("rb") as file:
            before = os.fstat(file.fileno())
            data = file.read(limit)
            after = os.fstat(file.fileno())
        if (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, len(data)):
            is_sure = abs(time.time_ns() - after.st_mtime_ns) > _UNSURE_NS
            return data, after.st_mtime_ns if is_sure else 0
    return data, 0

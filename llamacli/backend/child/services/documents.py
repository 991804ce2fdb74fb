"""The reader of documents in a child."""

from __future__ import annotations

from typing import Final

import msgspec

from llamacli.backend.child.wire.method import Method
from llamacli.backend.child.work.connection import Handler
from llamacli.backend.child.work.limits import EXIT_FILE_MEMORY, EXIT_FILE_SECONDS, limited
from llamacli.backend.child.work.task import Task
from llamacli.documents.document import Document
from llamacli.documents.read import read_bytes


class NamedBytes(msgspec.Struct, frozen=True):
    """Arguments of `READ`: the bytes of a file, its name, what a server says of its type, and the limits of the work."""

    data: bytes
    name: str
    media_type: str
    seconds: float
    memory: int


READ: Final = Method("read_document", NamedBytes, Document)


def service() -> dict[Method, Handler]:
    """Return the handlers. The packages that read documents are imported with the first of their kind."""
    return {READ: _read}


def _read(asked: NamedBytes, _task: Task) -> Document:
    exits = (EXIT_FILE_SECONDS, EXIT_FILE_MEMORY)
    with limited(seconds=asked.seconds, extra_bytes=asked.memory, exits=exits):
        return read_bytes(asked.data, asked.name, asked.media_type)

"""The reader of documents in a child."""

from __future__ import annotations

from llamacli.backend.child import documents
from llamacli.backend.child.documents import NamedBytes
from llamacli.backend.child.wire.method import Method
from llamacli.backend.child.work.connection import Handler
from llamacli.backend.child.work.limits import EXIT_DOCUMENT_MEMORY, EXIT_DOCUMENT_SECONDS, limited
from llamacli.backend.child.work.task import Task
from llamacli.documents.document import Document
from llamacli.documents.read import MAX_MEMORY, MAX_SECONDS, read_bytes


def service() -> dict[Method, Handler]:
    """Return the handlers. The packages that read documents are imported with the first of their kind."""
    return {documents.READ: _read}


def _read(asked: NamedBytes, _task: Task) -> Document:
    exits = (EXIT_DOCUMENT_SECONDS, EXIT_DOCUMENT_MEMORY)
    with limited(seconds=MAX_SECONDS, extra_bytes=MAX_MEMORY, exits=exits):
        return read_bytes(asked.data, asked.name)

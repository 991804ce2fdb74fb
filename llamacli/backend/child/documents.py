"""Documents as text: plain text is decoded here, everything else in a child that is sandboxed and has limits."""

from __future__ import annotations

from pathlib import Path

from llamacli.backend.child.file_child import FileChild, FileReader
from llamacli.backend.child.params import ChildParams
from llamacli.documents.document import Document
from llamacli.documents.file import read_data
from llamacli.documents.formats import is_plain
from llamacli.documents.read import read_bytes
from llamacli.errors import UsageError
from llamacli.gguf.text import printable

MAX_SECONDS = 30.0
MAX_MEMORY = 1 << 30
_BYTES_PER_SECOND = 100_000
"""Documents of the slowest formats that are read in a second: a PDF of text, or the HTML of a book."""


class DocumentReader(FileReader):
    """Reads files as text. Plain text is decoded here, everything else in a child, which starts with the first such file.

    A document may take `seconds` of processor time, and more by its size, and `memory` bytes beside what the child needs. A
    child that a document ends is replaced for the next one. `close()` ends it. A context manager.
    """

    def __init__(self, params: ChildParams | None = None, *, seconds: float = MAX_SECONDS, memory: int = MAX_MEMORY) -> None:
        self._seconds, self._memory = seconds, memory
        self._child = FileChild("llamacli.backend.child.services.documents", params, refusal=UsageError)

    def read(self, path: Path) -> Document:
        """Return the document in a file.

        Raises:
            UsageError: if it is missing or a directory, or as `read_bytes`.
            CapacityError: if it is larger than what is read, or takes too much time or memory.
        """
        return self.read_bytes(read_data(path), str(path))

    def read_bytes(self, data: bytes, name: str, media_type: str = "") -> Document:
        """Return the document that the bytes of a file are. `name` names it in messages; its suffix can tell the format.

        `media_type` is what a server says of it, such as `text/html; charset=utf-8`.

        Raises:
            UsageError: if it is damaged, locked, without text, or of a format that is not read, or needs a package that is
                missing.
            CapacityError: if it takes too much time or memory.
        """
        if is_plain(data, name, media_type):
            return read_bytes(data, name, media_type)
        from llamacli.backend.child.services.documents import READ, NamedBytes

        seconds = self._seconds + len(data) / _BYTES_PER_SECOND
        asked = NamedBytes(data, printable(name), media_type, seconds, self._memory)
        document: Document = self._child.call(READ, asked, name)
        return document

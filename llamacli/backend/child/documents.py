"""A child that reads documents: it parses what is hostile, within limits of time and memory, and sends back the text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from llamacli.backend.child.params import ChildParams
from llamacli.backend.child.process import Child
from llamacli.backend.child.start import start_child
from llamacli.backend.child.wire.method import Method
from llamacli.documents.document import Document
from llamacli.documents.file import read_data
from llamacli.documents.formats import format_of
from llamacli.documents.read import read_bytes
from llamacli.errors import CapacityError, EngineDiedError, MemoryFullError, UsageError

SERVICE: Final = "llamacli.backend.child.services.documents"


class NamedBytes(msgspec.Struct, frozen=True):
    """Arguments of `READ`: the bytes of a file, and its name."""

    data: bytes
    name: str


READ: Final = Method("read_document", NamedBytes, Document)


class DocumentReader:
    """Reads files as text. Plain text is decoded here, everything else in a child, which starts with the first such file.

    A child that a document ends is replaced for the next one. `close()` ends it. A context manager.
    """

    def __init__(self, params: ChildParams | None = None) -> None:
        self._params = dataclasses.replace(params or ChildParams(), keep_alive=None)  # there is nothing to keep
        self._child: Child | None = None

    def read(self, path: Path) -> Document:
        """Return the document in a file.

        Raises:
            UsageError: if it is missing or a directory, or as `read_bytes`.
            CapacityError: if it is larger than what is read, or takes too much time or memory.
        """
        return self.read_bytes(read_data(path), str(path))

    def read_bytes(self, data: bytes, name: str) -> Document:
        """Return the document that the bytes of a file are. `name` names it in messages; its suffix can tell the format.

        Raises:
            UsageError: if it is damaged, locked, without text, or of a format that is not read, or needs a package that is
                missing.
            CapacityError: if it takes too much time or memory.
        """
        if format_of(data, name) == "text":
            return read_bytes(data, name)
        if self._child is None or not self._child.is_alive:
            self.close()
            self._child = start_child(SERVICE, [], self._params)
        try:
            document: Document = self._child.call(READ, NamedBytes(data, name))
        except (MemoryError, MemoryFullError) as error:
            raise CapacityError(f"{name} takes too much memory to read") from error
        except CapacityError as error:
            raise CapacityError(f"{name}: {error.message}", hint=error.hint) from error
        except EngineDiedError as error:
            raise UsageError(f"{name} cannot be read: it ended the process that read it", hint="is it damaged?") from error
        return document

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

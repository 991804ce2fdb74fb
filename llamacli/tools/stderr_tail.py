"""The end of a program's standard error."""

from __future__ import annotations

import os
import threading
from typing import Self

_LAST_LINE_SECONDS = 0.5


class StderrTail:
    """The end of a server's standard error, which often has the reason why it does not start."""

    _MAX_BYTES = 500

    def __init__(self) -> None:
        reader, writer = os.pipe()
        self.stream = os.fdopen(writer, "w")
        self._end = b""
        self._thread = threading.Thread(target=self._read, args=(reader,), name="mcp-stderr", daemon=True)
        self._thread.start()

    def note(self) -> str:
        """The last line as a suffix of a message, empty without output. Nothing is written to `stream` afterwards."""
        self.stream.close()
        self._thread.join(_LAST_LINE_SECONDS)  # a server that has ended may have written more than was read yet
        lines = self._end.decode("utf-8", "replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f" (last line on its standard error: {last})" if last else ""

    def _read(self, reader: int) -> None:
        with open(reader, "rb", buffering=0) as pipe:
            while data := pipe.read(4096):
                self._end = (self._end + data)[-self._MAX_BYTES :]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

"""Problems of a grammar, with positions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from llamacli.errors import GrammarSyntaxError
from llamacli.grammar.location import LineIndex

MAX_BYTES: Final = 512 * 1024
"""Our limit of a grammar's size in bytes."""

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem. `kind` is a stable name for editors; `start` and `end` are character offsets into the grammar.

    `unsafe` marks what llama.cpp's parser accepts although llama.cpp then crashes, hangs or runs out of memory.
    """

    kind: str
    message: str
    start: int
    end: int
    severity: Severity = "error"
    hint: str | None = None
    unsafe: bool = False

    def as_error(self, text: str) -> GrammarSyntaxError:
        """Return the exception for this problem in the grammar `text`; its message includes the location."""
        location = LineIndex(text).location(self.start)
        return GrammarSyntaxError(
            f"grammar, line {location.line}, column {location.column}: {self.message}",
            line=location.line,
            column=location.column,
            offset=location.offset,
            hint=self.hint,
        )


def unreadable(text: str) -> list[Problem]:
    """Return the problem of a text that llama.cpp cannot receive: not UTF-8, a NUL byte, or too large. Else an empty list."""
    if surrogate := re.search(r"[\ud800-\udfff]", text):
        at = surrogate.start()
        return [Problem("bad-encoding", "the grammar is not valid UTF-8 here", at, at + 1)]
    if (nul := text.find("\0")) >= 0:
        return [Problem("bad-encoding", "the grammar contains a NUL byte", nul, nul + 1, hint=r"write it as \x00 in a class")]
    data = text.encode()
    if len(data) > MAX_BYTES:
        at = len(data[:MAX_BYTES].decode(errors="ignore"))
        message = f"the grammar has {len(data):,} bytes, more than {MAX_BYTES:,}"
        return [Problem("too-large", message, at, at + 1, unsafe=True)]
    return []

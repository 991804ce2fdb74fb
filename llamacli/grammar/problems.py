"""What can be wrong with a grammar: one value per finding, with its place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from llamacli.errors import GrammarSyntaxError
from llamacli.grammar.places import Places

MAX_BYTES: Final = 512 * 1024
"""Our bound on a grammar's size."""

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A finding. `kind` is a stable name for editors; `start` and `end` are character offsets into the grammar.

    `unsafe` marks what llama.cpp's own parser lets through although it then crashes, hangs or runs out of memory.
    """

    kind: str
    message: str
    start: int
    end: int
    severity: Severity = "error"
    hint: str | None = None
    unsafe: bool = False

    def as_error(self, text: str) -> GrammarSyntaxError:
        """The exception for this finding in the grammar `text`; the message carries the place."""
        place = Places(text).at(self.start)
        return GrammarSyntaxError(
            f"grammar, line {place.line}, column {place.column}: {self.message}",
            line=place.line,
            column=place.column,
            offset=place.offset,
            hint=self.hint,
        )


def unreadable(text: str) -> list[Problem]:
    """Why the text cannot be handed to llama.cpp at all: as UTF-8, as a C string, and of a bearable size. Else nothing."""
    if surrogate := re.search(r"[\ud800-\udfff]", text):
        at = surrogate.start()
        return [Problem("bad-encoding", "the grammar is not valid UTF-8 here", at, at + 1)]
    if (nul := text.find("\0")) >= 0:
        return [Problem("bad-encoding", "the grammar holds a NUL byte", nul, nul + 1, hint=r"write it as \x00 in a class")]
    data = text.encode()
    if len(data) > MAX_BYTES:
        at = len(data[:MAX_BYTES].decode(errors="ignore"))
        message = f"the grammar has {len(data):,} bytes, more than {MAX_BYTES:,}"
        return [Problem("too-large", message, at, at + 1, unsafe=True)]
    return []

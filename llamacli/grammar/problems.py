"""What can be wrong with a grammar: one value per finding, with its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llamacli.errors import GrammarSyntaxError
from llamacli.grammar.places import Places

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

"""A row of a batch: a request of OpenAI's Batch format, or fields of ours."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from llamacli.values import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One row of input: its number from 0, its fields, and its problem or None.

    `line` is its line in the input, from 1, and `end` the bytes of the input up to its end.
    """

    number: int
    fields: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    line: int = 0
    end: int = 0

    @property
    def is_batch(self) -> bool:
        """True if it is a request of an OpenAI Batch file, even an incomplete one."""
        return "custom_id" in self.fields and ("body" in self.fields or "url" in self.fields)

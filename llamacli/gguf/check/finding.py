"""Finding: one fact about a model file that its user should know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
"""`error`: it does not load, or loads wrongly; `warning`: it loads, but something is wrong; `note`: worth knowing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A fact about a file. `subject` names what it concerns (`key llama.block_count`), `offset` the byte, `part` the file."""

    severity: Severity
    subject: str
    message: str
    offset: int | None = None
    part: int = 0

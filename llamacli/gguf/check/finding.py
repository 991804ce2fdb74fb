"""Finding: one fact about a model file that its user should know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llamacli.gguf.header import Header
from llamacli.gguf.text import printable

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


def key_finding(header: Header, key: str, message: str, severity: Severity = "error") -> Finding:
    """Return a finding about a key, at its place in the file if it is there."""
    entry = header.metadata.get(key)
    return Finding(severity, f"key {printable(key, 60)}", message, entry.offset if entry else None)


def shown_value(header: Header, key: str) -> str:
    """Return the value of a key as messages show it."""
    entry = header.metadata[key]
    if isinstance(entry.value, str):
        return repr(printable(entry.value, 40))
    return str(entry.value) if isinstance(entry.value, (int, float)) else "an array"

"""Resident engines, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llamacli.backend.child.process.resident import Resident
from llamacli.render.columns import format_columns
from llamacli.render.text import escape_line
from llamacli.render.wrap import wrap
from llamacli.units import format_bytes
from llamacli.version import VERSION


def format_residents(found: Sequence[Resident], *, width: int | None = None) -> str:
    """A table of engines that stay loaded."""
    if not found:
        text = "No engine stays loaded; `--keep-alive 10m` of run, chat and embed leaves one."
        return "\n".join(wrap(text, width)) + "\n"
    rows = [("MODEL", "FOR", "MEMORY", "IDLE", "ENDS IN", "PROCESS")]
    rows += [
        (
            escape_line(one.name) or "(unknown)",
            _work(one),
            format_bytes(one.memory),
            "busy" if one.idle_seconds is None else format_seconds(one.idle_seconds),
            "" if one.idle_seconds is None or not one.work else format_seconds(max(0.0, one.keep_alive - one.idle_seconds)),
            str(one.pid),
        )
        for one in found
    ]
    return format_columns(rows, right=(2, 3, 4, 5), width=width, names=1)


def residents_document(found: Sequence[Resident]) -> dict[str, Any]:
    """The engines as JSON, in the form of OpenAI's lists. Times in seconds, memory in bytes."""
    return {
        "object": "list",
        "data": [
            {
                "id": one.name,
                "object": "engine",
                "path": one.model,
                "for": one.work,
                "pid": one.pid,
                "memory": one.memory,
                "idle": one.idle_seconds,
                "keep_alive": one.keep_alive,
                "version": one.version,
            }
            for one in found
        ],
    }


def _work(one: Resident) -> str:
    """What an engine does, and its version if it is not this one."""
    other = f"({one.version})" if one.version else "(another version)"
    return one.work if one.version == VERSION else f"{one.work} {escape_line(other)}".lstrip()


def format_seconds(seconds: float) -> str:
    """A duration in its largest unit: `5 s`, `12 min`, `3 h`."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

"""A proposed command on the terminal, with its explanation and its risks. Invisible characters are marks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llamacli.render.text import escape_all, escape_line
from llamacli.render.wrap import wrap
from llamacli.tools.risks import Risk

_LABELS = {
    "deletes": "deletes",
    "overwrites": "overwrites or changes",
    "sends": "sends or fetches",
    "root": "needs root",
    "stops": "ends programs",
    "runs": "runs what it gets",
    "hidden": "has invisible characters",
}
_INDENT = "  "

Paint = Callable[[str], str]


def format_command(command: str, paint: Paint) -> str:
    """Return the lines of a command, indented. The terminal breaks a long one, so that it can be copied."""
    return "".join(f"{_INDENT}{paint(escape_all(line))}\n" for line in command.split("\n"))


def format_notes(
    explanation: str, risks: Sequence[Risk], missing: Sequence[str], *, width: int | None, warn: Paint, dim: Paint
) -> str:
    """Return the explanation, and a line for each risk and for the programs that are missing."""
    lines = wrap(escape_line(explanation), width) if explanation else []
    for risk in risks:
        named = escape_line(", ".join(risk.words))
        lines += [warn(line) for line in wrap(named, width, first=f"{_LABELS[risk.kind]}: ", rest=_INDENT)]
    if missing:
        names = escape_line(", ".join(missing))
        lines += [dim(line) for line in wrap(names, width, first="not found on the PATH: ", rest=_INDENT)]
    return "".join(f"{line}\n" for line in lines)

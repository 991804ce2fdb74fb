"""The status bar: model, speed, used context."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llamacli.render.text import escape_line
from llamacli.units import counted, format_speed

if TYPE_CHECKING:
    from llamacli.repl.conversation.state import Chat

_SEPARATOR = " · "
_FORMS = 3
_SHORTEST_NAME = 8
"""Columns that the model's name keeps; then other parts are left out."""


def format_toolbar(chat: Chat, width: int) -> str:
    """Return one line. If it is too long, first all parts become shorter, then the model's name, then the last parts go."""
    name, parts = escape_line(chat.model.found.name), list(_parts(chat))
    for form in range(_FORMS):
        shown = [forms[min(form, len(forms) - 1)] for forms in parts]
        line = _SEPARATOR.join([name, *shown])
        if len(line) <= width:
            return line
    while shown:
        left = width - len(_SEPARATOR.join(["", *shown]))
        if left >= min(_SHORTEST_NAME, len(name)):
            return _SEPARATOR.join([_clipped(name, left), *shown])
        shown.pop()
    return _clipped(name, width)


def _parts(chat: Chat) -> Iterator[tuple[str, ...]]:
    """Yield the parts after the model's name, the most important first; each from its longest form to its shortest."""
    if chat.model.loader.engine is None:
        yield (f"loading {chat.model.loader.share:.0%}",)
    if chat.measured is not None:
        answer, first = chat.measured, chat.measured.first_token_ms
        speed, used, size = answer.timings.predicted_per_second, answer.usage.total_tokens, chat.window.size
        if answer.usage.completion_tokens:
            yield format_speed(speed), f"{speed:.{0 if speed >= 10 else 1}f} tokens/s"
        if first is not None:
            seconds = f"{first / 1e3:.2f} s"
            yield f"first token {seconds}", f"first {seconds}", seconds
        if size:
            left = max(size - used, 0)
            yield f"context {used}/{size}, {left} left", f"{used}/{size}, {left} left", f"{used}/{size}"
    if chat.setup.profile is not None:
        profile = escape_line(chat.setup.profile)
        yield f"profile {profile}", profile
    if chat.turn.attachments:
        files = counted(len(chat.turn.attachments), "file")
        yield f"{files} attached", files


def _clipped(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: max(width - 1, 0)]}…"[:width]

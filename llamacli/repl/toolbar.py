"""The status bar: which model, how fast, how much of the context is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llamacli.render.text import escape_line

if TYPE_CHECKING:
    from llamacli.repl.chat import Chat


def format_toolbar(chat: Chat, width: int) -> str:
    """One line; on a narrow terminal what matters less is left out."""
    if chat.hint:
        return chat.hint[:width]
    setup, loader = chat.setup, chat.loader
    parts = [escape_line(chat.model.name)]
    if loader.engine is None:
        parts.append(f"loading {loader.share:.0%}")
    if chat.measured is not None:
        finished, first = chat.measured.finished, chat.measured.first_token_ms
        usage = finished.usage
        size = chat.largest_context
        if size:
            parts.append(f"context {usage.total_tokens}/{size}, {max(size - usage.total_tokens, 0)} left")
        parts.append(f"{finished.timings.predicted_per_second:.1f} tok/s")
        if first is not None:
            parts.append(f"first token {first / 1e3:.2f} s")
    if setup.profile is not None:
        parts.append(f"profile {escape_line(setup.profile)}")
    if chat.attachments:
        parts.append(f"{len(chat.attachments)} file{'s' if len(chat.attachments) > 1 else ''} attached")
    while len(parts) > 1 and len(" · ".join(parts)) > width:
        parts.pop()
    return " · ".join(parts)[:width]

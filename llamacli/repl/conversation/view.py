"""The view of an answer on the screen."""

from __future__ import annotations

from llamacli.render.chat.answer import AnswerView, MarkdownView, PlainView
from llamacli.repl.conversation.state import Chat


def make_view(chat: Chat) -> AnswerView:
    """Return the view of the next answer."""
    screen, shows_reasoning = chat.setup.screen, chat.settings.shows_reasoning
    if chat.setup.plain:
        wraps = screen.live and chat.settings.constraint is None
        width = (lambda: screen.size()[0]) if wraps else None
        return PlainView(screen.write, shows_reasoning=shows_reasoning, width=width)
    return MarkdownView(
        screen.write,
        screen.size,
        color=screen.color,
        shows_reasoning=shows_reasoning,
        grows=screen.live,
        resumes=screen.resumes,
    )

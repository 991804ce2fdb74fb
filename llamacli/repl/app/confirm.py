"""A question in the middle of an answer. Keys typed earlier do not answer it; they wait for the prompt line."""

from __future__ import annotations

from prompt_toolkit import PromptSession
from prompt_toolkit.application.current import get_app_session
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.input.typeahead import get_typeahead, store_typeahead


def ask(question: str, *, color: bool) -> str:
    """Return the typed line.

    Raises:
        KeyboardInterrupt: on Ctrl-C.
        EOFError: on Ctrl-D on an empty line.
    """
    source = get_app_session().input
    typed_before = [*get_typeahead(source), *source.read_keys()]
    session: PromptSession[str] = PromptSession(enable_suspend=True)
    try:
        return session.prompt(FormattedText([("ansiyellow" if color else "", question)]), handle_sigint=False)
    finally:
        typed_after = get_typeahead(source)
        store_typeahead(source, [*typed_before, *typed_after])

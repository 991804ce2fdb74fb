"""A line that the user edits, outside a conversation."""

from __future__ import annotations

from prompt_toolkit import PromptSession
from prompt_toolkit.application.current import get_app_session
from prompt_toolkit.output import create_output

from llamacli.repl.app.hidden_characters import ShowHidden
from llamacli.repl.app.key_bindings import make_bindings
from llamacli.repl.app.wakeup import wakeup_kept

_KEYS = "Enter keeps it, Ctrl-O edits it in $EDITOR, Ctrl-C clears it, Ctrl-D on an empty line goes back"


def edit_line(text: str, *, is_stdout: bool) -> str:
    """Return the text as the user leaves it, which may have several lines (Alt-Enter).

    `is_stdout`: standard output is the terminal; otherwise standard error is.

    Raises:
        EOFError: on Ctrl-D on an empty line.
    """
    session: PromptSession[str] = PromptSession(
        multiline=True,
        key_bindings=make_bindings(lambda hint: None),
        input_processors=[ShowHidden()],
        bottom_toolbar=_KEYS,
        output=get_app_session().output if is_stdout else create_output(always_prefer_tty=True),
    )
    with wakeup_kept():
        return session.prompt("> ", default=text, handle_sigint=False)

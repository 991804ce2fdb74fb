"""Errors in a conversation: each is reported in one line, and the conversation continues."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from llamacli.errors import ClosedError, LlamacliError, describe
from llamacli.repl.commands.setting_values import setting_names
from llamacli.repl.conversation.kv_state import expect_state

if TYPE_CHECKING:
    from llamacli.repl.conversation.state import Chat

logger = logging.getLogger(__name__)


def report(chat: Chat, error: Exception) -> None:
    """Report an error; its traceback goes to the log if it is a bug. Raise it again if no engine is left to continue with.

    A parameter of the engine is named as `/set` names it, or as its option on the command line. If standard output is closed,
    the report fails as well, which ends the conversation.
    """
    if chat.model.loader.error is not None or isinstance(error, ClosedError):
        raise error
    text = describe(error, trace="llamacli chat -v shows where")
    if isinstance(error, LlamacliError) and error.parameter is not None and error.parameter not in setting_names():
        name = rf"(?<![\w./-]){re.escape(error.parameter)}(?![\w/-]|\.\w)"  # not in a file's name
        text = re.sub(name, chat.setup.host.flag_of(error.parameter), text)
    chat.setup.screen.fail(text)
    engine = chat.model.loader.engine
    if engine is not None and not engine.is_alive:
        _load_again(chat)
    if not isinstance(error, LlamacliError):
        logger.info("unexpected error", exc_info=error)


def _load_again(chat: Chat) -> None:
    """Load the model anew after its process died; the conversation is as before."""
    dead = chat.model.loader
    dead.close()
    chat.model.loader = dead.successor()
    expect_state(chat)
    chat.model.loader.start()
    chat.setup.screen.note(
        "the model is loaded again: /retry sends the message again" if chat.turn.unanswered else "the model is loaded again"
    )

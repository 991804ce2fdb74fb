"""Errors in a conversation: each is reported in one line, and the conversation continues."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from llamacli.errors import ClosedError, LlamacliError, describe
from llamacli.repl.commands.setting_values import setting_names

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
        text = re.sub(rf"\b{re.escape(error.parameter)}\b", chat.setup.host.flag_of(error.parameter), text)
    chat.setup.screen.fail(text)
    if not isinstance(error, LlamacliError):
        logger.info("unexpected error", exc_info=error)

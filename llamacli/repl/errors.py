"""What failed is said in one line, and the conversation goes on: not even a mistake of ours ends it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from llamacli.errors import ClosedError, LlamacliError

if TYPE_CHECKING:
    from llamacli.repl.conversation.state import Chat

logger = logging.getLogger(__name__)


def tell(chat: Chat, error: Exception) -> None:
    """Says what failed. Raises it again if there is no engine to go on with.

    Of a mistake of ours the log has the traceback. If it was that nobody reads what is written, saying so fails as well, and
    that ends the conversation.
    """
    if chat.loader.error is not None or isinstance(error, ClosedError):
        raise error
    chat.setup.screen.fail(describe(error))
    if not isinstance(error, LlamacliError):
        logger.info("what failed, and where", exc_info=error)


def describe(error: Exception) -> str:
    """One line about any exception."""
    if isinstance(error, LlamacliError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    detail = str(error).strip().splitlines()
    reason = f": {detail[0]}" if detail else ""
    return f"unexpected {type(error).__name__}{reason} (this is a bug; llamacli chat -v shows where)"

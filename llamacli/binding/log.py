"""llama.cpp's log, routed to the logger `llamacli.native` instead of stderr.

Lines below the logger's level are dropped in C, so that a quiet program does not enter Python for each of the hundreds of lines
of loading a model. The last errors and warnings are always kept, because llama.cpp reports reasons of failures only there.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Iterator
from typing import Any

from llamacli.binding.enums import ggml_log_level
from llamacli.binding.library import declarations, library

logger = logging.getLogger("llamacli.native")

_LEVELS = {
    ggml_log_level.GGML_LOG_LEVEL_DEBUG: logging.DEBUG,
    ggml_log_level.GGML_LOG_LEVEL_INFO: logging.INFO,
    ggml_log_level.GGML_LOG_LEVEL_WARN: logging.WARNING,
    ggml_log_level.GGML_LOG_LEVEL_ERROR: logging.ERROR,
}
_recent: deque[str] = deque(maxlen=50)


class _Line:
    """A line that llama.cpp logs in pieces."""

    def __init__(self) -> None:
        self.level = logging.INFO
        self.text = ""

    def add(self, level: int, text: str) -> None:
        if level != ggml_log_level.GGML_LOG_LEVEL_CONT:
            self.flush()
            self.level = _LEVELS.get(ggml_log_level(level), logging.INFO)
        self.text += text
        if text.endswith("\n"):
            self.flush()

    def flush(self) -> None:
        text, self.text = self.text.strip(), ""
        if not text.strip("."):
            return
        if self.level >= logging.WARNING:
            _recent.append(text)
        # Our exception reports the error; llama.cpp's own line is for verbose output.
        logger.log(min(self.level, logging.INFO), "%s", text)


_line = _Line()


def _receive(level: int, text: bytes, _user_data: Any) -> None:
    _line.add(level, text.decode("utf-8", "replace"))


_callback = declarations.type("ggml_log_callback")(_receive)  # kept alive: C holds its address


def route() -> None:
    """Route the library's log to `logging`, at the current level of the logger."""
    if logger.isEnabledFor(logging.DEBUG):
        level = ggml_log_level.GGML_LOG_LEVEL_DEBUG
    elif logger.isEnabledFor(logging.INFO):
        level = ggml_log_level.GGML_LOG_LEVEL_INFO
    else:
        level = ggml_log_level.GGML_LOG_LEVEL_WARN
    library().llamacli_log_filter(_callback, level)


@contextlib.contextmanager
def complaints() -> Iterator[list[str]]:
    """Collect the warnings and errors that llama.cpp logs inside the block; the list is filled when it ends."""
    route()
    _recent.clear()
    lines: list[str] = []
    try:
        yield lines
    finally:
        _line.flush()
        lines.extend(_recent)

"""The log on standard error, line by line: warnings always, the rest with `-v` or `-vv`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from llamacli.cli.framework.console import Console
from llamacli.render.text import escape

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class ConsoleHandler(logging.Handler):
    """Writes log records to the console: warnings as llamacli's, llama.cpp's lines under its own name."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        message = record.getMessage()
        if record.name == "llamacli.native":
            line = self._console.styled(f"llama.cpp: {escape(message)}", "dim")
            self._console.write_error(line + "\n")
        elif record.levelno >= logging.WARNING:
            self._console.warn(message)
        else:
            self._console.note(message)
        if record.exc_info and record.exc_info[0] is not None:
            self._console.write_error(escape(logging.Formatter().formatException(record.exc_info)) + "\n")


@contextmanager
def log_to(console: Console, verbosity: int) -> Iterator[None]:
    """Send llamacli's log to `console`. `verbosity`: 0 warnings, 1 information (`-v`), 2 everything (`-vv`)."""
    logger = logging.getLogger("llamacli")
    before = logger.level, logger.propagate
    handler = ConsoleHandler(console)
    logger.addHandler(handler)
    logger.setLevel(_LEVELS[min(verbosity, len(_LEVELS) - 1)])
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]

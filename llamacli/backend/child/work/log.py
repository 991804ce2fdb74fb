"""The log of a child, sent to its parent line by line."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from llamacli.backend.child.wire.frames import LogLine
from llamacli.backend.child.work.outbox import Outbox

_PAGES_IN_USE = 1
"""The field of /proc/self/statm."""


class OutboxHandler(logging.Handler):
    """Sends log records through an outbox."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record."""
        self._outbox.put(LogLine(record.name, record.levelno, record.getMessage()))


def send_to(outbox: Outbox, level: int) -> None:
    """Send llamacli's log from a level on through `outbox`, and nowhere else."""
    logger = logging.getLogger("llamacli")
    logger.handlers = [OutboxHandler(outbox)]
    logger.setLevel(level)
    logger.propagate = False


def memory_in_use() -> int:
    """Return the bytes of this process in memory, 0 where the system does not tell."""
    try:
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return 0
    return int(fields[_PAGES_IN_USE]) * os.sysconf("SC_PAGE_SIZE")

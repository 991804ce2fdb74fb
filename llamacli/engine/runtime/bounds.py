"""Bounds of native work on templates and texts, which are not trusted: a child installs them, so that it ends itself.

The caller's own process cannot be ended. There a copy of the process, made for the purpose, renders a template and ends itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal

Subject = Literal["template", "text"]

Bound = Callable[[Subject, int], AbstractContextManager[None]]
"""Bounds a block that works on a subject of some bytes, on this thread."""

SECONDS = 2.0
"""Default limit of a hostile operation: processor time of its thread."""

EXTRA_BYTES = 200 << 20
"""Default limit of a hostile operation: growth of the process' own memory."""

TEMPLATE_MEMORY = 32
"""Bytes that a byte of the messages may need while a template renders them."""

_installed: Bound | None = None


def install(bound: Bound) -> None:
    """Use a bound in this process from now on."""
    global _installed
    _installed = bound


def bounded(subject: Subject, size: int = 0) -> AbstractContextManager[None]:
    """Bound the block. `size`: bytes of text, with which its time and memory may grow."""
    return _installed(subject, size) if _installed is not None else contextlib.nullcontext()


def may_end_process() -> bool:
    """Return whether bounds are installed, so that native work which exceeds them ends this process."""
    return _installed is not None

"""Bounds of native work on templates and texts, which are not trusted: a child installs them, so that it ends itself.

In the caller's own process there are none: it cannot be ended, and templates there have the limits of their interpreter only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Literal

Subject = Literal["template", "text"]

Bound = Callable[[Subject, int], AbstractContextManager[None]]
"""Bounds a block that works on a subject of some bytes, on this thread."""

_installed: Bound | None = None


def install(bound: Bound) -> None:
    """Use a bound in this process from now on."""
    global _installed
    _installed = bound


def bounded(subject: Subject, size: int = 0) -> AbstractContextManager[None]:
    """Bound the block. `size`: bytes of text, with which its time and memory may grow."""
    return _installed(subject, size) if _installed is not None else contextlib.nullcontext()

"""The running children of this process, which stop and go on with it."""

from __future__ import annotations

import signal
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llamacli.backend.child.process.child import Child

running: weakref.WeakSet[Child] = weakref.WeakSet()
"""The children of this process."""


def pause_children() -> None:
    """Stop all children: this process is about to stop. `resume_children` lets them go on."""
    for child in list(running):
        child.send_signal(signal.SIGSTOP)


def resume_children() -> None:
    """Let children go on after `pause_children`."""
    for child in list(running):
        child.send_signal(signal.SIGCONT)

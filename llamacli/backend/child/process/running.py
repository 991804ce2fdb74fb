"""The running children of this process, which stop and go on with it."""

from __future__ import annotations

import signal
import weakref
from typing import Protocol


class Signalled(Protocol):
    """Anything that passes signals on to a process."""

    def send_signal(self, number: int) -> None:
        """Send a signal to the process."""


running: weakref.WeakSet[Signalled] = weakref.WeakSet()
"""The children of this process."""


def pause_children() -> None:
    """Stop all children: this process is about to stop. `resume_children` lets them go on."""
    for child in list(running):
        child.send_signal(signal.SIGSTOP)


def resume_children() -> None:
    """Let children go on after `pause_children`."""
    for child in list(running):
        child.send_signal(signal.SIGCONT)

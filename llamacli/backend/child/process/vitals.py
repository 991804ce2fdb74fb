"""The signs of life of a child."""

from __future__ import annotations

from typing import Final

from llamacli.backend.child.wire.frames import Alive

_LEAST_WORK: Final = 0.002
"""Seconds of processor time between two signs of life from which a child has made progress."""


class Vitals:
    """The last signs of life of a child: seconds of processor time, bytes of memory in use, and seconds without progress."""

    def __init__(self) -> None:
        self.cpu_seconds = 0.0
        self.memory = 0
        self.still = 0.0

    def note(self, alive: Alive) -> None:
        """Keep a sign of life. It is progress if the child has computed, or has nothing to do but to wait for us."""
        if not alive.is_working or alive.cpu_seconds - self.cpu_seconds > _LEAST_WORK:
            self.still = 0
        self.cpu_seconds, self.memory = alive.cpu_seconds, alive.memory

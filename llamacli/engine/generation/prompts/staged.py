"""Evaluated prompts that came from outside and wait for a slot."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from llamacli.engine.generation.prompts.prefix_cache import common_length

_MOST = 8
"""Prompts that wait; the oldest is dropped: its request has been cancelled."""


@dataclass(frozen=True, slots=True)
class StagedPrompt:
    """An evaluated prompt: its tokens, and its state of `size` bytes in longer, zeroed memory (see `state_layout`)."""

    tokens: tuple[int, ...]
    state: memoryview
    size: int


class StagedPrompts:
    """Evaluated prompts that wait for a slot. Thread-safe."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[tuple[int, ...], StagedPrompt] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, prompt: StagedPrompt) -> None:
        """Add a prompt."""
        with self._lock:
            self._waiting[prompt.tokens] = prompt
            while len(self._waiting) > _MOST:
                self._waiting.popitem(last=False)

    def shared(self, prompt: tuple[int, ...]) -> int:
        """Return how many tokens the prompt shares with one that waits, at most."""
        with self._lock:
            return max((common_length(tokens, prompt) for tokens in self._waiting), default=0)

    def take(self, prompt: tuple[int, ...], least: int) -> StagedPrompt | None:
        """Remove and return the one that shares most with the prompt, `least` tokens at least."""
        with self._lock:
            best = max(self._waiting, key=lambda tokens: common_length(tokens, prompt), default=())
            return self._waiting.pop(best) if common_length(best, prompt) >= max(least, 1) else None

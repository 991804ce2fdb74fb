"""Evaluated prompts that came from outside and wait for a slot."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from llamacli.engine.generation.prompts.prefix_cache import common_length
from llamacli.engine.runtime.prompt_identity import Form

_MOST = 8
"""Prompts that wait; the oldest is dropped: its request has been cancelled."""


@dataclass(frozen=True, slots=True)
class StagedPrompt:
    """An evaluated prompt: its tokens, and its state of `size` bytes in longer, zeroed memory (see `state_layout`)."""

    tokens: tuple[int, ...]
    state: memoryview
    size: int
    form: Form

    def usable(self, prompt: tuple[int, ...]) -> int:
        """Return the tokens of a prompt that need no evaluation with this state."""
        shared = common_length(self.tokens, prompt)
        return shared if self.form == "rows" or shared == len(self.tokens) else 0


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
        """Return how many tokens of the prompt one that waits spares, at most."""
        with self._lock:
            return max((one.usable(prompt) for one in self._waiting.values()), default=0)

    def take(self, prompt: tuple[int, ...], least: int) -> StagedPrompt | None:
        """Remove and return the one that spares the prompt most, `least` tokens at least."""
        with self._lock:
            best = max(self._waiting.values(), key=lambda one: one.usable(prompt), default=None)
            return self._waiting.pop(best.tokens) if best is not None and best.usable(prompt) >= max(least, 1) else None

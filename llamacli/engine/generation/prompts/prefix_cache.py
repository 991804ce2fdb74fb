"""Evaluated prompts kept in memory when others take their slots: they return without evaluation."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Protocol

WORTHWHILE = 16
"""Least tokens worth a copy of their state: fewer are evaluated faster."""


class PrefixStore(Protocol):
    """States of sequences by their tokens."""

    @property
    def keeps_answers(self) -> bool:
        """True if every answer is kept at its end, not only what is about to be dropped."""

    def put(self, tokens: list[int], read: int, state: bytes) -> None:
        """Keep a state. Its first `read` tokens were evaluated as a prompt; 0 if it is not known how, or in another way."""

    def find(self, prompt: tuple[int, ...]) -> tuple[int, int, tuple[int, ...], bytes]:
        """Return the state that shares most with the prompt: the number of shared tokens, `read`, its tokens and its bytes."""


class PrefixCache:
    """States of sequences by their tokens, the least recently used dropped first. `capacity` is in bytes. Thread-safe.

    A state fits only the context that it was saved from: a cache belongs to one engine.
    """

    keeps_answers = False

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self._states: OrderedDict[tuple[int, ...], tuple[int, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._states)

    def put(self, tokens: list[int], read: int, state: bytes) -> None:
        """Keep a state, and drop others until all fit. A state larger than the capacity is not kept."""
        if len(state) > self.capacity:
            return
        key = tuple(tokens)
        with self._lock:
            self.size += len(state) - len(self._states.pop(key, (0, b""))[1])
            self._states[key] = read, state
            while self.size > self.capacity:
                _, (_, dropped) = self._states.popitem(last=False)
                self.size -= len(dropped)

    def find(self, prompt: tuple[int, ...]) -> tuple[int, int, tuple[int, ...], bytes]:
        """Return the state that shares most with the prompt: the number of shared tokens, `read`, its tokens and its bytes.

        Return (0, 0, (), b"") without one.
        """
        with self._lock:
            best = max(self._states, key=lambda tokens: common_length(tokens, prompt), default=())
            shared = common_length(best, prompt)
            if not shared:
                return 0, 0, (), b""
            self._states.move_to_end(best)
            read, state = self._states[best]
            return shared, read, best, state


def common_length(a: list[int] | tuple[int, ...], b: tuple[int, ...]) -> int:
    """Return the length of the longest common prefix, found by bisection: comparing slices is much faster than a loop."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if tuple(a[low:middle]) == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low

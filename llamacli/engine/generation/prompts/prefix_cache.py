"""Evaluated prompts kept in memory when others take their slots: they return without evaluation."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from llamacli.engine.generation.prompts.checkpoints import Checkpoint, best_of, total_size

WORTHWHILE = 16
"""Least tokens worth a copy of their state: fewer are evaluated faster."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """Evaluated tokens and their state.

    The first `read` tokens were evaluated as a prompt; 0 if it is not known how, or in another way. If the state `is_cuttable`,
    a prompt can go on from any of them, else only from the last one and from the checkpoints.
    """

    tokens: tuple[int, ...]
    read: int
    state: bytes
    is_cuttable: bool = True
    checkpoints: tuple[Checkpoint, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of the state and the checkpoints."""
        return len(self.state) + total_size(self.checkpoints)

    def usable(self, prompt: tuple[int, ...]) -> int:
        """Return the tokens of a prompt that need no evaluation with this state."""
        shared = common_length(self.tokens, prompt)
        return shared if self.is_cuttable or shared == len(self.tokens) else best_of(self.checkpoints, shared)


class PrefixStore(Protocol):
    """States of sequences by their tokens."""

    @property
    def keeps_answers(self) -> bool:
        """True if every answer is kept at its end, not only what is about to be dropped."""

    def put(self, prefix: Prefix) -> None:
        """Keep a state."""

    def find(self, prompt: tuple[int, ...]) -> Prefix | None:
        """Return the state that spares a prompt most; None if none spares anything."""


class PrefixCache:
    """States of sequences by their tokens, the least recently used dropped first. `capacity` is in bytes. Thread-safe.

    A state fits only the context that it was saved from: a cache belongs to one engine.
    """

    keeps_answers = False

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self._states: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._states)

    def put(self, prefix: Prefix) -> None:
        """Keep a state, and drop others until all fit. A state larger than the capacity is not kept."""
        if prefix.size > self.capacity:
            return
        with self._lock:
            former = self._states.pop(prefix.tokens, None)
            self.size += prefix.size - (former.size if former is not None else 0)
            self._states[prefix.tokens] = prefix
            while self.size > self.capacity:
                self.size -= self._states.popitem(last=False)[1].size

    def find(self, prompt: tuple[int, ...]) -> Prefix | None:
        """Return the state that spares a prompt most; None if none spares anything."""
        with self._lock:
            best = max(self._states.values(), key=lambda prefix: prefix.usable(prompt), default=None)
            if best is None or not best.usable(prompt):
                return None
            self._states.move_to_end(best.tokens)
            return best


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

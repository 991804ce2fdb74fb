"""Checkpoints: what a sliding window, or the layers of a recurrent model, held after some tokens of a sequence.

Their memory cannot be cut at any token. From a checkpoint a sequence goes on as if it had never had the tokens behind it; the
layers with full attention are cut there. See also llama-server's context checkpoints (`tools/server` of llama.cpp).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llamacli.engine.media.placeholders import position_after
from llamacli.engine.runtime.hardware import available_memory
from llamacli.errors import StateError

if TYPE_CHECKING:
    from llamacli.engine.runtime.context import Context

logger = logging.getLogger("llamacli.engine")

LEAST_PROMPT: Final = 256
"""Tokens of the shortest prompt that is divided for a checkpoint before its end: that costs one evaluation more."""

TAIL: Final = 2
"""Tokens of a prompt behind its last checkpoint: one gives the logits, and a single token is computed by other kernels."""

_LEAST_GAP: Final = 128
"""Tokens between two checkpoints on the way."""

_MOST: Final = 16
_MOST_BYTES: Final = 1 << 30
_SHARE_OF_MEMORY: Final = 8


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The part of a sequence's state that cannot be cut, after `length` tokens, as llama.cpp serializes it."""

    length: int
    state: bytes


class Checkpoints:
    """The checkpoints of the slots of a context, none if its memory can be cut at any token. `capacity` in bytes."""

    def __init__(self, context: Context, capacity: int | None = None) -> None:
        self._context = context
        if capacity is None:
            available = available_memory()
            capacity = _MOST_BYTES if available is None else min(_MOST_BYTES, available // _SHARE_OF_MEMORY)
        self._capacity = capacity
        self._of: dict[int, list[Checkpoint]] = {}

    @property
    def are_needed(self) -> bool:
        """True if the context cannot be cut at any token."""
        return not self._context.is_cuttable

    def of(self, slot: int) -> tuple[Checkpoint, ...]:
        """Return the checkpoints of a slot, in order."""
        return tuple(self._of.get(slot, ()))

    def put(self, slot: int, checkpoints: Iterable[Checkpoint]) -> None:
        """Replace the checkpoints of a slot."""
        self._of[slot] = list(checkpoints)
        self._drop_some()

    def make(self, slot: int, length: int) -> None:
        """Make a checkpoint of a slot, whose cache holds `length` tokens."""
        known = self._of.setdefault(slot, [])
        if not known or known[-1].length < length:
            known.append(Checkpoint(length, self._context.save_sequence(slot, partial=True)))
            self._drop_some()

    def is_due(self, slot: int, length: int) -> bool:
        """Return whether a checkpoint on the way is far enough from the one before."""
        known = self._of.get(slot)
        return length - (known[-1].length if known else 0) >= _LEAST_GAP

    def best(self, slot: int, length: int) -> int:
        """Return the tokens of the longest checkpoint of a slot that has at most `length`; 0 without one."""
        return best_of(self._of.get(slot, ()), length)

    def rewind(self, slot: int, tokens: list[int], length: int) -> int:
        """Take a slot that holds `tokens` back to its longest checkpoint of at most `length` tokens; return their number.

        Without one, or if llama.cpp rejects it, the slot is emptied.
        """
        best = self.best(slot, length)
        self.cut(slot, best)
        if best:
            try:
                self._context.restore_sequence(slot, self._of[slot][-1].state, partial=True)
            except StateError as error:
                logger.debug("a checkpoint is not used: %s", error)
            else:
                if self._context.forget(slot, position_after(tokens[:best])):
                    return best
        self._context.forget(slot)
        self.cut(slot, 0)
        return 0

    def cut(self, slot: int, length: int) -> None:
        """Drop the checkpoints of a slot with more than `length` tokens."""
        self._of[slot] = [one for one in self._of.get(slot, ()) if one.length <= length]

    def clear(self) -> None:
        """Drop all."""
        self._of.clear()

    def _drop_some(self) -> None:
        """Drop checkpoints until the others fit: of the slot with most bytes the one that lies closest between two others."""
        for known in self._of.values():
            while len(known) > _MOST:
                _drop_one(known)
        while sum(map(total_size, self._of.values())) > self._capacity:
            _drop_one(max(self._of.values(), key=total_size))


def best_of(checkpoints: Iterable[Checkpoint], length: int) -> int:
    """Return the tokens of the longest checkpoint that has at most `length`; 0 without one."""
    return max((one.length for one in checkpoints if one.length <= length), default=0)


def total_size(checkpoints: Iterable[Checkpoint]) -> int:
    """Return the bytes of checkpoints."""
    return sum(len(one.state) for one in checkpoints)


def _drop_one(known: list[Checkpoint]) -> None:
    """Drop the one that is missed least. The last one, near the end of a prompt, is used most."""
    lengths = [0, *(one.length for one in known)]
    inner = range(len(known) - 1)
    del known[min(inner, key=lambda index: lengths[index + 2] - lengths[index], default=0)]

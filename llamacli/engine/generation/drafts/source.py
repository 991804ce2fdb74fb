"""A source of drafts other than text: a smaller model, or heads that take the states of the model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

from llamacli.engine.generation.batches.burst import Choice
from llamacli.engine.generation.drafts.model_gate import ModelGate


class DraftSource(Protocol):
    """Drafts tokens for the slots of a context. `watches`: it must see what is evaluated, by `follow`."""

    gate: ModelGate
    watches: bool

    def missing(self, slot: int, text: list[int]) -> int | None:
        """Return how many tokens of a text are to be evaluated before a draft; None if it cannot draft here."""

    def draft(self, slot: int, text: list[int], most: int, least: float) -> list[int]:
        """Return up to `most` tokens that probably follow a text, up to the first with a probability below `least`.

        Raises:
            CancelledError: if the cancel flag was set.
            DecodeError, MemoryFullError: as `Context.decode`.
        """

    def follow(self, slot: int, tokens: list[int], position: int, output: int) -> None:
        """See tokens of a slot that the model has just evaluated at `position`; `output` is the first one's index in its batch.

        Raises: as `draft`.
        """

    def close(self) -> None:
        """Free what it owns."""


def probable(choices: Iterable[Choice], n_vocab: int, least: float) -> list[int]:
    """Return the tokens of choices up to the first that is less probable than `least`, or not one of `n_vocab`."""
    limit, tokens = math.log(least) if least > 0 else -math.inf, []
    for choice in choices:
        if not 0 <= choice.token < n_vocab or choice.logprob < limit:
            break
        tokens.append(choice.token)
    return tokens

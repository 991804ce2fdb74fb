"""What logits say about the tokens that came: log probabilities, and the divergence from a reference.

Definitions are those of llama-perplexity. Rows are (n, n_vocab) floats; they are worked on in strips that stay in the caches,
on several threads: numpy works without the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SMALLEST_LOG_PROBABILITY = -16.0
"""Tokens to which the reference gives no more than this contribute nothing to the divergence."""

_STRIP_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Scores:
    """Of each judged token: the negative log probability of a model and, if there is one, of its reference.

    `divergences` are KL divergences of the model's distributions from the reference's. `agrees`: both find the same token most
    probable.
    """

    losses: Floats
    reference_losses: Floats
    divergences: Floats
    agrees: NDArray[np.bool_]


class Reference(Protocol):
    """The distributions of a reference for some rows."""

    def log_probabilities(self, begin: int, end: int) -> Floats:
        """Return the log probabilities (end - begin, n_vocab) of these rows. They may be overwritten."""


@dataclass(frozen=True, slots=True)
class ReferenceLogits:
    """A reference that has just been evaluated."""

    logits: Floats

    def log_probabilities(self, begin: int, end: int) -> Floats:
        """Return the log probabilities of these rows."""
        return log_softmax(self.logits[begin:end])


def log_softmax(logits: Floats) -> Floats:
    """Return the log probabilities of rows of logits, in memory of their own."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    found: Floats = shifted
    return found


def score(logits: Floats, targets: Sequence[int], reference: Reference | None, pool: Executor) -> Scores:
    """Score rows of logits, each by the token that came after it."""
    wanted = np.asarray(targets, dtype=np.intp)
    rows = max(1, _STRIP_BYTES // max(1, logits.strides[0]))
    strips = [(begin, min(begin + rows, len(wanted))) for begin in range(0, len(wanted), rows)]
    parts = list(pool.map(lambda strip: _score_strip(logits, wanted, reference, *strip), strips))
    return join_scores(parts)


def gather(logits: Floats, rows: Sequence[int], tokens: Sequence[int], pool: Executor) -> Floats:
    """Return the log probability of each of `tokens` in the row of logits that belongs to it; `rows` ascend."""
    numbers, wanted = np.asarray(rows, np.intp), np.asarray(tokens, np.intp)
    size = max(1, _STRIP_BYTES // max(1, logits.strides[0]))

    def of_strip(begin: int) -> Floats:
        inside = slice(*np.searchsorted(numbers, (begin, begin + size)))
        found: Floats = log_softmax(logits[begin : begin + size])[numbers[inside] - begin, wanted[inside]]
        return found

    return np.concatenate(list(pool.map(of_strip, range(0, len(logits), size))))


def join_scores(parts: Sequence[Scores]) -> Scores:
    """Return the scores of consecutive tokens as one."""
    return Scores(
        np.concatenate([part.losses for part in parts]),
        np.concatenate([part.reference_losses for part in parts]),
        np.concatenate([part.divergences for part in parts]),
        np.concatenate([part.agrees for part in parts]),
    )


def _score_strip(logits: Floats, targets: NDArray[np.intp], reference: Reference | None, begin: int, end: int) -> Scores:
    ours, wanted = log_softmax(logits[begin:end]), targets[begin:end]
    chosen = np.arange(end - begin)
    losses = -ours[chosen, wanted]
    if reference is None:
        nothing = np.empty(0, np.float32)
        return Scores(losses, nothing, nothing, np.empty(0, np.bool_))
    theirs = reference.log_probabilities(begin, end)
    reference_losses = -theirs[chosen, wanted]
    agrees = ours.argmax(axis=1) == theirs.argmax(axis=1)
    counts = theirs > SMALLEST_LOG_PROBABILITY
    weights = np.exp(theirs)
    np.subtract(theirs, ours, out=theirs, where=counts)
    np.multiply(theirs, weights, out=theirs, where=counts)
    divergences = theirs.sum(axis=1, dtype=np.float64, where=counts).astype(np.float32)
    return Scores(losses, reference_losses, divergences, agrees)

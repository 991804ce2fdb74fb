"""Biases that name their tokens by text."""

from __future__ import annotations

from collections.abc import Sequence

from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.errors import UsageError

Bias = tuple[int | str, float]
"""A token's id, or a text of which every token is meant, and what is added to its logit; -inf forbids it."""


def resolve_biases(vocabulary: Vocabulary, biases: Sequence[Bias]) -> tuple[tuple[int, float], ...]:
    """The biases by token id. A text that is written as a control token is that token.

    Raises:
        UsageError: an id outside the vocabulary, or an empty text.
    """
    resolved = []
    for token, bias in biases:
        if isinstance(token, int):
            vocabulary.check_ids((token,))
            resolved.append((token, bias))
            continue
        tokens = vocabulary.tokenize(token, special=True)
        if not tokens:
            raise UsageError(f"the text of a logit bias has no tokens: {token!r}")
        resolved += [(each, bias) for each in dict.fromkeys(tokens)]
    return tuple(resolved)

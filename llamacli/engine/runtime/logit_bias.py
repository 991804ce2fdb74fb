"""Logit biases for tokens given by id or by text."""

from __future__ import annotations

from collections.abc import Sequence

from llamacli.engine.runtime.vocabulary import Vocabulary
from llamacli.errors import UsageError

Bias = tuple[int | str, float]
"""A token id, or a text whose tokens are all meant, and the value added to the logit; -inf forbids the token."""


def resolve_biases(vocabulary: Vocabulary, biases: Sequence[Bias]) -> tuple[tuple[int, float], ...]:
    """Return the biases by token id. The text of a control token stands for that token.

    Raises:
        UsageError: if an id is outside the vocabulary, or a text is empty.
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

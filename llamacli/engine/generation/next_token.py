"""The probabilities of the next token, without a choice."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llamacli.engine.events import NextToken
from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model
from llamacli.errors import ContextFullError, UsageError

_BATCH = 512


def next_tokens(model: Model, tokens: Sequence[int]) -> list[NextToken]:
    """Return every token of the vocabulary with its natural-log probability after `tokens`, before any sampler.

    Raises:
        UsageError: if there are no tokens.
        ContextFullError: if there are more tokens than the model was trained for.
        MemoryFullError, DecodeError: as `Context`.
    """
    if not tokens:
        raise UsageError("this model needs at least one token of context", hint="put a text before", parameter="prompt")
    if model.n_ctx_train and len(tokens) > model.n_ctx_train:
        message = f"the text has {len(tokens):,} tokens, and the model holds {model.n_ctx_train:,}"
        raise ContextFullError(message, needed=len(tokens), available=model.n_ctx_train)
    with Context(model, ContextParams(n_ctx=len(tokens) + 1, n_batch=_BATCH, n_ubatch=_BATCH)) as context:
        for start in range(0, len(tokens), _BATCH):
            chunk = list(tokens[start : start + _BATCH])
            places = list(range(start, start + len(chunk)))
            context.decode(chunk, places, [0] * len(chunk), [0] * (len(chunk) - 1) + [1])
        logits = list(context.logits(len(chunk) - 1))
    most = max(logits)
    total = most + math.log(math.fsum(math.exp(logit - most) for logit in logits))
    vocabulary = model.vocabulary
    return [
        NextToken(token, vocabulary.special_piece(token), logit - total, vocabulary.is_end(token))
        for token, logit in enumerate(logits)
    ]

"""The log probabilities of a prompt's own tokens."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llamacli.engine.events import Token, TokenLogprob
from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_BATCH = 128
"""Tokens of a batch, each with logits for the whole vocabulary."""


def prompt_logprobs(model: Model, tokens: Sequence[int], top: int) -> tuple[Token, ...]:
    """Return the tokens of a prompt with their log probabilities and the `top` most probable ones at their positions.

    The first has none: nothing comes before it. A BOS token is left out.

    Raises:
        UsageError: if a token is outside the vocabulary.
        MemoryFullError, DecodeError: as `Context`.
    """
    model.vocabulary.check_ids(tokens)
    decoder, found = codecs.getincrementaldecoder("utf-8")("replace"), []
    params = ContextParams(n_ctx=len(tokens) + 1, n_batch=_BATCH, n_ubatch=_BATCH, all_outputs=True)
    with Context(model, params) as context:
        before: npt.NDArray[np.single] | None = None
        for start in range(0, len(tokens), _BATCH):
            batch = list(tokens[start : start + _BATCH])
            context.decode(batch, list(range(start, start + len(batch))), [0] * len(batch), [1] * len(batch))
            for index, token in enumerate(batch):
                piece = model.vocabulary.special_piece(token)
                if start + index or token != model.vocabulary.bos:
                    logprob, best = _judged(model, before, token, top)
                    found.append(Token(0, token, piece, decoder.decode(piece), logprob, best))
                before = _log_softmax(context.logits(index))
    return tuple(found)


def _judged(
    model: Model, logprobs: npt.NDArray[np.single] | None, token: int, top: int
) -> tuple[float | None, tuple[TokenLogprob, ...]]:
    import numpy as np

    if logprobs is None:
        return None, ()
    best = np.argsort(logprobs)[: -top - 1 : -1] if top else ()
    pieces = model.vocabulary.special_piece
    return float(logprobs[token]), tuple(TokenLogprob(int(one), pieces(int(one)), float(logprobs[one])) for one in best)


def _log_softmax(logits: memoryview[float]) -> npt.NDArray[np.single]:
    import numpy as np

    shifted = np.array(logits, dtype=np.single)
    shifted -= shifted.max()
    result: npt.NDArray[np.single] = shifted - np.log(np.exp(shifted).sum())
    return result

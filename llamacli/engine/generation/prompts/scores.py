"""Log probabilities of tokens that were given, not chosen: those of a prompt, from the logits before each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llamacli.engine.events import Token, TokenLogprob
from llamacli.engine.generation.text.stream import TextStream


class PromptScores:
    """The tokens of the prompt of sequence number `identity`, with their log probabilities as far as they are known.

    The first token has none. `top` is the number of most probable tokens to report at each position; `piece` returns the bytes
    of a token.
    """

    def __init__(self, identity: int, prompt: Sequence[int], top: int, piece: Callable[[int], bytes]) -> None:
        self._identity = identity
        self._prompt = prompt
        self._top = top
        self._piece = piece
        self._text = TextStream()
        self.tokens: list[Token] = []
        self._add(prompt[0], None, ())

    def take(self, logits: memoryview[float]) -> None:
        """Take the logits, (n_vocab,) floats, after the last token of `tokens`."""
        if len(self.tokens) == len(self._prompt):
            return
        import numpy as np  # needed only here

        row = np.asarray(logits, dtype=np.float64)
        row -= row.max()
        row -= np.log(np.exp(row).sum())
        best = np.argpartition(row, -self._top)[-self._top :] if self._top else ()
        token = self._prompt[len(self.tokens)]
        ranked = sorted(((float(row[one]), int(one)) for one in best), reverse=True)
        self._add(token, float(row[token]), tuple(TokenLogprob(one, self._piece(one), value) for value, one in ranked))

    def _add(self, token: int, logprob: float | None, top: tuple[TokenLogprob, ...]) -> None:
        piece = self._piece(token)
        self.tokens.append(Token(self._identity, token, piece, self._text.feed(piece), logprob, top))

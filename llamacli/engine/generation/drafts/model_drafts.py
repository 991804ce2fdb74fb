"""What a draft model guesses: its own cache follows the text, and it evaluates what it lacks."""

from __future__ import annotations

import time

from llamacli.engine.generation.batches.burst import Burst
from llamacli.engine.generation.drafts.model_gate import ModelGate
from llamacli.engine.generation.drafts.source import probable
from llamacli.engine.generation.prompts.prefix_cache import common_length
from llamacli.engine.generation.sampler import Sampler
from llamacli.engine.params import SamplingParams
from llamacli.engine.runtime.context import Context
from llamacli.errors import CancelledError


class ModelDrafts:
    """The drafts of a model, which has a context of its own with the slots of the larger one's.

    `n_vocab` is the size of the larger model's vocabulary, `relative_size` that of the draft model, compared with it.
    """

    watches = False

    def __init__(self, context: Context, n_vocab: int, relative_size: float) -> None:
        self._context = context
        self._bursts = Burst(context)
        self._sampler = Sampler(context.model, SamplingParams(temperature=0.0), logprobs=0)
        self._held: list[list[int]] = [[] for _ in range(context.params.n_seq_max)]
        self._n_vocab = n_vocab
        self._n_own = context.model.vocabulary.size
        self.gate = ModelGate(relative_size)

    def missing(self, slot: int, text: list[int]) -> int | None:
        """Return how many tokens of a text this model has not evaluated; None if it does not know some of them."""
        same = common_length(self._held[slot], tuple(text))
        rest = text[same:]
        return None if rest and (min(rest) < 0 or max(rest) >= self._n_own) else len(rest)

    def draft(self, slot: int, text: list[int], most: int, least: float) -> list[int]:
        """See `DraftSource`."""
        try:
            self._catch_up(slot, text)
            return self._continue(slot, text, most, least)
        except BaseException:
            self._forget(slot, 0)
            raise

    def _catch_up(self, slot: int, text: list[int]) -> None:
        """Evaluate a text without its last token, as far as that was not done before."""
        held = self._held[slot]
        same = min(common_length(held, tuple(text)), len(text) - 1)
        if same < len(held):
            self._forget(slot, same)
        started = time.perf_counter()
        rest = text[same:-1]
        size = self._context.n_batch
        for start in range(0, len(rest), size):
            part = rest[start : start + size]
            positions = list(range(same + start, same + start + len(part)))
            self._context.decode(part, positions, [slot] * len(part), [0] * len(part), counts=False)
        held += rest
        self.gate.measured_catch_up(len(rest), time.perf_counter() - started)

    def _continue(self, slot: int, text: list[int], most: int, least: float) -> list[int]:
        started = time.perf_counter()
        lane = self._sampler.lane(slot, len(text) - 1, text[-1], None, least=least)
        done, cancelled = self._bursts.run([lane], most)
        if cancelled:
            raise CancelledError("drafting was cancelled")
        choices = [choices[0] for choices in done]
        self._held[slot] += [text[-1], *(choice.token for choice in choices[:-1])]
        self.gate.measured_tokens(len(choices), time.perf_counter() - started)
        return probable(choices, self._n_vocab, least)

    def follow(self, slot: int, tokens: list[int], position: int, output: int) -> None:
        """Do nothing: this model evaluates the text by itself."""

    def _forget(self, slot: int, start: int) -> None:
        """Drop what the cache holds from a token on."""
        if not self._context.forget(slot, start):
            self._context.forget(slot)
            start = 0
        del self._held[slot][start:]

    def close(self) -> None:
        """Free the context."""
        self._sampler.close()
        self._context.close()

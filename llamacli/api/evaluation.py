"""The calls that evaluate by hand: tokens in, logits out, one sampled token at a time."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any, Unpack

from llamacli.api.completion import Completions
from llamacli.api.manual import ManualEvaluation, SavedState
from llamacli.api.options import FurtherSampling, sampling_params
from llamacli.engine.context import Context
from llamacli.engine.engine import Engine
from llamacli.engine.params import ContextParams, SamplingParams
from llamacli.errors import ClosedError


class Evaluations(Completions):
    """The calls that evaluate by hand, in a context of their own. A base of `Llama`, which loads the model."""

    def __init__(
        self,
        engine: Engine,
        context: ContextParams,
        *,
        name: str,
        chat_format: str | None,
        seed: int | None,
        logits_all: bool,
    ) -> None:
        super().__init__(engine, name=name, chat_format=chat_format, seed=seed)
        self._context_params, self._logits_all = context, logits_all
        self._lock = threading.Lock()
        self._manual: ManualEvaluation | None = None

    @property
    def n_tokens(self) -> int:
        """How many tokens were evaluated by hand since `reset`."""
        return len(self._manual.tokens) if self._manual is not None else 0

    def reset(self) -> None:
        """Forgets what was evaluated by hand."""
        self.manual().reset()

    def eval(self, tokens: Sequence[int]) -> None:
        """Evaluates tokens after those before.

        >>> llm.reset()
        >>> llm.eval(llm.tokenize(b"Hello"))
        >>> llm.logits().shape == (llm.n_vocab(),)
        True

        Raises:
            ContextFullError: they do not fit.
        """
        self.manual().eval(tokens)

    def logits(self) -> Any:
        """The logits of the last evaluated token: a numpy array of float32, (n_vocab,), valid until the next `eval`.

        With `logits_all`: a copy of those of all tokens of the last `eval`, (n, n_vocab).
        """
        return self.manual().logits()

    def sample(
        self,
        top_k: int | None = None,
        top_p: float | None = None,
        temp: float | None = None,
        *,
        logits_processor: Callable[[list[int], Any], Any] | None = None,
        **sampling: Unpack[FurtherSampling],
    ) -> int:
        """A token chosen from the last logits; further keywords are `FurtherSampling`.

        >>> 0 <= llm.sample(temp=0) < llm.n_vocab()
        True
        """
        return self.manual().sample(self._sampling(top_k, top_p, temp, sampling), logits_processor)

    def generate(
        self,
        tokens: Sequence[int],
        top_k: int | None = None,
        top_p: float | None = None,
        temp: float | None = None,
        *,
        reset: bool = True,
        **sampling: Unpack[FurtherSampling],
    ) -> Generator[int, Sequence[int] | None, None]:
        """Samples tokens for ever after `tokens`; what is sent into the generator is evaluated too.

        >>> generator = llm.generate(llm.tokenize(b"Hello"), temp=0)
        >>> len([next(generator) for _ in range(3)])
        3
        """
        params = self._sampling(top_k, top_p, temp, sampling)
        if reset:
            self.reset()
        return self.manual().generate(tokens, params)

    def save_state(self) -> SavedState:
        """What was evaluated by hand, with its cache.

        >>> state = llm.save_state()
        >>> llm.load_state(state)
        >>> llm.n_tokens == len(state.tokens)
        True
        """
        return self.manual().save()

    def load_state(self, state: SavedState) -> None:
        """Goes back to a saved state. Raises StateError for one of another model."""
        self.manual().load(state)

    def manual(self) -> ManualEvaluation:
        """The context in which tokens are evaluated by hand: one of its own, made when it is first used."""
        with self._lock:
            if self._closed:
                raise ClosedError("this Llama is closed")
            if self._manual is None:
                context = Context(self.engine.model, self._context_params_alone())
                self._manual = ManualEvaluation(context, keep_all=self._logits_all)
            return self._manual

    def _context_params_alone(self) -> ContextParams:
        return dataclasses.replace(self._context_params, n_seq_max=1, all_outputs=self._logits_all)

    def _sampling(self, top_k: int | None, top_p: float | None, temp: float | None, more: FurtherSampling) -> SamplingParams:
        return sampling_params(self._defaults, {**more, "top_k": top_k, "top_p": top_p, "temperature": temp})

    def close(self) -> None:
        """Frees the context; may be called twice."""
        with self._lock:
            self._closed = True
            manual, self._manual = self._manual, None
            if manual is not None:
                manual.close()

"""The low-level calls of `Llama`: tokens in, logits out, one sampled token at a time."""

from __future__ import annotations

import dataclasses
import threading
import warnings
import weakref
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from typing import Any, Unpack

from llamacli.api.argument_names import argument_names
from llamacli.api.arguments import (
    LogitsProcessor,
    StoppingCriterion,
    constraint_of,
    criterion_of,
    processor_of,
    token_ids,
)
from llamacli.api.completion import Completions
from llamacli.api.grammar import LlamaGrammar
from llamacli.api.manual import ManualEvaluation, SavedState, Steering
from llamacli.api.options import FurtherSampling, sampling_params
from llamacli.engine.engine import Engine
from llamacli.engine.params import ContextParams, SamplingParams
from llamacli.errors import ClosedError, UsageError


class Evaluations(Completions):
    """The low-level calls, in a separate context. A base of `Llama`, which loads the model.

    They share one sequence; calls from several threads are serialized.
    """

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
        self._lock = threading.RLock()  # reentrant: a signal handler may close
        self._manual: ManualEvaluation | None = None
        self._owned = ExitStack()
        """Owners of C memory, closed by `close()`, or when this object is dropped without it."""
        self._owned.callback(engine.close)
        self._forgotten = weakref.finalize(self, _close_forgotten, self._owned, name)
        self._forgotten.atexit = False  # the end of the process frees everything

    @property
    def n_tokens(self) -> int:
        """The number of tokens evaluated by `eval` since `reset`."""
        return len(self._manual.tokens) if self._manual is not None else 0

    def reset(self) -> None:
        """Clear the tokens evaluated by `eval`."""
        self.manual().reset()

    def eval(self, tokens: Sequence[int]) -> None:
        """Evaluate tokens after the current ones.

        >>> llm.reset()
        >>> llm.eval(llm.tokenize(b"Hello"))
        >>> llm.logits().shape == (llm.n_vocab(),)
        True

        Raises:
            ContextFullError: if they do not fit.
            UsageError: if one of them is not a token id of this model.
        """
        with argument_names():
            self.manual().eval(token_ids(tokens, "tokens"))

    def logits(self) -> Any:
        """Return the logits of the last evaluated token: a numpy array of float32, (n_vocab,).

        `sample` uses changes made to it before the next `eval`; the array stays valid after that, and after `close()`. With
        `logits_all`, return a copy of the logits of all tokens of the last `eval`, (n, n_vocab).

        >>> llm.logits()[77] = 1e6
        >>> llm.sample(temp=0)
        77
        """
        return self.manual().logits()

    def sample(
        self,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        temp: float | None = None,
        repeat_penalty: float | None = None,
        *,
        logits_processor: LogitsProcessor | Sequence[LogitsProcessor] | None = None,
        **sampling: Unpack[FurtherSampling],
    ) -> int:
        """Sample a token from the last logits; further keywords are `FurtherSampling`.

        >>> 0 <= llm.sample(temp=0) < llm.n_vocab()
        True
        """
        with argument_names():
            params = self._sampling(top_k, top_p, min_p, typical_p, temp, repeat_penalty, sampling)
            return self.manual().sample(params, processor_of(logits_processor))

    def generate(
        self,
        tokens: Sequence[int],
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        temp: float | None = None,
        repeat_penalty: float | None = None,
        reset: bool = True,
        *,
        logits_processor: LogitsProcessor | Sequence[LogitsProcessor] | None = None,
        stopping_criteria: StoppingCriterion | Sequence[StoppingCriterion] | None = None,
        grammar: LlamaGrammar | str | None = None,
        **sampling: Unpack[FurtherSampling],
    ) -> Generator[int, Sequence[int] | None, None]:
        """Yield sampled tokens after `tokens`, without end; tokens sent into the generator are evaluated too.

        A logits processor receives the evaluated tokens and an (n_vocab,) array of logits, which it changes or replaces. A
        stopping criterion receives the same, and returns whether to end before the sampled token. With a grammar the generator
        ends when nothing more can follow.

        >>> generator = llm.generate(llm.tokenize(b"Hello"), temp=0)
        >>> len([next(generator) for _ in range(3)])
        3
        >>> llm.detokenize(list(llm.generate(llm.tokenize(b"Hello"), grammar='root ::= "yes"')))
        b'yes'
        >>> len(list(llm.generate([77, 78], stopping_criteria=lambda tokens, logits: len(tokens) == 5)))
        3
        """
        with argument_names():
            params = self._sampling(top_k, top_p, min_p, typical_p, temp, repeat_penalty, sampling)
        steering = Steering(
            processor=processor_of(logits_processor), constraint=constraint_of(grammar), stops=criterion_of(stopping_criteria)
        )
        prompt, manual = token_ids(tokens, "tokens"), self.manual()
        if reset:
            manual.reset()
        return self._generated(manual.generate(prompt, params, steering))

    def _generated(self, tokens: Generator[int, Any, None]) -> Generator[int, Sequence[int] | None, None]:
        """Yield the tokens, and keep this object alive, which closes the model when it is dropped."""
        with argument_names():
            yield from tokens

    def save_state(self) -> SavedState:
        """Return the evaluated tokens with their KV cache.

        >>> state = llm.save_state()
        >>> llm.load_state(state)
        >>> llm.n_tokens == len(state.tokens)
        True
        """
        return self.manual().save()

    def load_state(self, state: SavedState) -> None:
        """Restore a saved state.

        Raises:
            StateError: if it belongs to another model, build or context.
            UsageError: if it is not a SavedState.
        """
        if not isinstance(state, SavedState):
            raise UsageError(
                f"load_state needs a SavedState, not {type(state).__name__}", hint="SavedState.from_bytes reads bytes"
            )
        with argument_names():
            self.manual().load(state)

    def manual(self) -> ManualEvaluation:
        """Return the low-level evaluation, whose context is created at the first call."""
        with self._lock:
            if self._closed:
                raise ClosedError("this Llama is closed")
            if self._manual is None:
                params = dataclasses.replace(self._context_params, n_seq_max=1, all_outputs=self._logits_all)
                self._manual = ManualEvaluation(self._engine.model, params, keep_all=self._logits_all)
                self._owned.callback(self._manual.close)
            return self._manual

    def _sampling(
        self,
        top_k: int | None,
        top_p: float | None,
        min_p: float | None,
        typical_p: float | None,
        temp: float | None,
        repeat_penalty: float | None,
        more: FurtherSampling,
    ) -> SamplingParams:
        named = {"top_k": top_k, "top_p": top_p, "min_p": min_p, "typical_p": typical_p, "temperature": temp}
        return sampling_params(self._defaults, {**more, **named, "repeat_penalty": repeat_penalty})

    # --- the end --------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Free the model and its contexts; running calls raise ClosedError. Idempotent."""
        with self._lock:
            self._closed = True
            owned = self._owned.pop_all()
        self._forgotten.detach()
        owned.close()  # outside the lock: it waits for calls that may need it


def _close_forgotten(owned: ExitStack, name: str) -> None:
    owned.close()
    warnings.warn(f"a Llama of {name} was dropped without close()", ResourceWarning, stacklevel=2)

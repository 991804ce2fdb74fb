"""The calls that evaluate by hand: tokens in, logits out, one sampled token at a time."""

from __future__ import annotations

import dataclasses
import threading
import warnings
import weakref
from collections.abc import Generator, Sequence
from contextlib import ExitStack
from typing import Any, Unpack

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
from llamacli.api.wording import argument_names
from llamacli.engine.engine import Engine
from llamacli.engine.params import ContextParams, SamplingParams
from llamacli.errors import ClosedError, UsageError


class Evaluations(Completions):
    """The calls that evaluate by hand, in a context of their own. A base of `Llama`, which loads the model.

    There is one sequence: calls of several threads take turns at it.
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
        self._lock = threading.RLock()  # again by the same thread: a signal's handler may close
        self._manual: ManualEvaluation | None = None
        self._owned = ExitStack()
        """What holds memory of C: closed by `close()`, or when this object is dropped without it."""
        self._owned.callback(engine.close)
        self._forgotten = weakref.finalize(self, _close_forgotten, self._owned, name)
        self._forgotten.atexit = False  # the process takes everything with it

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
            UsageError: one of them is no token id of this model.
        """
        with argument_names():
            self.manual().eval(token_ids(tokens, "tokens"))

    def logits(self) -> Any:
        """The logits of the last evaluated token: a numpy array of float32, (n_vocab,).

        What is changed in it before the next `eval` counts for `sample`; the array stays as it is after that, and after
        `close()`. With `logits_all`: a copy of those of all tokens of the last `eval`, (n, n_vocab).

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
        """A token chosen from the last logits; further keywords are `FurtherSampling`.

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
        """Samples tokens for ever after `tokens`; what is sent into the generator is evaluated too.

        A logits processor gets the evaluated tokens and a (n_vocab,) array of logits that it changes or returns anew. A
        stopping criterion gets the same, and says whether to end before the token that was chosen. With a grammar the
        generator ends when nothing more may follow.

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
        """The same. Holds this object, which would close when nobody else does."""
        with argument_names():
            yield from tokens

    def save_state(self) -> SavedState:
        """What was evaluated by hand, with its cache.

        >>> state = llm.save_state()
        >>> llm.load_state(state)
        >>> llm.n_tokens == len(state.tokens)
        True
        """
        return self.manual().save()

    def load_state(self, state: SavedState) -> None:
        """Goes back to a saved state. Raises StateError for one of another model, UsageError for what is none."""
        if not isinstance(state, SavedState):
            raise UsageError(
                f"load_state takes what save_state gave, not {type(state).__name__}", hint="SavedState.from_bytes reads bytes"
            )
        with argument_names():
            self.manual().load(state)

    def manual(self) -> ManualEvaluation:
        """What evaluates by hand, in a context of its own that is made when it is first used."""
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
        """Frees the model and its contexts; calls that are running raise ClosedError. May be called twice."""
        with self._lock:
            self._closed = True
            owned = self._owned.pop_all()
        self._forgotten.detach()
        owned.close()  # not under the lock: what is waited for may be calling


def _close_forgotten(owned: ExitStack, name: str) -> None:
    owned.close()
    warnings.warn(f"a Llama of {name} was dropped without close()", ResourceWarning, stacklevel=2)

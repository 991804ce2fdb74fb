"""The low-level calls of `Llama`: tokens in, logits out, one sampled token at a time."""

from __future__ import annotations

import dataclasses
import os
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Unpack

from llamacli.api.argument_names import argument_names
from llamacli.api.arguments import constraint_of, token_ids
from llamacli.api.callables import LogitsProcessor, StoppingCriteria, criterion_of, processor_of
from llamacli.api.completion import Completions
from llamacli.api.grammar import LlamaGrammar
from llamacli.api.options import FurtherSampling, sampling_params
from llamacli.api.speculative import LlamaDraftModel
from llamacli.api.state.saved import SavedState
from llamacli.api.steered import SteeredEvaluation, Steering
from llamacli.engine.engine import Engine
from llamacli.engine.params import ContextParams, SamplingParams
from llamacli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Evaluations(Completions):
    """The low-level calls, in a separate context. A base of `Llama`, which loads the model.

    They share one sequence; calls from several threads are serialized.
    """

    def __init__(
        self,
        engine: Engine,
        context: ContextParams,
        *,
        logits_all: bool,
        draft_model: LlamaDraftModel | None,
        name: str,
        seed: int | None,
        **more: Any,
    ) -> None:
        super().__init__(engine, name=name, seed=seed, **more)
        self._context_params, self._logits_all = context, logits_all
        self.draft_model = draft_model
        self._lock = threading.RLock()  # reentrant: a signal handler may close
        self._manual: SteeredEvaluation | None = None
        self._process = os.getpid()
        self._owned = ExitStack()
        """Owners of C memory, closed by `close()`, or when this object is dropped without it."""
        self._owned.callback(engine.close)
        self._forgotten = weakref.finalize(self, _close_forgotten, self._owned, name, self._process)
        self._forgotten.atexit = False  # the end of the process frees everything

    # --- the sequence ---------------------------------------------------------------------------------------------------

    @property
    def n_tokens(self) -> int:
        """The number of tokens evaluated by `eval` since `reset`. Setting a smaller number goes back."""
        return len(self._manual.tokens) if self._manual is not None else 0

    @n_tokens.setter
    def n_tokens(self, count: int) -> None:
        self.manual().rewind(count)

    @property
    def input_ids(self) -> npt.NDArray[np.intc]:
        """The evaluated tokens, and zeros up to the size of the context: (n_ctx,) integers."""
        import numpy as np

        ids = np.zeros(self.engine.n_ctx, dtype=np.intc)
        ids[: self.n_tokens] = self.manual().tokens
        return ids

    @property
    def eval_tokens(self) -> deque[int]:
        """The evaluated tokens."""
        return deque(self.manual().tokens, maxlen=self.engine.n_ctx)

    @property
    def eval_logits(self) -> deque[list[float]]:
        """The logits of the evaluated tokens, of the last one alone without `logits_all`."""
        return deque(self.scores.tolist(), maxlen=self.engine.n_ctx if self._logits_all else 1)

    @property
    def scores(self) -> npt.NDArray[np.single]:
        """The logits of the evaluated tokens, (n_tokens, n_vocab); without `logits_all` only the last row has values."""
        found: npt.NDArray[np.single] = self.manual().rows()
        return found

    def reset(self) -> None:
        """Clear the tokens evaluated by `eval`."""
        self.manual().reset()

    def eval(self, tokens: Sequence[int]) -> None:
        """Evaluate tokens after the current ones. Those that the cache holds from before `reset` are not evaluated again.

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
        `logits_all`, return a copy of the logits of all evaluated tokens, (n, n_vocab).

        >>> llm.logits()[77] = 1e6
        >>> llm.sample(temp=0)
        77
        """
        return self.manual().logits()

    # --- sampling -------------------------------------------------------------------------------------------------------

    def sample(
        self,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        temp: float | None = None,
        repeat_penalty: float | None = None,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        tfs_z: float | None = None,
        mirostat_mode: int | None = None,
        mirostat_eta: float | None = None,
        mirostat_tau: float | None = None,
        penalize_nl: bool | None = None,
        logits_processor: LogitsProcessor | Sequence[LogitsProcessor] | None = None,
        grammar: LlamaGrammar | str | None = None,
        idx: int | None = None,
        *,
        seed: int | None = None,
        logit_bias: Mapping[int, float] | None = None,
        **further: Unpack[FurtherSampling],
    ) -> int:
        """Sample a token from the last logits, under a grammar from its start. `idx` is the position of the last token.

        >>> 0 <= llm.sample(temp=0) < llm.n_vocab()
        True

        Raises:
            UsageError: if nothing has been evaluated, or `idx` is another position.
            ConstraintError: if the grammar allows no token.
        """
        with argument_names():
            if idx is not None and idx not in (-1, self.n_tokens - 1):
                raise UsageError(
                    f"idx must be {self.n_tokens - 1}, the last evaluated token, or -1, not {idx}", parameter="idx"
                )
            params = self._sampling(
                {
                    **further, "top_k": top_k, "top_p": top_p, "min_p": min_p, "typical_p": typical_p, "temperature": temp,
                    "repeat_penalty": repeat_penalty, "frequency_penalty": frequency_penalty, "tfs_z": tfs_z,
                    "presence_penalty": presence_penalty, "mirostat_mode": mirostat_mode, "mirostat_eta": mirostat_eta,
                    "mirostat_tau": mirostat_tau, "penalize_nl": penalize_nl, "seed": seed, "logit_bias": logit_bias,
                }
            )  # fmt: skip
            return self.manual().choose(params, processor_of(logits_processor), constraint_of(grammar))

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
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        tfs_z: float | None = None,
        mirostat_mode: int | None = None,
        mirostat_tau: float | None = None,
        mirostat_eta: float | None = None,
        penalize_nl: bool | None = None,
        logits_processor: LogitsProcessor | Sequence[LogitsProcessor] | None = None,
        stopping_criteria: StoppingCriteria | Sequence[StoppingCriteria] | None = None,
        grammar: LlamaGrammar | str | None = None,
        *,
        seed: int | None = None,
        logit_bias: Mapping[int, float] | None = None,
        **further: Unpack[FurtherSampling],
    ) -> Generator[int, Sequence[int] | None, None]:
        """Yield sampled tokens after `tokens`, without end; tokens sent into the generator are evaluated too.

        Tokens that the cache holds are not evaluated again. A logits processor receives the evaluated tokens and an (n_vocab,)
        array of logits, which it changes or replaces. A stopping criterion receives the same, and returns whether to end before
        the next token. With a grammar the generator ends when nothing more can follow.

        >>> generator = llm.generate(llm.tokenize(b"Hello"), temp=0)
        >>> len([next(generator) for _ in range(3)])
        3
        >>> llm.detokenize(list(llm.generate(llm.tokenize(b"Hello"), grammar='root ::= "yes"')))
        b'yes'
        >>> len(list(llm.generate([77, 78], stopping_criteria=lambda tokens, logits: len(tokens) == 5)))
        3
        """
        with argument_names():
            params = self._sampling(
                {
                    **further, "top_k": top_k, "top_p": top_p, "min_p": min_p, "typical_p": typical_p, "temperature": temp,
                    "repeat_penalty": repeat_penalty, "frequency_penalty": frequency_penalty, "tfs_z": tfs_z,
                    "presence_penalty": presence_penalty, "mirostat_mode": mirostat_mode, "mirostat_eta": mirostat_eta,
                    "mirostat_tau": mirostat_tau, "penalize_nl": penalize_nl, "seed": seed, "logit_bias": logit_bias,
                }
            )  # fmt: skip
        steering = Steering(
            processor=processor_of(logits_processor),
            constraint=constraint_of(grammar),
            stops=criterion_of(stopping_criteria),
            guess=self._guess if self.draft_model is not None else None,
        )
        prompt, manual = token_ids(tokens, "tokens"), self.manual()
        if reset:
            manual.reset()
        return self._generated(manual.generate(prompt, params, steering))

    def _generated(self, tokens: Generator[int, Any, None]) -> Generator[int, Sequence[int] | None, None]:
        """Yield the tokens, and keep this object alive, which closes the model when it is dropped."""
        with argument_names():
            yield from tokens

    def _guess(self, tokens: list[int]) -> list[int]:
        import numpy as np

        assert self.draft_model is not None
        return [int(token) for token in self.draft_model(np.array(tokens, dtype=np.intc))]

    def _sampling(self, keywords: dict[str, Any]) -> SamplingParams:
        if keywords["seed"] is None:
            keywords["seed"] = self._seed
        return sampling_params(self._defaults, keywords)

    # --- states ---------------------------------------------------------------------------------------------------------

    def save_state(self) -> SavedState:
        """Return the evaluated tokens with their KV cache, and the seed.

        >>> state = llm.save_state()
        >>> llm.load_state(state)
        >>> llm.n_tokens == len(state.tokens)
        True
        """
        return SavedState(self.manual().save(), self._seed)

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
            self.manual().load(state.state)
        self._seed = state.seed

    def manual(self) -> SteeredEvaluation:
        """Return the low-level evaluation, whose context is created at the first call."""
        with self._lock:
            engine = self.engine
            if self._manual is None:
                keeps = self._logits_all or self.draft_model is not None
                params = dataclasses.replace(self._context_params, n_seq_max=1, all_outputs=keeps)
                self._manual = SteeredEvaluation(engine.model, params, keep_all=self._logits_all)
                self._owned.callback(self._manual.close)
            return self._manual

    # --- the end --------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Free the model and its contexts; running calls raise ClosedError. Idempotent."""
        with self._lock:
            self._closed = True
            owned = self._owned.pop_all()
        self._forgotten.detach()
        if os.getpid() == self._process:  # a forked process has copies, and none of the threads that freeing waits for
            owned.close()  # outside the lock: it waits for calls that may need it


def _close_forgotten(owned: ExitStack, name: str, process: int) -> None:
    if os.getpid() != process:
        owned.pop_all()
        return
    owned.close()
    warnings.warn(f"a Llama of {name} was dropped without close()", ResourceWarning, stacklevel=2)

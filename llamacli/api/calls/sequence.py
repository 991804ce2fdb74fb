"""The sequence that is evaluated by hand: tokens in, logits out, and states of it."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from llamacli.api.arguments.inputs import token_ids
from llamacli.api.arguments.names import argument_names
from llamacli.api.calls.completion import Completions
from llamacli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from llamacli.api.manual.steered import SteeredEvaluation
    from llamacli.api.speculative import LlamaDraftModel
    from llamacli.api.state.saved import SavedState
    from llamacli.engine.engine import Engine
    from llamacli.engine.params import ContextParams


class ManualSequence(Completions):
    """The calls that evaluate by hand, in a separate context, and the end of everything. A base of `Llama`.

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

    # --- states ---------------------------------------------------------------------------------------------------------

    def save_state(self) -> SavedState:
        """Return the evaluated tokens with their KV cache, and the seed.

        >>> state = llm.save_state()
        >>> llm.load_state(state)
        >>> llm.n_tokens == len(state.tokens)
        True
        """
        from llamacli.api.state.saved import SavedState

        return SavedState(self.manual().save(), self._seed)

    def load_state(self, state: SavedState) -> None:
        """Restore a saved state.

        Raises:
            StateError: if it belongs to another model, build or context.
            UsageError: if it is not a SavedState.
        """
        from llamacli.api.state.saved import SavedState

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
                from dataclasses import replace

                from llamacli.api.manual.steered import SteeredEvaluation

                keeps = self._logits_all or self.draft_model is not None
                params = replace(self._context_params, n_seq_max=1, all_outputs=keeps)
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

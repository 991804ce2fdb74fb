"""Low-level evaluation: tokens in, logits out, one sampled token at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llamacli.engine.constraint.matcher import Matcher
from llamacli.engine.generation.prompts.prefix_cache import common_length
from llamacli.engine.generation.request import Processor
from llamacli.engine.generation.sampler import Sampler
from llamacli.engine.runtime import state as states
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.loading import interruptible
from llamacli.engine.runtime.state_file import State
from llamacli.errors import CancelledError, ClosedError, ContextFullError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.params import ContextParams, SamplingParams
    from llamacli.engine.runtime.model import Model


_INTERRUPTIBLE = 16
"""Tokens from which a batch is evaluated on a thread of its own."""


class ManualEvaluation:
    """One sequence in a separate context, evaluated token by token. Calls from several threads are serialized.

    `keep_all` keeps the logits of every evaluated token instead of the last token's. The cache keeps tokens after `reset` and
    `rewind`, so that they are not evaluated again if they return. `close()` ends the running call; it and all later ones raise
    ClosedError.
    """

    def __init__(self, model: Model, params: ContextParams, *, keep_all: bool) -> None:
        self.tokens: list[int] = []
        self._cached: list[int] = []
        self._keep_all = keep_all
        self._rows: list[Any] = []  # with keep_all, the logits of each evaluated token
        self._output: int | None = None
        self._given: Any = None  # the logits that the caller received and may have changed
        self._sampler: Sampler | None = None
        self._lock = threading.RLock()  # reentrant: callables may call
        self._closed = False
        self._flag = CancelFlag()  # separate from the model's, which other calls set and clear
        self._context = Context(model, params, cancel=self._flag)

    def context(self) -> Context:
        """Return the context.

        Raises:
            ClosedError: after `close()`.
        """
        self._require_open()
        return self._context

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the sequence. Raises ClosedError, also if closing ends what runs inside."""
        with self._lock:
            self._require_open()
            try:
                yield
            except CancelledError as error:
                self._require_open(error)
                raise

    def _require_open(self, cause: BaseException | None = None) -> None:
        if self._closed:
            raise ClosedError("this Llama is closed") from cause

    def eval(self, tokens: Sequence[int], *, outputs: int = 1) -> None:
        """Evaluate tokens after the current ones, and keep the logits of the last `outputs` (of one batch).

        Raises:
            ContextFullError: if they do not fit; then none is evaluated.
            UsageError: if an id is outside the vocabulary.
        """
        with self.turn():
            context = self._context
            context.model.vocabulary.check_ids(tokens)
            total = len(self.tokens) + len(tokens)
            if total > context.n_ctx:
                raise ContextFullError(
                    f"{total} tokens do not fit in the context of {context.n_ctx}",
                    needed=total,
                    available=context.n_ctx,
                    hint="create the Llama object with a larger n_ctx",
                    parameter="n_ctx",
                )
            rest = list(tokens[self._recall(tokens, outputs) :])
            for start in range(0, len(rest), context.n_batch):
                is_last = start + context.n_batch >= len(rest)
                self._evaluate(rest[start : start + context.n_batch], outputs if is_last else 0)

    def _recall(self, tokens: Sequence[int], outputs: int) -> int:
        """Take over the first of these tokens that the cache still holds, and drop what it holds beyond; return their number.

        The last `outputs` must be evaluated, for their logits; with `keep_all` all of them.
        """
        place = len(self.tokens)
        kept = 0 if self._keep_all else min(common_length(self._cached[place:], tuple(tokens)), max(len(tokens) - outputs, 0))
        length = place + kept
        if length < len(self._cached):
            if not (self._context.keeps(0, length) and self._context.forget(0, length)):
                self._context.clear()
                self._cached = []
                self._replay()
                return 0
            del self._cached[length:]
        self.tokens += tokens[:kept]
        return kept

    def _replay(self) -> None:
        """Evaluate the current tokens again, after a cache that cannot be cut was cleared."""
        tokens, self.tokens = self.tokens, []
        for start in range(0, len(tokens), self._context.n_batch):
            self._evaluate(tokens[start : start + self._context.n_batch], 0)

    def _evaluate(self, tokens: list[int], wanted: int) -> None:
        """Evaluate one batch with the logits of its last tokens, and remove it from the cache if that fails."""
        place, count = len(self.tokens), len(tokens)
        outputs = [int(self._keep_all or index >= count - wanted) for index in range(count)]
        self._output, self._given = None, None
        try:
            self._decode(tokens, list(range(place, place + count)), outputs)
        except BaseException:
            if not self._closed:
                self._context.forget(0, place)
            raise
        self.tokens += tokens
        self._cached = list(self.tokens)
        self._keep_rows(place, outputs)

    def _keep_rows(self, place: int, outputs: list[int]) -> None:
        import numpy as np

        if self._keep_all:
            del self._rows[place:]
            self._rows += [np.array(self._context.logits(index)) for index in range(len(outputs))]
        if outputs[-1]:
            self._output = len(outputs) - 1

    def _decode(self, tokens: list[int], positions: list[int], outputs: list[int]) -> None:
        """Evaluate a batch; a long one on a thread, so that Ctrl-C ends it."""

        def work() -> None:
            self._context.decode(tokens, positions, [0] * len(tokens), outputs)

        if len(tokens) < _INTERRUPTIBLE or threading.current_thread() is not threading.main_thread():
            work()
            return
        try:
            interruptible(work, self._flag, patience=None)  # the cache is in use until it ends
        except KeyboardInterrupt:
            if not self._closed:
                self._flag.clear()
            raise

    def logits(self) -> Any:
        """Return the logits as a numpy array: (n_vocab,), or (n, n_vocab) of all evaluated tokens with `keep_all`.

        The caller owns the array. Without `keep_all`, `sample` uses changes made to it before the next `eval`.

        Raises:
            UsageError: if nothing has been evaluated.
        """
        import numpy as np

        with self.turn():
            return np.stack(self._rows) if self._keep_all and self._rows else self.last_row()

    def rows(self) -> Any:
        """Return the logits of the evaluated tokens, (n, n_vocab); rows that were not kept are zeros."""
        import numpy as np

        with self.turn():
            if self._keep_all and self._rows:
                return np.stack(self._rows)
            scores = np.zeros((len(self.tokens), self._context.model.vocabulary.size), dtype=np.single)
            if self._output is not None:
                scores[-1] = self.last_row()
            return scores

    def last_row(self) -> Any:
        """Return the last logits with the caller's changes, (n_vocab,), in our own memory."""
        import numpy as np

        if self._given is None:
            self._given = np.array(self._context.logits(self.last_output()))
        return self._given

    def last_output(self) -> int:
        """Return the place in the last batch whose logits are the last token's. Raises UsageError if there is none."""
        if self._output is None:
            raise UsageError("no token has been evaluated")
        return self._output

    def sample(
        self,
        params: SamplingParams,
        processor: Processor | None = None,
        matcher: Matcher | None = None,
        *,
        row: int | None = None,
    ) -> int:
        """Sample a token from the last logits. The sampler chain keeps its state while the parameters stay the same.

        `processor` may change the logits for this token, and `matcher` constrains it to a grammar. `row` takes the logits of
        another evaluated token of the last batch.

        Raises:
            UsageError: if nothing has been evaluated.
            ConstraintError: if the grammar allows no token.
        """
        import numpy as np

        with self.turn():
            output = self.last_output() if row is None else row
            scores: Any = self._given if row is None else np.array(self._context.logits(output))
            if processor is not None:
                scores = (self.last_row() if row is None else scores).copy()
                processor(self.tokens, memoryview(scores))  # our own memory: the callable may keep it, or call this object
                self._require_open()
            if scores is not None:
                np.asarray(self._context.logits(output))[:] = scores
            sampler = self._sampler_for(params)
            return sampler.sample(self._context.handle, output, matcher.handle if matcher is not None else None)

    def _sampler_for(self, params: SamplingParams) -> Sampler:
        if self._sampler is None or self._sampler.given != params:
            self._close_sampler()
            self._sampler = Sampler(self._context.model, params)
            self._sampler.remember(self.tokens)
        return self._sampler

    def reset(self) -> None:
        """Clear the sequence."""
        with self.turn():
            self.rewind(0)
            self._close_sampler()

    def rewind(self, length: int) -> None:
        """Go back to the first `length` tokens.

        Raises:
            UsageError: if there are fewer.
        """
        with self.turn():
            if not 0 <= length <= len(self.tokens):
                raise UsageError(f"n_tokens must be from 0 to {len(self.tokens)}, the evaluated tokens, not {length}")
            del self.tokens[length:], self._rows[length:]
            self._output, self._given = None, None

    def save(self) -> State:
        """Return the evaluated tokens and their KV cache."""
        with self.turn():
            if len(self._cached) > len(self.tokens):
                self._recall((), 1)
            return states.capture(self._context, 0, self.tokens)

    def load(self, saved: State) -> None:
        """Restore what `save` returned. Raise StateError if it belongs to another model."""
        with self.turn():
            self.reset()
            self._cached = []
            states.restore(self._context, 0, saved)
            self._cached = list(saved.tokens)
            if self._keep_all or self._context.model.is_recurrent:
                self.tokens = list(saved.tokens)
            elif saved.tokens:
                self.eval(saved.tokens)  # only the last, for its logits, which are not part of the state

    def close(self) -> None:
        """Free the sampler and the context after the running call has ended."""
        self._closed = True
        self._flag.set()
        with self._lock:
            self._close_sampler()
            self._context.close()

    def _close_sampler(self) -> None:
        sampler, self._sampler = self._sampler, None
        if sampler is not None:
            sampler.close()

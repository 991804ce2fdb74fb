"""Low-level evaluation: tokens in, logits out, one sampled token at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llamacli.engine.constraint.guidance import Constraint
from llamacli.engine.constraint.matcher import Matcher
from llamacli.engine.generation.prefix_cache import common_length
from llamacli.engine.generation.request import Criterion, Processor
from llamacli.engine.generation.sampler import Sampler
from llamacli.engine.runtime import state as states
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.loading import interruptible
from llamacli.engine.runtime.state_file import State
from llamacli.errors import CancelledError, ClosedError, ConstraintError, ContextFullError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.params import ContextParams, SamplingParams
    from llamacli.engine.runtime.model import Model


_INTERRUPTIBLE = 16
"""Tokens from which a batch is evaluated on a thread of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """Constraints of `generate`: a callable that changes logits, a grammar, a stopping criterion, and a draft model.

    `stops` receives the evaluated tokens and the (n_vocab,) logits; True ends the generation before the next token. `guess`
    returns tokens that may follow.
    """

    processor: Processor | None = None
    constraint: Constraint | None = None
    stops: Criterion | None = None
    guess: Callable[[list[int]], Sequence[int]] | None = None


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
    def _turn(self) -> Iterator[None]:
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
        with self._turn():
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

        with self._turn():
            return np.stack(self._rows) if self._keep_all and self._rows else self._scores()

    def rows(self) -> Any:
        """Return the logits of the evaluated tokens, (n, n_vocab); rows that were not kept are zeros."""
        import numpy as np

        with self._turn():
            if self._keep_all and self._rows:
                return np.stack(self._rows)
            scores = np.zeros((len(self.tokens), self._context.model.vocabulary.size), dtype=np.single)
            if self._output is not None:
                scores[-1] = self._scores()
            return scores

    def _scores(self) -> Any:
        """Return the last logits with the caller's changes, (n_vocab,), in our own memory."""
        import numpy as np

        if self._given is None:
            self._given = np.array(self._context.logits(self._last_output()))
        return self._given

    def _last_output(self) -> int:
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

        with self._turn():
            output = self._last_output() if row is None else row
            scores: Any = self._given if row is None else np.array(self._context.logits(output))
            if processor is not None:
                scores = (self._scores() if row is None else scores).copy()
                processor(self.tokens, memoryview(scores))  # our own memory: the callable may keep it, or call this object
                self._require_open()
            if scores is not None:
                np.asarray(self._context.logits(output))[:] = scores
            sampler = self._sampler_for(params)
            return sampler.sample(self._context.handle, output, matcher.handle if matcher is not None else None)

    def choose(self, params: SamplingParams, processor: Processor | None, constraint: Constraint | None) -> int:
        """Sample a token from the last logits, under a constraint from its start. Raises as `sample`."""
        if constraint is None:
            return self.sample(params, processor)
        with self._turn(), closing(Matcher(self._context.model, constraint)) as matcher:
            return self.sample(params, processor, matcher)

    def _sampler_for(self, params: SamplingParams) -> Sampler:
        if self._sampler is None or self._sampler.given != params:
            self._close_sampler()
            self._sampler = Sampler(self._context.model, params)
            self._sampler.remember(self.tokens)
        return self._sampler

    def generate(self, tokens: Sequence[int], params: SamplingParams, steering: Steering) -> Generator[int, Any, None]:
        """Evaluate the tokens, then yield sampled tokens without end, or until the grammar or the criterion ends it.

        Tokens sent into the generator are evaluated too.

        Raises:
            ConstraintError: if the grammar allows no token, or not those that were sent.
        """
        with ExitStack() as stack:
            matcher = None
            if steering.constraint is not None:
                with self._turn():
                    matcher = stack.enter_context(closing(Matcher(self._context.model, steering.constraint)))
            pending, guesses = list(tokens), list[int]()
            while True:
                with self._turn():
                    self.eval([*pending, *guesses], outputs=len(guesses) + 1)
                    del self.tokens[len(self.tokens) - len(guesses) :]
                for place in range(len(guesses) + 1):
                    with self._turn():
                        row = self._last_output() - len(guesses) + place if guesses else None
                        if steering.stops is not None and steering.stops(self.tokens, self._row(row)):
                            return
                        token = self.sample(params, steering.processor, matcher, row=row)
                        is_over = matcher is not None and matcher.must_end
                    sent = list((yield token) or ())
                    if is_over:
                        return
                    self._accept(matcher, sent)
                    if sent or place == len(guesses) or token != guesses[place]:
                        break
                    self.tokens.append(token)
                pending = [token, *sent]
                guesses = self._guesses(pending, steering)

    def _accept(self, matcher: Matcher | None, tokens: list[int]) -> None:
        if matcher is not None:
            with self._turn():
                if not all(map(matcher.accept, tokens)):
                    raise ConstraintError("the grammar does not allow the tokens sent into the generator")

    def _guesses(self, pending: list[int], steering: Steering) -> list[int]:
        """Return the tokens that may follow, as many as one batch and the context hold."""
        if steering.guess is None:
            return []
        room = min(self._context.n_ctx - len(self.tokens), self._context.n_batch) - len(pending)
        size = self._context.model.vocabulary.size
        return [token for token in steering.guess([*self.tokens, *pending]) if 0 <= token < size][: max(room, 0)]

    def _row(self, row: int | None) -> memoryview[float]:
        if row is not None:
            return self._context.logits(row)
        scores: Any = self._scores()
        return memoryview(scores)

    def reset(self) -> None:
        """Clear the sequence."""
        with self._turn():
            self.rewind(0)
            self._close_sampler()

    def rewind(self, length: int) -> None:
        """Go back to the first `length` tokens.

        Raises:
            UsageError: if there are fewer.
        """
        with self._turn():
            if not 0 <= length <= len(self.tokens):
                raise UsageError(f"n_tokens must be from 0 to {len(self.tokens)}, the evaluated tokens, not {length}")
            del self.tokens[length:], self._rows[length:]
            self._output, self._given = None, None

    def save(self) -> State:
        """Return the evaluated tokens and their KV cache."""
        with self._turn():
            if len(self._cached) > len(self.tokens):
                self._recall((), 1)
            return states.capture(self._context, 0, self.tokens)

    def load(self, saved: State) -> None:
        """Restore what `save` returned. Raise StateError if it belongs to another model."""
        with self._turn():
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

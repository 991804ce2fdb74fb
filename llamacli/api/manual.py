"""Evaluation by hand: tokens in, logits out, one sampled token at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llamacli.engine.constraint.matcher import Constraint, Matcher
from llamacli.engine.generation.sampler import Sampler
from llamacli.engine.generation.sequence import Processor
from llamacli.engine.runtime import state as states
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context import Context
from llamacli.errors import CancelledError, ClosedError, ConstraintError, ContextFullError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.params import ContextParams, SamplingParams
    from llamacli.engine.runtime.model import Model


@dataclass(frozen=True, slots=True)
class SavedState:
    """What `Llama.save_state` gives: the evaluated tokens and their cache. Bytes in `to_bytes`' form can be kept anywhere."""

    state: states.State

    @property
    def tokens(self) -> tuple[int, ...]:
        """The evaluated tokens."""
        return self.state.tokens

    def to_bytes(self) -> bytes:
        """With checksum and fingerprint, so that nothing damaged or foreign is ever loaded."""
        return states.pack(self.state)

    @staticmethod
    def from_bytes(data: bytes) -> SavedState:
        """Raises StateError for anything that `to_bytes` did not write."""
        return SavedState(states.unpack(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """What `generate` is held to: callables that change logits, a grammar, and when to stop.

    `stops` is given the evaluated tokens and the (n_vocab,) logits, and says whether to end before the token that was chosen.
    """

    processor: Processor | None = None
    constraint: Constraint | None = None
    stops: Callable[[list[int], Any], bool] | None = None


class ManualEvaluation:
    """One sequence in a context of its own, evaluated by hand. Calls from several threads take turns.

    `keep_all` keeps the logits of every token of the last `eval`, not only of the last one. `close()` ends the call that runs;
    it and all later ones raise ClosedError.
    """

    def __init__(self, model: Model, params: ContextParams, *, keep_all: bool) -> None:
        self.tokens: list[int] = []
        self._keep_all = keep_all
        self._outputs: list[int] = []
        self._given: Any = None  # the logits as they were handed out, with what the caller changed in them
        self._sampler: Sampler | None = None
        self._lock = threading.RLock()  # again by the same thread: callables may call
        self._closed = False
        self._flag = CancelFlag()  # not the model's, which other calls set and clear
        self._context = Context(model, params, cancel=self._flag)

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

    def eval(self, tokens: Sequence[int]) -> None:
        """Evaluates tokens after those that are there.

        Raises:
            ContextFullError: they do not fit; nothing was evaluated then.
            UsageError: ids outside the vocabulary.
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
                    hint="make the Llama object with a larger n_ctx",
                )
            for start in range(0, len(tokens), context.n_batch):
                self._evaluate(list(tokens[start : start + context.n_batch]), is_last=start + context.n_batch >= len(tokens))

    def _evaluate(self, tokens: list[int], *, is_last: bool) -> None:
        """Evaluates one batch. Without it in the cache, if that fails."""
        place, count = len(self.tokens), len(tokens)
        outputs = [1 if self._keep_all else 0] * count
        if is_last:
            outputs[-1] = 1
        self._outputs, self._given = [], None
        try:
            self._context.decode(tokens, list(range(place, place + count)), [0] * count, outputs)
        except BaseException:
            if not self._closed:
                self._context.forget(0, place)
            raise
        self.tokens += tokens
        self._outputs = [index for index, wanted in enumerate(outputs) if wanted]

    def logits(self) -> Any:
        """The logits as a numpy array: (n_vocab,), or (n, n_vocab) with `keep_all`.

        The array is the caller's for as long as it is kept. What is changed in the one without `keep_all` before the next
        `eval` counts for `sample`.

        Raises:
            UsageError: nothing was evaluated yet.
        """
        import numpy as np

        with self._turn():
            if self._keep_all and self._outputs:
                return np.stack([np.asarray(self._context.logits(index)) for index in self._outputs])
            return self._scores()

    def _scores(self) -> Any:
        """The last logits as the caller left them: (n_vocab,), in memory of our own."""
        import numpy as np

        if self._given is None:
            self._given = np.array(self._context.logits(self._last_output()))
        return self._given

    def _last_output(self) -> int:
        if not self._outputs:
            raise UsageError("nothing was evaluated yet")
        return self._outputs[-1]

    def sample(self, params: SamplingParams, processor: Processor | None = None, matcher: Matcher | None = None) -> int:
        """A token from the last logits. The chain lives on as long as the parameters stay the same, and remembers.

        `processor` may change the logits for this choice, `matcher` holds it to a grammar.

        Raises:
            UsageError: nothing was evaluated yet.
            ConstraintError: the grammar allows no token here.
        """
        import numpy as np

        with self._turn():
            scores = self._given
            if processor is not None:
                scores = self._scores().copy()
                processor(self.tokens, memoryview(scores))  # memory of our own: it may keep it, and call anything
                self._require_open()
            if scores is not None:
                np.asarray(self._context.logits(self._last_output()))[:] = scores
            sampler = self._sampler_for(params)
            return sampler.sample(self._context.handle, self._last_output(), matcher.handle if matcher is not None else None)

    def _sampler_for(self, params: SamplingParams) -> Sampler:
        if self._sampler is None or self._sampler.given != params:
            self._close_sampler()
            self._sampler = Sampler(self._context.model, params)
            self._sampler.remember(self.tokens)
        return self._sampler

    def generate(self, tokens: Sequence[int], params: SamplingParams, steering: Steering) -> Generator[int, Any, None]:
        """Samples for ever, or until the grammar or a criterion ends it: evaluates the tokens, then each sampled one.

        What is sent into the generator is evaluated too.

        Raises:
            ConstraintError: the grammar allows no token, or not what was sent.
        """
        with ExitStack() as stack:
            matcher = None
            if steering.constraint is not None:
                with self._turn():
                    matcher = stack.enter_context(closing(Matcher(self._context.model, steering.constraint)))
            pending, is_over = list(tokens), False
            while not is_over:
                with self._turn():
                    self.eval(pending)
                    token = self.sample(params, steering.processor, matcher)
                    if steering.stops is not None and steering.stops(self.tokens, self._scores()):
                        return
                    is_over = matcher is not None and matcher.must_end
                sent = list((yield token) or ())
                if matcher is not None:
                    with self._turn():
                        if not all(map(matcher.accept, sent)):
                            raise ConstraintError("the grammar does not allow what was sent into the generator")
                pending = [token, *sent]

    def reset(self) -> None:
        """Forgets everything."""
        with self._turn():
            self._context.clear()
            self.tokens, self._outputs, self._given = [], [], None
            self._close_sampler()

    def save(self) -> SavedState:
        """The evaluated tokens and their cache."""
        with self._turn():
            return SavedState(states.capture(self._context, 0, self.tokens))

    def load(self, saved: SavedState) -> None:
        """Goes back to what `save` gave. Raises StateError if it belongs to another model."""
        with self._turn():
            self.reset()
            states.restore(self._context, 0, saved.state)
            self.tokens = list(saved.tokens)
            if self.tokens and self._context.forget(0, len(self.tokens) - 1):
                self.eval([self.tokens.pop()])  # for its logits, which the state does not hold

    def close(self) -> None:
        """Frees the sampler and the context, after the call that runs has ended."""
        self._closed = True
        self._flag.set()
        with self._lock:
            self._close_sampler()
            self._context.close()

    def _close_sampler(self) -> None:
        sampler, self._sampler = self._sampler, None
        if sampler is not None:
            sampler.close()


def apply(processor: Callable[[list[int], Any], Any], tokens: list[int], logits: memoryview[float]) -> None:
    """Lets a Python callable change logits: it gets the tokens so far and a (n_vocab,) array, and returns the new one.

    Changing the array in place and returning it or None is as good. The array is the callable's own: it may be kept.
    """
    import numpy as np

    scores = np.array(logits)
    changed = processor(tokens, scores)
    np.asarray(logits)[:] = scores if changed is None else changed

"""Low-level evaluation: tokens in, logits out, one sampled token at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llamacli.engine.constraint.guidance import Constraint
from llamacli.engine.constraint.matcher import Matcher
from llamacli.engine.generation.request import Processor
from llamacli.engine.generation.sampler import Sampler
from llamacli.engine.runtime import state as states
from llamacli.engine.runtime import state_file
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context import Context
from llamacli.errors import CancelledError, ClosedError, ConstraintError, ContextFullError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.params import ContextParams, SamplingParams
    from llamacli.engine.runtime.model import Model


@dataclass(frozen=True, slots=True)
class SavedState:
    """The result of `Llama.save_state`: the evaluated tokens and their KV cache. `to_bytes` serializes it."""

    state: state_file.State

    @property
    def tokens(self) -> tuple[int, ...]:
        """The evaluated tokens."""
        return self.state.tokens

    def to_bytes(self) -> bytes:
        """Serialize the state with a checksum and a fingerprint of the model, which `load_state` verifies."""
        return state_file.pack(self.state)

    @staticmethod
    def from_bytes(data: bytes) -> SavedState:
        """Deserialize what `to_bytes` returned.

        Raises:
            StateError: if it is something else, truncated or altered.
        """
        return SavedState(state_file.unpack(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """Constraints of `generate`: a callable that changes logits, a grammar, and a stopping criterion.

    `stops` receives the evaluated tokens and the (n_vocab,) logits; True ends the generation before the sampled token.
    """

    processor: Processor | None = None
    constraint: Constraint | None = None
    stops: Callable[[list[int], Any], bool] | None = None


class ManualEvaluation:
    """One sequence in a separate context, evaluated token by token. Calls from several threads are serialized.

    `keep_all` keeps the logits of every token of the last `eval` instead of the last token's. `close()` ends the running call;
    it and all later ones raise ClosedError.
    """

    def __init__(self, model: Model, params: ContextParams, *, keep_all: bool) -> None:
        self.tokens: list[int] = []
        self._keep_all = keep_all
        self._outputs: list[int] = []
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

    def eval(self, tokens: Sequence[int]) -> None:
        """Evaluate tokens after the current ones.

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
            for start in range(0, len(tokens), context.n_batch):
                self._evaluate(list(tokens[start : start + context.n_batch]), is_last=start + context.n_batch >= len(tokens))

    def _evaluate(self, tokens: list[int], *, is_last: bool) -> None:
        """Evaluate one batch, and remove it from the cache if that fails."""
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
        """Return the logits as a numpy array: (n_vocab,), or (n, n_vocab) with `keep_all`.

        The caller owns the array. Without `keep_all`, `sample` uses changes made to it before the next `eval`.

        Raises:
            UsageError: if nothing has been evaluated.
        """
        import numpy as np

        with self._turn():
            if self._keep_all and self._outputs:
                return np.stack([np.asarray(self._context.logits(index)) for index in self._outputs])
            return self._scores()

    def _scores(self) -> Any:
        """Return the last logits with the caller's changes, (n_vocab,), in our own memory."""
        import numpy as np

        if self._given is None:
            self._given = np.array(self._context.logits(self._last_output()))
        return self._given

    def _last_output(self) -> int:
        if not self._outputs:
            raise UsageError("no token has been evaluated")
        return self._outputs[-1]

    def sample(self, params: SamplingParams, processor: Processor | None = None, matcher: Matcher | None = None) -> int:
        """Sample a token from the last logits. The sampler chain keeps its state while the parameters stay the same.

        `processor` may change the logits for this token, and `matcher` constrains it to a grammar.

        Raises:
            UsageError: if nothing has been evaluated.
            ConstraintError: if the grammar allows no token.
        """
        import numpy as np

        with self._turn():
            scores = self._given
            if processor is not None:
                scores = self._scores().copy()
                processor(self.tokens, memoryview(scores))  # our own memory: the callable may keep it, or call this object
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
                            raise ConstraintError("the grammar does not allow the tokens sent into the generator")
                pending = [token, *sent]

    def reset(self) -> None:
        """Clear the sequence."""
        with self._turn():
            self._context.clear()
            self.tokens, self._outputs, self._given = [], [], None
            self._close_sampler()

    def save(self) -> SavedState:
        """Return the evaluated tokens and their KV cache."""
        with self._turn():
            return SavedState(states.capture(self._context, 0, self.tokens))

    def load(self, saved: SavedState) -> None:
        """Restore what `save` returned. Raise StateError if it belongs to another model."""
        with self._turn():
            self.reset()
            states.restore(self._context, 0, saved.state)
            self.tokens = list(saved.tokens)
            if self.tokens and self._context.forget(0, len(self.tokens) - 1):
                self.eval([self.tokens.pop()])  # for its logits, which are not part of the state

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


def apply(processor: Callable[[list[int], Any], Any], tokens: list[int], logits: memoryview[float]) -> None:
    """Let a Python callable change logits: it receives the tokens so far and an (n_vocab,) array, and returns the new one.

    It may also change the array in place and return it or None. The callable owns the array.
    """
    import numpy as np

    scores = np.array(logits)
    changed = processor(tokens, scores)
    np.asarray(logits)[:] = scores if changed is None else changed

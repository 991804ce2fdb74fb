"""Evaluation by hand: tokens in, logits out, one sampled token at a time."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llamacli.engine import state as states
from llamacli.engine.context import Context
from llamacli.engine.sampler import Sampler
from llamacli.errors import ContextFullError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from llamacli.engine.params import SamplingParams


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


class ManualEvaluation:
    """One sequence in a context of its own, evaluated by hand. Not thread-safe.

    `keep_all` keeps the logits of every token of the last `eval`, not only of the last one.
    """

    def __init__(self, context: Context, *, keep_all: bool) -> None:
        self.context = context
        self.tokens: list[int] = []
        self._keep_all = keep_all
        self._outputs: list[int] = []
        self._sampler: Sampler | None = None

    def eval(self, tokens: Sequence[int]) -> None:
        """Evaluates tokens after those that are there.

        Raises:
            ContextFullError: they do not fit; nothing was evaluated then.
            UsageError: ids outside the vocabulary.
        """
        self.context.model.vocabulary.check_ids(tokens)
        total = len(self.tokens) + len(tokens)
        if total > self.context.n_ctx:
            raise ContextFullError(
                f"{total} tokens do not fit in the context of {self.context.n_ctx}",
                needed=total,
                available=self.context.n_ctx,
                hint="make the Llama object with a larger n_ctx",
            )
        for start in range(0, len(tokens), self.context.n_batch):
            chunk = list(tokens[start : start + self.context.n_batch])
            place, last = len(self.tokens), start + len(chunk) == len(tokens)
            outputs = [1 if self._keep_all else 0] * len(chunk)
            if last:
                outputs[-1] = 1
            try:
                self.context.decode(chunk, list(range(place, place + len(chunk))), [0] * len(chunk), outputs)
            except BaseException:
                self.context.forget(0, place)
                raise
            self.tokens += chunk
            self._outputs = [index for index, wanted in enumerate(outputs) if wanted]

    def logits(self) -> Any:
        """The logits as a numpy array that C owns, valid until the next `eval`: (n_vocab,), or (n, n_vocab) with `keep_all`.

        Raises:
            UsageError: nothing was evaluated yet.
        """
        import numpy as np

        if not self._outputs:
            raise UsageError("nothing was evaluated yet")
        if not self._keep_all:
            return np.asarray(self.context.logits(self._outputs[-1]))
        return np.stack([np.asarray(self.context.logits(index)) for index in self._outputs])

    def sample(self, params: SamplingParams, processor: Callable[[list[int], Any], Any] | None = None) -> int:
        """A token from the last logits. The chain lives on as long as the parameters stay the same, and remembers."""
        if not self._outputs:
            raise UsageError("nothing was evaluated yet")
        if self._sampler is None or self._sampler.given != params:
            self._close_sampler()
            self._sampler = Sampler(self.context.model, params)
            self._sampler.remember(self.tokens)
        if processor is not None:
            apply(processor, self.tokens, self.context.logits(self._outputs[-1]))
        return self._sampler.sample(self.context.handle, self._outputs[-1])

    def generate(self, tokens: Sequence[int], params: SamplingParams) -> Generator[int, Sequence[int] | None, None]:
        """Samples for ever: evaluates the tokens, then each sampled one. What is sent into the generator is evaluated too."""
        pending: Sequence[int] = tokens
        while True:
            self.eval(pending)
            token = self.sample(params)
            more = yield token
            pending = [token, *(more or ())]

    def reset(self) -> None:
        """Forgets everything."""
        self.context.clear()
        self.tokens, self._outputs = [], []
        self._close_sampler()

    def rewind(self, length: int) -> None:
        """Forgets all but the first `length` tokens."""
        if not self.context.forget(0, length):
            self.reset()
            return
        del self.tokens[length:]
        self._outputs = []

    def save(self) -> SavedState:
        """The evaluated tokens and their cache."""
        return SavedState(states.capture(self.context, 0, self.tokens))

    def load(self, saved: SavedState) -> None:
        """Goes back to what `save` gave. Raises StateError if it belongs to another model."""
        self.reset()
        states.restore(self.context, 0, saved.state)
        self.tokens = list(saved.tokens)
        if self.tokens and self.context.forget(0, len(self.tokens) - 1):
            self.eval([self.tokens.pop()])  # for its logits, which the state does not hold

    def close(self) -> None:
        """Frees the sampler and the context."""
        self._close_sampler()
        self.context.close()

    def _close_sampler(self) -> None:
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None


def apply(processor: Callable[[list[int], Any], Any], tokens: list[int], logits: memoryview[float]) -> None:
    """Lets a Python callable change logits: it gets the tokens so far and the (n_vocab,) array, and returns the new one.

    Changing the array in place and returning it, or returning None, is the fast way.
    """
    import numpy as np

    scores = np.asarray(logits)
    changed = processor(tokens, scores)
    if changed is not None and changed is not scores:
        scores[:] = changed

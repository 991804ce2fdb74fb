"""Python callables that take part in sampling: logits processors and stopping criteria, one or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from llamacli.engine.generation.request import Criterion, Processor

    Tokens = npt.NDArray[np.intc]
    Scores = npt.NDArray[np.single]

LogitsProcessor = Callable[["Tokens", "Scores"], Any]
"""Gets the tokens so far and (n_vocab,) logits, both its own; changes the logits, or returns new ones."""

StoppingCriteria = Callable[["Tokens", "Scores"], bool]
"""Gets the same, and returns True to end the answer before the next token."""


class LogitsProcessorList(list[LogitsProcessor]):
    """Logits processors that run in turn."""

    def __call__(self, input_ids: Tokens, scores: Scores) -> Scores:
        """Return the logits as the processors leave them."""
        for processor in self:
            changed = processor(input_ids, scores)
            scores = scores if changed is None else changed
        return scores


class StoppingCriteriaList(list[StoppingCriteria]):
    """Stopping criteria, of which any ends the answer."""

    def __call__(self, input_ids: Tokens, logits: Scores) -> bool:
        """Return whether any criterion is met."""
        return any(criterion(input_ids, logits) for criterion in self)


class MinTokensLogitsProcessor:
    """A logits processor that forbids the end of an answer before `min_tokens` tokens."""

    def __init__(self, min_tokens: int, token_eos: int) -> None:
        self.min_tokens = min_tokens
        self.token_eos = token_eos
        self.prompt_tokens: int | None = None

    def __call__(self, input_ids: Tokens, scores: Scores) -> Scores:
        """Return the logits, without the end of the answer while it is too short."""
        if self.prompt_tokens is None:
            self.prompt_tokens = len(input_ids)
        if len(input_ids) - self.prompt_tokens < self.min_tokens:
            scores[self.token_eos] = float("-inf")
        return scores


def processor_of(given: LogitsProcessor | Sequence[LogitsProcessor] | None) -> Processor | None:
    """Return one processor for the engine that runs one logits processor, or several in turn."""
    processors = [given] if callable(given) else list(given or ())
    if not processors:
        return None

    def run(tokens: list[int], logits: memoryview[float]) -> None:
        for each in processors:
            apply(each, tokens, logits)

    return run


def criterion_of(given: StoppingCriteria | Sequence[StoppingCriteria] | None) -> Criterion | None:
    """Return one criterion for the engine that is met when any of the given ones is."""
    criteria = [given] if callable(given) else list(given or ())
    if not criteria:
        return None
    return lambda tokens, logits: any(bool(each(*_arrays(tokens, logits))) for each in criteria)


def apply(processor: LogitsProcessor, tokens: Sequence[int], logits: memoryview[float]) -> None:
    """Let a logits processor change logits: in the array that it receives, or by returning another one."""
    import numpy as np

    ids, scores = _arrays(tokens, logits)
    changed = processor(ids, scores)
    np.asarray(logits)[:] = scores if changed is None else changed


def _arrays(tokens: Sequence[int], logits: memoryview[float]) -> tuple[Tokens, Scores]:
    import numpy as np

    return np.array(tokens, dtype=np.intc), np.array(logits, dtype=np.single)

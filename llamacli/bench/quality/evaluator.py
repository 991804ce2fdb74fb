"""Evaluation of windows by several contexts in step, so that the logits of all are there for the same tokens at once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import numpy as np

from llamacli.bench.quality.params import Candidate
from llamacli.bench.quality.scores import Floats
from llamacli.bench.quality.windows import Window
from llamacli.engine.params import ContextParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.loading import interruptible
from llamacli.engine.runtime.model import Model
from llamacli.errors import ModelUnsupportedError, UsageError

_LOGITS_BYTES = 256 << 20
"""Memory for the logits of one batch of one context."""

_POSITIONS = "position_embd.weight"


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How windows are put into batches: `side_by_side` windows at a time, `chunk` positions of each in a batch.

    At most `outputs` tokens of a batch get logits.
    """

    side_by_side: int
    chunk: int
    outputs: int


def plan_batches(n_ctx: int, judged: int, n_batch: int, n_vocab: int) -> BatchPlan:
    """Return the plan for windows of `n_ctx` tokens, of which `judged` need logits."""
    most = max(16, _LOGITS_BYTES // (4 * n_vocab))
    side_by_side = min(max(1, n_batch // n_ctx), max(1, most // judged), 64)
    chunk = min(n_ctx, n_batch)
    if side_by_side == 1 and judged > most:
        chunk = min(chunk, most)
    return BatchPlan(side_by_side, chunk, side_by_side * min(judged, chunk))


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a group of windows that is one batch. `rows` has, for each window with logits in it, its number and targets."""

    tokens: list[int]
    positions: list[int]
    sequences: list[int]
    outputs: list[int]
    rows: tuple[tuple[int, tuple[int, ...]], ...]


def steps_of(windows: Sequence[Window], plan: BatchPlan) -> Iterator[Step]:
    """Yield the batches of windows that are evaluated side by side."""
    length, first = len(windows[0].tokens), windows[0].first
    for begin in range(0, length, plan.chunk):
        end = min(begin + plan.chunk, length)
        positions = range(begin, end)
        # The last token has no successor to be judged by.
        outputs = [int(first <= position < length - 1) for position in positions]
        judged = slice(max(begin, first) + 1, max(begin, first) + 1 + sum(outputs))
        yield Step(
            tokens=[token for window in windows for token in window.tokens[begin:end]],
            positions=[*positions] * len(windows),
            sequences=[number for number in range(len(windows)) for _ in positions],
            outputs=outputs * len(windows),
            rows=tuple((number, window.tokens[judged]) for number, window in enumerate(windows)) if any(outputs) else (),
        )


class Evaluator:
    """A candidate's model and context. The model belongs to the caller.

    Raises (by the constructor):
        ModelUnsupportedError: if the model does not continue text.
        UsageError: if it has no positions for windows of this length.
        MemoryFullError: if the context does not fit.
    """

    def __init__(self, model: Model, candidate: Candidate, n_ctx: int, plan: BatchPlan) -> None:
        check_possible(model, n_ctx)
        self.model = model
        self._plan = plan
        params = window_params(candidate.setup.context, n_ctx, plan)
        self._context = interruptible(lambda: Context(model, params), model.cancel)
        self.seconds = 0.0

    def begin(self) -> None:
        """Forget the windows before."""
        self._context.clear()
        self.seconds = 0.0

    def evaluate(self, step: Step) -> list[Floats]:
        """Evaluate a batch; return the logits of each of its `rows`, valid until the next one.

        Raises:
            CancelledError: if the model's flag was set.
        """
        started = time.perf_counter()
        self._context.decode(step.tokens, step.positions, step.sequences, step.outputs)
        if not step.rows:
            self._context.synchronize()
            self.seconds += time.perf_counter() - started
            return []
        count = len(step.rows[0][1])
        width = len(step.tokens) // (max(step.sequences) + 1)
        begin = step.outputs.index(1)
        found = [self._context.logit_rows(number * width + begin, count) for number, _ in step.rows]
        self.seconds += time.perf_counter() - started
        return [np.asarray(rows, np.float32).reshape(count, -1) for rows in found]

    def close(self) -> None:
        """Free the context."""
        self._context.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def window_params(params: ContextParams, n_ctx: int, plan: BatchPlan) -> ContextParams:
    """Return the parameters of a context for windows."""
    size = plan.side_by_side * plan.chunk
    return replace(params, n_ctx=n_ctx, n_batch=size, n_seq_max=plan.side_by_side, n_outputs=plan.outputs)


def check_possible(model: Model, n_ctx: int) -> None:
    """Refuse models whose next token cannot be judged. Raises ModelUnsupportedError, UsageError."""
    name = model.path.name
    if model.has_encoder or not model.can_generate:
        raise ModelUnsupportedError(f"{name} does not continue text, so its predictions cannot be judged")
    if n_ctx > model.n_ctx_train and any(tensor.name == _POSITIONS for tensor in model.header.tensors):
        raise UsageError(f"{name} has positions for {model.n_ctx_train} tokens, but a window has {n_ctx}", parameter="n_ctx")

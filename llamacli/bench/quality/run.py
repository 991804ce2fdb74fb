"""The evaluation of candidates on a text, window by window, beside a reference. It runs where the models are in memory."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from llamacli.bench.measure.token_test import model_facts
from llamacli.bench.quality.evaluator import BatchPlan, Evaluator, check_possible, plan_batches
from llamacli.bench.quality.logits_file import LogitsWriter, read_logits_file
from llamacli.bench.quality.params import (
    Candidate,
    CandidateFailed,
    CandidateReady,
    QualityEvent,
    QualityRequest,
    TextRead,
)  # fmt: skip
from llamacli.bench.quality.round import References, Round
from llamacli.bench.quality.windows import Window, cut_windows
from llamacli.binding import log
from llamacli.engine.params import ModelParams
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.hardware import default_threads
from llamacli.engine.runtime.model import Model
from llamacli.engine.tokenization.documents import chunks_of, text_document
from llamacli.engine.tokenization.tokenizer import Tokenizer
from llamacli.errors import CancelledError, LlamacliError, MemoryFullError, UsageError

OnLoad = Callable[[float], None]


def judge(request: QualityRequest, cancel: CancelFlag, on_load: OnLoad | None = None) -> Iterator[QualityEvent]:
    """Yield what becomes of the text and of each candidate, then the scores of each window for all of them.

    A candidate that fails does not stop the others.

    Raises:
        UsageError: if the text is too short, or the reference has another one.
        ModelError, CapacityError: if the model that reads the text, the reference or else the first, cannot be evaluated.
        CancelledError: if `cancel` was set.
    """
    log.route()
    with _Judgement(request, cancel, on_load) as judgement:
        yield from judgement.events()


class _Models:
    """Models by file and parameters: candidates that differ only in their context share one."""

    def __init__(self, cancel: CancelFlag, on_load: OnLoad | None, stack: ExitStack) -> None:
        self._cancel, self._on_load, self._stack = cancel, on_load, stack
        self._models: dict[tuple[str, ModelParams], Model] = {}

    def get(self, candidate: Candidate) -> Model:
        """Return the loaded model. Raises ModelError, MemoryFullError."""
        key = (candidate.path, candidate.setup.model)
        if key not in self._models:
            model = Model(Path(candidate.path), candidate.setup.model, cancel=self._cancel, on_load=self._on_load)
            self._stack.callback(model.close)
            if model.notes and candidate.setup.model.gpu_layers is not None:
                raise MemoryFullError(model.notes[0].partition("; trying")[0], parameter="gpu_layers")
            self._models[key] = model
        return self._models[key]


class _Judgement:
    """The models, contexts and files of a request."""

    def __init__(self, request: QualityRequest, cancel: CancelFlag, on_load: OnLoad | None) -> None:
        self._request = request
        self._stack = ExitStack()
        self._models = _Models(cancel, on_load, self._stack)
        self._pool: Executor = self._stack.enter_context(ThreadPoolExecutor(default_threads()))
        self._stored = read_logits_file(Path(request.reference_logits)) if request.reference_logits else None
        self._tokens: Sequence[int] = ()

    def events(self) -> Iterator[QualityEvent]:
        request, n_ctx = self._request, self._request.plan.n_ctx
        first = self._models.get(request.reference or request.candidates[0])
        check_possible(first, n_ctx)
        windows = self._windows(first)
        yield TextRead(len(self._tokens), len(windows), tokens_hash(windows))
        n_batch = request.candidates[0].setup.context.n_batch
        batches = plan_batches(n_ctx, windows[0].judged, n_batch, first.vocabulary.size)
        reference = self._evaluator(request.reference, batches, first) if request.reference else None
        evaluators: dict[int, Evaluator] = {}
        for number, candidate in enumerate(request.candidates):
            try:
                evaluators[number] = self._evaluator(candidate, batches, first)
            except CancelledError:
                raise
            except LlamacliError as error:
                yield CandidateFailed(number, error)
            else:
                yield CandidateReady(number, model_facts(evaluators[number].model))
        writer = self._writer(first, len(windows))
        yield from self._rounds(windows, batches, References(reference, self._stored), evaluators, writer)

    def _windows(self, model: Model) -> list[Window]:
        """Return the windows of the text, or of the stored reference if no text was given."""
        plan, vocabulary, stored = self._request.plan, model.vocabulary, self._stored
        bos = vocabulary.bos if vocabulary.add_bos else None
        if stored is not None and stored.n_vocab != vocabulary.size:
            raise _other_vocabulary(model, f"that has {stored.n_vocab} tokens, this {vocabulary.size}")
        self._tokens = stored.tokens if stored is not None and not self._request.text else tokens_of(model, self._request.text)
        windows = cut_windows(self._tokens, plan.n_ctx, stride=plan.stride, bos=bos, most=plan.windows)
        if stored is not None:
            windows = windows[: stored.windows]
            if cut_windows(stored.tokens, stored.n_ctx, bos=bos, most=len(windows)) != windows:
                raise UsageError(
                    "the reference has the log probabilities of another text, or of windows of another size",
                    hint=f"its windows have {stored.n_ctx} tokens",
                    parameter="n_ctx",
                )
        return windows

    def _evaluator(self, candidate: Candidate, batches: BatchPlan, first: Model) -> Evaluator:
        model = self._models.get(candidate)
        if model is not first:
            self._check_vocabulary(model, first)
        return self._stack.enter_context(Evaluator(model, candidate, self._request.plan.n_ctx, batches))

    def _check_vocabulary(self, model: Model, first: Model) -> None:
        sizes = model.vocabulary.size, first.vocabulary.size
        if sizes[0] != sizes[1]:
            raise _other_vocabulary(model, f"{first.path.name} has {sizes[1]} tokens, this {sizes[0]}")
        if self._request.text and tokens_of(model, self._request.text) != self._tokens:
            raise _other_vocabulary(model, f"it cuts the text differently from {first.path.name}")

    def _writer(self, model: Model, windows: int) -> LogitsWriter | None:
        if not self._request.save_logits:
            return None
        n_ctx = self._request.plan.n_ctx
        file = Path(self._request.save_logits).open("wb")  # noqa: SIM115  # closed with everything else
        self._stack.callback(file.close)
        return LogitsWriter(file, n_ctx, model.vocabulary.size, self._tokens[: n_ctx * windows])

    def _rounds(
        self,
        windows: Sequence[Window],
        batches: BatchPlan,
        references: References,
        evaluators: dict[int, Evaluator],
        writer: LogitsWriter | None,
    ) -> Iterator[QualityEvent]:
        """Evaluate the windows, some side by side, by all evaluators before the next ones."""
        started, budget = time.monotonic(), self._request.plan.budget
        for begin in range(0, len(windows), batches.side_by_side):
            over = budget is not None and begin and time.monotonic() - started >= budget
            if over or not evaluators:
                return
            group = windows[begin : begin + batches.side_by_side]
            now = Round(group, begin, batches, references, self._pool)
            for number, error in list(now.run(evaluators, writer)):
                del evaluators[number]
                yield CandidateFailed(number, error)
            for number, evaluator in evaluators.items():
                yield from now.scored(number, evaluator.seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()


def tokens_of(model: Model, text: bytes) -> list[int]:
    """Return the tokens of a text, with those that the model wants around it."""
    return [token for chunk in chunks_of(Tokenizer(model), [text_document("the text", text)]) for token in chunk.tokens]


def tokens_hash(windows: Sequence[Window]) -> str:
    """Return the hash of all tokens: windows with equal ones are the same."""
    found = hashlib.sha256()
    for window in windows:
        found.update(np.asarray(window.tokens, "<i4").tobytes())
    return found.hexdigest()


def _other_vocabulary(model: Model, reason: str) -> UsageError:
    return UsageError(
        f"{model.path.name} has another vocabulary than the reference: {reason}",
        hint="compare quantizations of one model",
    )

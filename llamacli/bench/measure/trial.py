"""One way of running a model, tried: how long it takes to read a prompt and to generate.

Unlike a test of the benchmark a trial knows everything that `run` can be told, and contexts stay ready between repetitions, so
that ways to run a model can take turns.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from llamacli.bench.measure.monitor import Watch, memory_use
from llamacli.bench.measure.params import BenchTest
from llamacli.bench.measure.token_test import ReadyTest
from llamacli.binding import log
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.hardware import available_memory, default_threads
from llamacli.engine.runtime.model import Model
from llamacli.errors import MemoryFullError

Phase = Literal["prompt", "generation"]

MOST_CONTEXTS = 16
"""Contexts that are kept ready: as many as take turns, for both phases."""

MOST_MODELS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way of running a model: the parameters of model and context."""

    model: ModelParams
    context: ContextParams

    def threads(self, phase: Phase) -> int:
        """The threads that a phase uses."""
        context = self.context
        threads = context.threads or default_threads()
        return (context.threads_batch or threads) if phase == "prompt" else threads


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSize:
    """Tokens of a repetition: of a prompt, or generated, after `depth` tokens."""

    n_prompt: int
    n_gen: int
    depth: int = 0

    def tokens(self, phase: Phase) -> int:
        """How many tokens are timed."""
        return self.n_prompt if phase == "prompt" else self.n_gen


class Trials:
    """Repeats a model's prompts and generations in any ways, in turns. Closed when done.

    `notes` says what was done otherwise than asked for.
    """

    def __init__(self, path: Path, size: TrialSize, cancel: CancelFlag, on_load: Callable[[float], None] | None = None) -> None:
        log.route()
        self.size = size
        self._path = path
        self._cancel = cancel
        self._on_load = on_load
        self._models: OrderedDict[ModelParams, Model] = OrderedDict()
        self._ready: OrderedDict[tuple[Way, Phase], ReadyTest] = OrderedDict()
        self._watch = Watch(threads=default_threads(), cores=default_threads())
        self._largest = 0  # bytes that a context took

    def seconds(self, way: Way, phase: Phase) -> float:
        """One repetition; a way that is new is warmed up first.

        Raises:
            ModelError, CapacityError: it is not possible in this way.
            CancelledError: it was cancelled.
        """
        self._cancel.check()
        ready = self._get_ready(way, phase)
        with self._watch.watching():
            sample = ready.run()
        return sample.total_ns / 1e9

    def resize(self, size: TrialSize) -> None:
        """Other numbers of tokens from now on."""
        self._close_contexts()
        self.size = size

    def warnings(self) -> tuple[str, ...]:
        """What disturbed the repetitions."""
        return self._watch.warnings()

    def model(self, params: ModelParams) -> Model:
        """The model, loaded in a way.

        Raises:
            ModelError, MemoryFullError: it cannot be loaded like this.
        """
        if params not in self._models:
            while len(self._models) >= MOST_MODELS:
                self._drop_model()
            try:
                self._models[params] = self._load(params)
            except MemoryFullError:
                if not self._models:
                    raise
                self._drop_model()
                return self.model(params)
        self._models.move_to_end(params)
        return self._models[params]

    def _load(self, params: ModelParams) -> Model:
        return Model(self._path, params, cancel=self._cancel, on_load=self._on_load)

    def _drop_model(self) -> None:
        """Closes the model that was not used for longest, and its contexts."""
        params, model = self._models.popitem(last=False)
        for key in [key for key in self._ready if key[0].model == params]:
            self._ready.pop(key).close()
        model.close()

    def _get_ready(self, way: Way, phase: Phase) -> ReadyTest:
        key = (way, phase)
        if key not in self._ready:
            model = self.model(way.model)
            while self._ready and not self._has_room():
                self._ready.popitem(last=False)[1].close()
            before = memory_use()
            try:
                ready = self._make(way, phase, model)
            except MemoryFullError:
                if not self._ready:
                    raise
                self._close_contexts()
                ready = self._make(way, phase, model)
            self._ready[key] = ready
            ready.warm_up()
            after = memory_use()
            if before is not None and after is not None:
                self._largest = max(self._largest, after.own - before.own)
        self._ready.move_to_end(key)
        return self._ready[key]

    def _has_room(self) -> bool:
        """Whether one more context may be beside those that are ready: the system would grant it, and kill the process."""
        free = available_memory()
        return len(self._ready) < MOST_CONTEXTS and (free is None or free > 2 * self._largest)

    def _make(self, way: Way, phase: Phase, model: Model) -> ReadyTest:
        size, context = self.size, way.context
        needed = size.tokens(phase) + size.depth
        test = BenchTest(
            model=str(self._path),
            n_prompt=size.n_prompt if phase == "prompt" else 0,
            n_gen=size.n_gen if phase == "generation" else 0,
            n_depth=size.depth,
            n_batch=context.n_batch,
            n_ubatch=context.n_ubatch,
            n_threads=way.threads(phase),
        )
        # One kind of threads is attached, and does the work of both phases.
        return ReadyTest(
            test, model, replace(context, n_ctx=max(context.n_ctx or 0, needed), threads=test.n_threads, threads_batch=None)
        )

    def _close_contexts(self) -> None:
        while self._ready:
            self._ready.popitem()[1].close()

    def close(self) -> None:
        """Frees everything."""
        self._close_contexts()
        while self._models:
            self._models.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

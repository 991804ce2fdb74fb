"""Trials of setups: the times to read a prompt and to generate with given parameters of model and context.

Unlike a test of the benchmark, a trial supports all parameters of `run`, and contexts stay prepared between repetitions, so
that setups can be interleaved.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from llamacli.bench.measure.monitor import DisturbanceMonitor, memory_use
from llamacli.bench.measure.params import BenchTest
from llamacli.bench.measure.setup import Phase, Setup, TrialSize
from llamacli.bench.measure.token_test import TokenTest
from llamacli.binding import log
from llamacli.engine.params import ModelParams
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.hardware import available_memory, default_threads
from llamacli.engine.runtime.model import Model
from llamacli.errors import MemoryFullError

MOST_CONTEXTS = 16
"""The largest number of prepared contexts: of all interleaved setups, for both phases."""

MOST_MODELS = 2


class Trials:
    """Repetitions of a model's prompts and generations with any setups, in any order. The caller closes it."""

    def __init__(self, path: Path, size: TrialSize, cancel: CancelFlag, on_load: Callable[[float], None] | None = None) -> None:
        log.route()
        self.size = size
        self._path = path
        self._cancel = cancel
        self._on_load = on_load
        self._models: OrderedDict[ModelParams, Model] = OrderedDict()
        self._prepared: OrderedDict[tuple[Setup, Phase], TokenTest] = OrderedDict()
        self._monitor = DisturbanceMonitor(threads=default_threads(), cores=default_threads())
        self._largest = 0  # bytes of the largest context so far

    def seconds(self, setup: Setup, phase: Phase) -> float:
        """Run one repetition and return its seconds; a new setup is warmed up first.

        Raises:
            ModelError, CapacityError: if the setup is impossible for this model.
            CancelledError: if the flag was set.
        """
        self._cancel.check()
        prepared = self._prepare(setup, phase)
        with self._monitor.observing():
            sample = prepared.run()
        return sample.total_ns / 1e9

    def resize(self, size: TrialSize) -> None:
        """Use other numbers of tokens from now on."""
        self._close_contexts()
        self.size = size

    def warnings(self) -> tuple[str, ...]:
        """Return the disturbances during the repetitions."""
        return self._monitor.warnings()

    def model(self, params: ModelParams) -> Model:
        """Return the model loaded with these parameters.

        Raises:
            ModelError, MemoryFullError: if it cannot be loaded with them.
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
        """Close the least recently used model, and its contexts."""
        params, model = self._models.popitem(last=False)
        for key in [key for key in self._prepared if key[0].model == params]:
            self._prepared.pop(key).close()
        model.close()

    def _prepare(self, setup: Setup, phase: Phase) -> TokenTest:
        key = (setup, phase)
        if key not in self._prepared:
            model = self.model(setup.model)
            while self._prepared and not self._has_room():
                self._prepared.popitem(last=False)[1].close()
            before = memory_use()
            try:
                prepared = self._create(setup, phase, model)
            except MemoryFullError:
                if not self._prepared:
                    raise
                self._close_contexts()
                prepared = self._create(setup, phase, model)
            self._prepared[key] = prepared
            prepared.warm_up()
            after = memory_use()
            if before is not None and after is not None:
                self._largest = max(self._largest, after.own - before.own)
        self._prepared.move_to_end(key)
        return self._prepared[key]

    def _has_room(self) -> bool:
        """Return whether one more context probably fits; the system would grant the memory, and kill the process later."""
        free = available_memory()
        return len(self._prepared) < MOST_CONTEXTS and (free is None or free > 2 * self._largest)

    def _create(self, setup: Setup, phase: Phase, model: Model) -> TokenTest:
        size, context = self.size, setup.context
        needed = size.tokens(phase) + size.depth
        test = BenchTest(
            model=str(self._path),
            n_prompt=size.n_prompt if phase == "prompt" else 0,
            n_gen=size.n_gen if phase == "generation" else 0,
            n_depth=size.depth,
            n_batch=context.n_batch,
            n_ubatch=context.n_ubatch,
            n_threads=setup.threads(phase),
        )
        # A single thread pool is attached, for both phases.
        return TokenTest(
            test, model, replace(context, n_ctx=max(context.n_ctx or 0, needed), threads=test.n_threads, threads_batch=None)
        )

    def _close_contexts(self) -> None:
        while self._prepared:
            self._prepared.popitem()[1].close()

    def close(self) -> None:
        """Free all contexts and models."""
        self._close_contexts()
        while self._models:
            self._models.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

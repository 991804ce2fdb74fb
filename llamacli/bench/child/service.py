"""The work of a child that measures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llamacli.backend.child.wire.method import Method
from llamacli.backend.child.work.connection import Handler
from llamacli.backend.child.work.task import Task
from llamacli.bench.child import contract
from llamacli.bench.child.contract import (
    CompareTypes,
    Grid,
    LoadedModel,
    LoadProgress,
    OpenTrials,
    RooflineRequest,
    TrialRequest,
    TrialTime,
    WeightsRequest,
)  # fmt: skip
from llamacli.bench.measure.events import BenchEvent, ResultReady
from llamacli.bench.measure.run import measure
from llamacli.bench.measure.setup import TrialSize
from llamacli.bench.measure.trial import Trials
from llamacli.bench.quality.choices import score_choices
from llamacli.bench.quality.params import QualityRequest, TaskRequest
from llamacli.bench.quality.run import judge
from llamacli.bench.roofline.measure import measure_roofline
from llamacli.bench.tune.quantizations import CANDIDATES, compare_quantizations
from llamacli.binding.library import library
from llamacli.engine.fit.search import weights_by_device
from llamacli.engine.params import ModelParams
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.canceller import Canceller
from llamacli.engine.system import describe_build
from llamacli.errors import EngineError


def service() -> dict[Method, Handler]:
    """Return the handlers, with the native library loaded: its threads wait as those of llama.cpp's programs do."""
    library(waits_shortly=False)
    return BenchService().handlers()


class BenchService:
    """The handlers. A parent makes one call at a time, and `STOP` beside it, once: nothing is measured after that."""

    def __init__(self) -> None:
        self._cancel, self._flag = Canceller(), CancelFlag()
        self._cancel.then(self._flag.set)
        self._trials: Trials | None = None
        self._show_load: Callable[[float], None] | None = None

    def handlers(self) -> dict[Method, Handler]:
        """Return the handlers by method."""
        return {
            contract.BUILD: lambda _, task: describe_build(),
            contract.STOP: lambda _, task: self._cancel.set(),
            contract.MEASURE: self._measure,
            contract.ROOFLINE: self._roofline,
            contract.OPEN_TRIALS: self._open_trials,
            contract.LOAD: self._load,
            contract.TRY: self._try,
            contract.RESIZE_TRIALS: self._resize_trials,
            contract.CLOSE_TRIALS: self._close_trials,
            contract.WEIGHTS: self._weights,
            contract.COMPARE_TYPES: self._compare_types,
            contract.JUDGE: self._judge,
            contract.SCORE_CHOICES: self._score_choices,
        }

    def _measure(self, grid: Grid, task: Task) -> None:
        events = measure(grid.tests, grid.plan, cancel=self._cancel, on_load=_load_reporter(task), pause=task.pause)
        _relay(map(_without_samples, events), task)

    def _roofline(self, asked: RooflineRequest, task: Task) -> None:
        _relay(measure_roofline(Path(asked.path), asked.setup, asked.job, self._flag, _load_reporter(task)), task)

    def _judge(self, asked: QualityRequest, task: Task) -> None:
        _relay(judge(asked, self._flag, _load_reporter(task)), task)

    def _score_choices(self, asked: TaskRequest, task: Task) -> None:
        _relay(score_choices(asked.candidate, asked.questions, self._flag, _load_reporter(task)), task)

    # --- trials ---------------------------------------------------------------------------------------------------------

    @property
    def trials(self) -> Trials:
        """The trials. Raises EngineError before they are opened."""
        if self._trials is None:
            raise EngineError("no trials are open in the engine's process")
        return self._trials

    def _open_trials(self, asked: OpenTrials, task: Task) -> None:
        self._close_trials(None, task)
        self._trials = Trials(Path(asked.path), asked.size, self._flag, self._report_load)

    def _load(self, params: ModelParams, task: Task) -> LoadedModel:
        self._show_load = _load_reporter(task)
        lib, model = library(), self.trials.model(params)
        return LoadedModel(int(lib.llama_model_n_layer(model.handle)) + 1, bool(lib.llama_supports_gpu_offload()))

    def _try(self, asked: TrialRequest, task: Task) -> TrialTime:
        self._show_load = _load_reporter(task)
        return TrialTime(self.trials.seconds(asked.setup, asked.phase), self.trials.warnings())

    def _report_load(self, share: float) -> None:
        if self._show_load is not None:
            self._show_load(share)

    def _resize_trials(self, size: TrialSize, _task: Task) -> None:
        self.trials.resize(size)

    def _close_trials(self, _: None, _task: Task) -> None:
        trials, self._trials = self._trials, None
        if trials is not None:
            trials.close()

    # --- other quantizations --------------------------------------------------------------------------------------------

    def _weights(self, asked: WeightsRequest, _task: Task) -> dict[str, int]:
        return weights_by_device(Path(asked.path), asked.setup.model, asked.setup.context, asked.size)

    def _compare_types(self, asked: CompareTypes, task: Task) -> None:
        types = asked.types or CANDIDATES
        _relay(compare_quantizations(asked.request, self._flag, seconds=asked.seconds, types=types), task)


def _relay(events: Iterator[Any], task: Task) -> None:
    """Send events, each when the parent has taken the one before."""
    for event in events:
        task.ask(event)


def _without_samples(event: BenchEvent) -> BenchEvent:
    """Return an event without the samples of a result, which the parent has already."""
    if isinstance(event, ResultReady):
        return dataclasses.replace(event, result=dataclasses.replace(event.result, samples=()))
    return event


def _load_reporter(task: Task) -> Callable[[float], None]:
    """Return a function that sends the loaded share of a model when it has changed."""
    shown = -1.0

    def report(share: float) -> None:
        nonlocal shown
        if share != shown:
            shown = share
            task.emit(LoadProgress(share))

    return report

"""A tuning session: from loading a model, over the search for its fastest setup, to the estimates of other quantizations."""

from __future__ import annotations

import statistics
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llamacli.bench.child.contract import COMPARE_TYPES, WEIGHTS, CompareTypes, WeightsRequest
from llamacli.bench.child.process import BenchProcess
from llamacli.bench.child.trials import ChildTrials
from llamacli.bench.measure.setup import Phase, Setup, TrialSize
from llamacli.bench.tune.dimensions import BOTH, Dimension, dimensions, pinned
from llamacli.bench.tune.params import TuneEvent, TunePlan, TuneReport
from llamacli.bench.tune.search import Tuner
from llamacli.bench.tune.type_speeds import Speeds, TypeReport, TypeRequest
from llamacli.engine.params import CacheType
from llamacli.engine.runtime.hardware import logical_cpus
from llamacli.errors import CancelledError, CapacityError, EngineDiedError, ModelUnsupportedError
from llamacli.gguf.analysis.cost import ModelCost, read_cost

TYPES_SHARE = 0.2
"""Share of the budget for other quantizations."""

_SAMPLES = 60  # of a search, roughly
_LEAST_PROMPT, _LEAST_GEN = 64, 8
_SPEED_SAMPLES = 3
_LEAST_TYPES_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class TuneStep:
    """The next step, in a few words."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneRequest:
    """The job and the budget (`plan`), the tokens before it, the cache types to try, and whether to compare quantizations."""

    plan: TunePlan
    depth: int = 0
    cache_types: tuple[CacheType, ...] = ()
    types: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOutcome:
    """The result of a session. `size` is that of the repetitions, which are shorter than the `job` if the budget requires it.

    `speeds` are tokens per second of the best setup. `types` is None if not requested, or if there was no time.
    """

    model: str
    job: TrialSize
    size: TrialSize
    report: TuneReport
    speeds: dict[Phase, float]
    types: TypeReport | None
    warnings: tuple[str, ...]
    seconds: float


def tune_model(
    process: BenchProcess, path: Path, start: Setup, request: TuneRequest
) -> Iterator[TuneStep | TuneEvent | TuneOutcome]:
    """Yield the events of the session; the outcome comes last, also after the process was cancelled.

    Raises:
        ModelError, CapacityError: if the model cannot run with the start.
        EngineDiedError: if the process dies with the start.
        CancelledError: if it was cancelled before anything was measured.
    """
    started, start = time.monotonic(), pinned(start)
    cost = read_cost(path)
    budget = request.plan.budget * (1 - TYPES_SHARE * request.types)
    trials = ChildTrials(process, path, TrialSize(n_prompt=_LEAST_PROMPT, n_gen=_LEAST_GEN, depth=request.depth))
    yield TuneStep("loading")
    model = trials.load(start.model)
    yield TuneStep("measuring the start")
    trials.resize(_size_for(trials, start, request))
    if trials.size != _job(request):
        yield TuneStep(f"measuring prompts of {trials.size.n_prompt} and answers of {trials.size.n_gen} tokens")
    remaining = max(1.0, budget - (time.monotonic() - started))
    settings = dimensions(
        trials.size.n_prompt,
        logical_cpus=logical_cpus(),
        layers=model.layers,
        has_gpu=model.has_gpu and start.model.devices != ("none",),
        cache_types=request.cache_types,
    )
    report = yield from _search(trials, start, settings, replace(request.plan, budget=remaining))
    speeds = _speeds(trials, report)
    types: TypeReport | None = None
    if request.types and speeds and not report.interrupted:
        trials.close()
        remaining = max(_LEAST_TYPES_SECONDS, request.plan.budget - (time.monotonic() - started))
        types = yield from _compare(process, path, cost, report.best, speeds, replace(request.plan, budget=remaining))
    yield TuneOutcome(
        model=path.name,
        job=_job(request),
        size=trials.size,
        report=replace(report, interrupted=report.interrupted or process.cancel.is_set),
        speeds=speeds,
        types=types,
        warnings=trials.warnings(),
        seconds=time.monotonic() - started,
    )


def _search(
    trials: ChildTrials, start: Setup, settings: Sequence[Dimension], plan: TunePlan
) -> Generator[TuneStep | TuneEvent, None, TuneReport]:
    """Search for the fastest settings; return the report."""
    size = trials.size
    for event in Tuner(start, settings, lambda setup, phase: size.tokens(phase) / trials.seconds(setup, phase), plan).run():
        if isinstance(event, TuneReport):
            return event
        yield event
    raise AssertionError("the report is the last event")


def _compare(
    process: BenchProcess, path: Path, cost: ModelCost, best: Setup, speeds: Speeds, plan: TunePlan
) -> Generator[TuneStep, None, TypeReport | None]:
    """Estimate the speed in other quantizations; return None if it cannot be measured, or was cancelled."""
    try:
        weights: dict[str, int] = process.call(WEIGHTS, WeightsRequest(str(path), best, plan.n_prompt))
        comparison = TypeRequest(
            cost=cost,
            speeds=speeds,
            device=max(weights, key=lambda name: weights[name]),
            threads={phase: best.threads(phase) for phase in BOTH},
            n_prompt=plan.n_prompt,
            n_gen=plan.n_gen,
            kernels=best.model.kernels,
        )
        for event in process.follow(COMPARE_TYPES, CompareTypes(comparison, plan.budget)):
            if isinstance(event, TypeReport):
                return event
            yield TuneStep(event)
    except (CancelledError, ModelUnsupportedError, CapacityError, EngineDiedError):
        pass
    return None


def _job(request: TuneRequest) -> TrialSize:
    return TrialSize(n_prompt=request.plan.n_prompt, n_gen=request.plan.n_gen, depth=request.depth)


def _size_for(trials: ChildTrials, start: Setup, request: TuneRequest) -> TrialSize:
    """Return the size of repetitions: that of the job, or less, so that the budget suffices for enough of them."""
    most = request.plan.budget / _SAMPLES
    lengths = []
    for phase, least in zip(BOTH, (_LEAST_PROMPT, _LEAST_GEN), strict=True):
        per_token = trials.seconds(start, phase) / trials.size.tokens(phase)
        length = _job(request).tokens(phase)
        while length * per_token > most and length // 2 >= least:
            length //= 2
        lengths.append(length)
    return TrialSize(n_prompt=lengths[0], n_gen=lengths[1], depth=request.depth)


def _speeds(trials: ChildTrials, report: TuneReport) -> dict[Phase, float]:
    """Return the speeds of the best setup, by the comparison or measured again; empty if that was interrupted or failed."""
    found: dict[Phase, float] = {}
    gains = {"prompt": report.prompt, "generation": report.generation}
    try:
        for phase in BOTH:
            gain = gains[phase]
            if gain is not None and report.best != report.start:
                found[phase] = gain.after
            else:
                times = [trials.seconds(report.best, phase) for _ in range(_SPEED_SAMPLES)]
                found[phase] = trials.size.tokens(phase) / statistics.median(times)
    except (CancelledError, CapacityError, EngineDiedError):
        return {}
    return found

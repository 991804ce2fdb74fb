"""A search for the fastest way to run one model, from loading it to whether another quantization would do better."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from llamacli.bench.measure.trial import Phase, Trials, TrialSize, Way
from llamacli.bench.roofline.measure import read_cost
from llamacli.bench.tune.dimensions import BOTH, dimensions, pinned
from llamacli.bench.tune.params import TuneEvent, TunePlan, TuneReport
from llamacli.bench.tune.quantizations import Speeds, TypeQuestion, TypeReport, compare_types
from llamacli.bench.tune.search import Tuner
from llamacli.binding.library import library
from llamacli.engine.fit import weights_by_device
from llamacli.engine.params import CacheType
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.hardware import logical_cpus
from llamacli.errors import CancelledError, CapacityError, ModelUnsupportedError
from llamacli.gguf.analysis.cost import ModelCost

TYPES_SHARE = 0.2
"""Of the budget, for other quantizations."""

_SAMPLES = 60  # that a search takes, roughly
_LEAST_PROMPT, _LEAST_GEN = 64, 8
_SPEED_SAMPLES = 3
_LEAST_TYPES_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Doing:
    """What is done next, in a few words."""

    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneRequest:
    """The job and the budget (`plan`), the tokens before it, the cache types to try, and whether to look at quantizations."""

    plan: TunePlan
    depth: int = 0
    cache_types: tuple[CacheType, ...] = ()
    types: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOutcome:
    """Everything that was found. `size` is what repetitions measured: shorter than the job where the budget asks for that.

    `speeds` are tokens per second of the best way. `types` is None where nothing was asked or there was no time.
    """

    model: str
    size: TrialSize
    report: TuneReport
    speeds: dict[Phase, float]
    types: TypeReport | None
    warnings: tuple[str, ...]
    seconds: float


def tune_model(
    path: Path, start: Way, request: TuneRequest, cancel: CancelFlag, on_load: Callable[[float], None] | None = None
) -> Iterator[Doing | TuneEvent | TuneOutcome]:
    """The search, told as it goes; the outcome comes last, also after `cancel` was set.

    Raises:
        ModelError, CapacityError: the model cannot be run as the start says.
        CancelledError: `cancel` was set before anything could be measured.
    """
    began, start = time.monotonic(), pinned(start)
    cost = read_cost(path)
    budget = request.plan.budget * (1 - TYPES_SHARE * request.types)
    with Trials(path, TrialSize(n_prompt=_LEAST_PROMPT, n_gen=_LEAST_GEN, depth=request.depth), cancel, on_load) as trials:
        yield Doing("loading")
        trials.model(start.model)
        yield Doing("looking how fast it is")
        trials.resize(_size_for(trials, start, request))
        left = max(1.0, budget - (time.monotonic() - began))
        report = yield from _search(trials, start, request, replace(request.plan, budget=left))
        speeds = _speeds(trials, report)
        size, warnings = trials.size, trials.warnings()
    types: TypeReport | None = None
    if request.types and speeds and not report.interrupted:
        left = max(_LEAST_TYPES_SECONDS, request.plan.budget - (time.monotonic() - began))
        types = yield from _compare(path, cost, report.best, speeds, replace(request.plan, budget=left), cancel)
    yield TuneOutcome(
        model=path.name,
        size=size,
        report=replace(report, interrupted=report.interrupted or cancel.is_set),
        speeds=speeds,
        types=types,
        warnings=warnings,
        seconds=time.monotonic() - began,
    )


def _search(trials: Trials, start: Way, request: TuneRequest, plan: TunePlan) -> Generator[Doing | TuneEvent, None, TuneReport]:
    """The search for settings."""
    size, lib = trials.size, library()
    settings = dimensions(
        size.n_prompt,
        logical_cpus=logical_cpus(),
        layers=int(lib.llama_model_n_layer(trials.model(start.model).handle)) + 1,
        has_gpu=bool(lib.llama_supports_gpu_offload()) and start.model.devices != ("none",),
        cache_types=request.cache_types,
    )
    for event in Tuner(start, settings, lambda way, phase: size.tokens(phase) / trials.seconds(way, phase), plan).run():
        if isinstance(event, TuneReport):
            return event
        yield event
    raise AssertionError("the report is the last event")


def _compare(
    path: Path, cost: ModelCost, best: Way, speeds: Speeds, plan: TunePlan, cancel: CancelFlag
) -> Generator[Doing, None, TypeReport | None]:
    """The question whether another quantization would do better; None where that cannot be measured, or was cancelled."""
    try:
        held = weights_by_device(path, best.model, best.context, plan.n_prompt)
        question = TypeQuestion(
            cost=cost,
            speeds=speeds,
            device=max(held, key=lambda name: held[name]),
            threads={phase: best.threads(phase) for phase in BOTH},
            n_prompt=plan.n_prompt,
            n_gen=plan.n_gen,
        )
        for event in compare_types(question, cancel, seconds=plan.budget):
            if isinstance(event, TypeReport):
                return event
            yield Doing(event)
    except (CancelledError, ModelUnsupportedError, CapacityError):
        pass
    return None


def _size_for(trials: Trials, start: Way, request: TuneRequest) -> TrialSize:
    """Repetitions as long as the job, or shorter so that the budget holds enough of them."""
    most = request.plan.budget / _SAMPLES
    lengths = []
    asked = {"prompt": request.plan.n_prompt, "generation": request.plan.n_gen}
    for phase, least in zip(BOTH, (_LEAST_PROMPT, _LEAST_GEN), strict=True):
        per_token = trials.seconds(start, phase) / trials.size.tokens(phase)
        length = asked[phase]
        while length * per_token > most and length // 2 >= least:
            length //= 2
        lengths.append(length)
    return TrialSize(n_prompt=lengths[0], n_gen=lengths[1], depth=request.depth)


def _speeds(trials: Trials, report: TuneReport) -> dict[Phase, float]:
    """How fast the best way is: by the comparison, or measured once more. Empty if that was interrupted."""
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
    except CancelledError:
        return {}
    return found

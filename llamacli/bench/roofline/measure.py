"""Measures what the roofline model needs: the ceilings of the devices that hold a model, and how fast the model runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llamacli.bench.measure.trial import Phase, Trials, TrialSize, Way
from llamacli.bench.roofline.model import (
    Job,
    Limit,
    RooflineReport,
    generation_need,
    make_advice,
    make_limit,
    prompt_need,
    types_to_measure,
)
from llamacli.bench.roofline.peaks import CPU, Ceiling, cache_size, faster_of, measure_ceiling, without_lost
from llamacli.bench.statistics import bootstrap_interval
from llamacli.engine.fit import weights_by_device
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.gguf.analysis.cost import ModelCost, model_cost
from llamacli.gguf.model import read_files
from llamacli.gguf.source import FileSource

COMPARED_TYPES = ("Q4_0", "Q8_0", "F16", "F32")
"""Types that are measured beside the model's own."""

REPETITIONS = 5


@dataclass(frozen=True, slots=True)
class Step:
    """What is measured next; `done` of `total` steps are behind."""

    what: str
    done: int
    total: int


def read_cost(path: Path) -> ModelCost:
    """What the model's tokens cost. Raises ModelError."""
    files = read_files(path)
    with FileSource(files.locations[0]) as source:
        return model_cost(files, source)


def measure_roofline(
    path: Path, way: Way, job: Job, cancel: CancelFlag, on_load: Callable[[float], None] | None = None
) -> Iterator[Step | RooflineReport]:
    """Steps, and at the end the report. What a busy machine has spoilt is measured once more.

    Raises:
        ModelError, CapacityError: the model cannot be run in this way.
        CancelledError: `cancel` was set.
    """
    cost = read_cost(path)
    size = TrialSize(n_prompt=job.n_prompt, n_gen=job.n_gen, depth=job.depth)
    weights = weights_by_device(path, way.model, way.context, job.n_prompt + job.n_gen + job.depth)
    shares = {name: bytes_held / sum(weights.values()) for name, bytes_held in weights.items()}
    counts = sorted({1, way.threads("generation"), way.threads("prompt")})
    total = len(shares) * len(counts) + REPETITIONS + 1
    types = types_to_measure(cost, COMPARED_TYPES)
    ceilings: list[Ceiling] = []
    for device in shares:
        for threads in counts if device == CPU else counts[-1:]:
            yield Step(f"{device}, {threads} thread{'s' if threads > 1 else ''}", len(ceilings), total)
            ceilings.append(_ceiling(device, threads, types, ceilings, cancel))
    speeds: dict[Phase, list[float]] = {"prompt": [], "generation": []}
    with Trials(path, size, cancel, on_load) as trials:
        for repetition in range(REPETITIONS):
            yield Step("the model itself", total - REPETITIONS + repetition, total)
            for phase, found in speeds.items():
                found.append(size.tokens(phase) / trials.seconds(way, phase))
        warnings = trials.warnings()
    report = _report(path, way, job, cost, shares, ceilings, speeds, warnings)
    if not (report.prompt.is_known and report.generation.is_known):
        yield Step("the limits once more", total - 1, total)
        used = {way.threads("generation"), way.threads("prompt")}
        ceilings = [
            _once_more(one, types, ceilings, cancel) if one.device != CPU or one.threads in used else one for one in ceilings
        ]
        report = _report(path, way, job, cost, shares, ceilings, speeds, warnings)
    yield report


def _ceiling(device: str, threads: int, types: Sequence[str], others: Sequence[Ceiling], cancel: CancelFlag) -> Ceiling:
    found = without_lost(measure_ceiling(device, threads, types, cancel), _fewer(device, threads, others))
    return _once_more(found, types, others, cancel) if found.lost else found


def _once_more(ceiling: Ceiling, types: Sequence[str], others: Sequence[Ceiling], cancel: CancelFlag) -> Ceiling:
    device, threads = ceiling.device, ceiling.threads
    found = faster_of(ceiling, measure_ceiling(device, threads, types, cancel))
    return without_lost(found, _fewer(device, threads, others))


def _fewer(device: str, threads: int, ceilings: Sequence[Ceiling]) -> list[Ceiling]:
    return [one for one in ceilings if one.device == device and one.threads < threads]


def _report(
    path: Path,
    way: Way,
    job: Job,
    cost: ModelCost,
    shares: Mapping[str, float],
    ceilings: list[Ceiling],
    speeds: Mapping[Phase, list[float]],
    warnings: tuple[str, ...],
) -> RooflineReport:
    is_cached = set(shares) == {CPU} and cost.weights < cache_size()
    depth = f" @ d{job.depth}" if job.depth else ""
    needs = {"prompt": prompt_need(cost, job), "generation": generation_need(cost, job)}
    names = {"prompt": f"pp{job.n_prompt}{depth}", "generation": f"tg{job.n_gen}{depth}"}
    limits = {
        phase: make_limit(
            names[phase],
            needs[phase],
            _at(ceilings, way.threads(phase)),
            shares,
            statistics.median(found),
            bootstrap_interval(found),
            is_cached=is_cached,
        )
        for phase, found in speeds.items()
    }
    main = max(shares, key=lambda name: shares[name])
    ceiling = _at(ceilings, way.threads("prompt"))[main]
    advice = make_advice(limits["prompt"], limits["generation"], ceiling, cost, is_cached=is_cached)
    return RooflineReport(
        model=path.name,
        ceilings=tuple(ceilings),
        cost=cost,
        shares=shares,
        prompt=limits["prompt"],
        generation=limits["generation"],
        is_cached=is_cached,
        advice=tuple(advice),
        warnings=(*warnings, *(_unknown(limit) for limit in limits.values() if not limit.is_known)),
    )


def _unknown(limit: Limit) -> str:
    return f"{limit.test}: other programs kept the limit from being measured: close them and measure again"


def _at(ceilings: list[Ceiling], threads: int) -> dict[str, Ceiling]:
    """The ceilings by device: of the CPU with so many threads, of others as they are."""
    return {one.device: one for one in ceilings if one.device != CPU or one.threads == threads}

"""The measurements of the roofline model: the ceilings of the devices that hold a model, and the model's own speed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from llamacli.bench.measure.setup import Phase, Setup, TrialSize
from llamacli.bench.measure.trial import Trials
from llamacli.bench.roofline.ceiling import CPU, Ceiling, faster_of, without_lost
from llamacli.bench.roofline.model import (
    Limit,
    RooflineJob,
    RooflineReport,
    RooflineStep,
    faster_type,
    generation_need,
    main_type,
    make_limit,
    prompt_need,
    types_to_measure,
)
from llamacli.bench.roofline.peaks import cache_size, measure_ceiling
from llamacli.bench.statistics import bootstrap_interval
from llamacli.engine.fit.search import weights_by_device
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.gguf.analysis.cost import ModelCost, read_cost
from llamacli.units import counted

COMPARED_TYPES = ("Q4_0", "Q8_0", "F16", "F32")
"""Types that are measured in addition to the model's own."""

REPETITIONS = 5


def measure_roofline(
    path: Path, setup: Setup, job: RooflineJob, cancel: CancelFlag, on_load: Callable[[float], None] | None = None
) -> Iterator[RooflineStep | RooflineReport]:
    """Yield the steps, and finally the report. Ceilings that a busy machine made too low are measured again.

    Raises:
        ModelError, CapacityError: if the model cannot run with this setup.
        CancelledError: if `cancel` was set.
    """
    cost = read_cost(path)
    size = TrialSize(n_prompt=job.n_prompt, n_gen=job.n_gen, depth=job.depth)
    weights = weights_by_device(path, setup.model, setup.context, job.n_prompt + job.n_gen + job.depth)
    shares = {name: bytes_held / sum(weights.values()) for name, bytes_held in weights.items()}
    counts = sorted({1, setup.threads("generation"), setup.threads("prompt")})
    total = len(shares) * len(counts) + REPETITIONS + 1
    types = types_to_measure(cost, COMPARED_TYPES)
    ceilings: list[Ceiling] = []
    for device in shares:
        for threads in counts if device == CPU else counts[-1:]:
            yield RooflineStep(f"{device}, {counted(threads, 'thread')}", len(ceilings), total)
            ceiling = measure_ceiling(device, threads, types, cancel, setup.model.kernels)
            ceilings.append(_ceiling(ceiling, types, ceilings, cancel))
    speeds: dict[Phase, list[float]] = {"prompt": [], "generation": []}
    with Trials(path, size, cancel, on_load) as trials:
        for repetition in range(REPETITIONS):
            yield RooflineStep("the model itself", total - REPETITIONS + repetition, total)
            for phase, found in speeds.items():
                found.append(size.tokens(phase) / trials.seconds(setup, phase))
        warnings = trials.warnings()
    report = _report(path, setup, job, cost, shares, ceilings, speeds, warnings)
    if not (report.prompt.is_known and report.generation.is_known):
        yield RooflineStep("the limits again", total - 1, total)
        used = {setup.threads("generation"), setup.threads("prompt")}
        ceilings = [
            _measured_again(one, types, ceilings, cancel) if one.device != CPU or one.threads in used else one
            for one in ceilings
        ]
        report = _report(path, setup, job, cost, shares, ceilings, speeds, warnings)
    yield report


def _ceiling(measured: Ceiling, types: Sequence[str], others: Sequence[Ceiling], cancel: CancelFlag) -> Ceiling:
    found = without_lost(measured, _fewer(measured.device, measured.threads, others))
    return _measured_again(found, types, others, cancel) if found.lost else found


def _measured_again(ceiling: Ceiling, types: Sequence[str], others: Sequence[Ceiling], cancel: CancelFlag) -> Ceiling:
    device, threads = ceiling.device, ceiling.threads
    found = faster_of(ceiling, measure_ceiling(device, threads, types, cancel, ceiling.kernels))
    return without_lost(found, _fewer(device, threads, others))


def _fewer(device: str, threads: int, ceilings: Sequence[Ceiling]) -> list[Ceiling]:
    return [one for one in ceilings if one.device == device and one.threads < threads]


def _report(
    path: Path,
    setup: Setup,
    job: RooflineJob,
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
            _with_threads(ceilings, setup.threads(phase)),
            shares,
            statistics.median(found),
            bootstrap_interval(found),
            is_cached=is_cached,
        )
        for phase, found in speeds.items()
    }
    main = max(shares, key=lambda name: shares[name])
    return RooflineReport(
        model=path.name,
        ceilings=tuple(ceilings),
        cost=cost,
        shares=shares,
        prompt=limits["prompt"],
        generation=limits["generation"],
        is_cached=is_cached,
        faster=faster_type(_with_threads(ceilings, setup.threads("prompt"))[main], main_type(cost)),
        warnings=(*warnings, *(_unknown(limit) for limit in limits.values() if not limit.is_known)),
    )


def _unknown(limit: Limit) -> str:
    return f"{limit.test}: the limit could not be measured because of other programs: close them and measure again"


def _with_threads(ceilings: list[Ceiling], threads: int) -> dict[str, Ceiling]:
    """Return the ceilings by device: of the CPU with that number of threads, of other devices the only one."""
    return {one.device: one for one in ceilings if one.device != CPU or one.threads == threads}

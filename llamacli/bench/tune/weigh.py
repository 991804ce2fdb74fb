"""Speed weighed against quality: settings and quantizations are kept only if their loss stays inside a bound.

A setting that changes what is computed (cache types, flash attention) and a quantization are judged beside the file as it is,
on the same windows of text; bounds are for the upper ends of the intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from llamacli.backend.child import quantizer
from llamacli.backend.child.params import ChildParams
from llamacli.bench.child.process import BenchProcess
from llamacli.bench.child.quality import judge_in_child
from llamacli.bench.measure.setup import Setup
from llamacli.bench.quality.estimates import Estimate
from llamacli.bench.quality.params import Candidate, QualityPlan, QualityRequest
from llamacli.bench.quality.result import Collector
from llamacli.bench.quality.text import shipped_text
from llamacli.bench.tune.params import TuneReport
from llamacli.bench.tune.type_speeds import TypeReport, TypeSpeed
from llamacli.engine.quantization.types import TYPES, Quantization
from llamacli.errors import CancelledError, LlamacliError, UsageError

WINDOWS = 16
"""Windows of 512 tokens that a loss is measured on."""

MOST_TYPES = 3
"""Quantizations that are made and judged: the fastest ones."""

_HELPS = 1.1
"""The smallest gain, over reading and generating, that makes another quantization worth its loss."""

_COMPUTED = ("flash-attn", "cache-type")
"""Settings that change results by more than rounding, or may."""

OpenProcess = Callable[[Path], BenchProcess]
"""Starts a process that may read a model file beside the tuned one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityBound:
    """The bounds on the relative change of perplexity, such as 0.01 for 1 %, and on the mean KL divergence (None: any)."""

    perplexity: float
    divergence: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.perplexity <= 10:
            raise UsageError("the bound on perplexity must be above 0 %", parameter="max_ppl_increase")
        if self.divergence is not None and not self.divergence > 0:
            raise UsageError("the bound on KL divergence must be above 0", parameter="max_kld")

    def holds(self, change: Estimate, divergence: Estimate) -> bool:
        """Return whether the upper ends of both intervals are inside."""
        limits = (change, self.perplexity), (divergence, self.divergence)
        return all(limit is None or (one.value if one.high is None else one.high) <= limit for one, limit in limits)


@dataclass(frozen=True, slots=True)
class WeighStep:
    """The next step, in words. A cancelled process does not end it if it `quantizes`."""

    text: str
    quantizes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What a change costs: the relative change of perplexity and the mean KL divergence. `is_inside` the bound."""

    what: str
    perplexity: Estimate
    divergence: Estimate
    is_inside: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WeighedType:
    """A quantization that was made and judged; `error` is why it could not be."""

    speed: TypeSpeed
    loss: Loss | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """The outcome: the loss of the settings, None if they change nothing, the quantizations that were judged, and the best.

    `chosen` is the fastest one inside the bound, None if there is none; `file` is its file, if it was to be kept.
    """

    settings: Loss | None
    types: tuple[WeighedType, ...]
    chosen: WeighedType | None
    file: Path | None = None


def changes_results(report: TuneReport) -> bool:
    """Return whether the best setup computes something else than the start."""
    return _restored(report).best != report.best


def without_lossy_settings(report: TuneReport, loss: Loss) -> TuneReport:
    """Return the report without the settings that cost too much."""
    note = f"costs {loss.perplexity.value:+.2%} of perplexity"
    restored = _restored(report)
    choices = tuple(
        replace(one, after=one.before, note=note) if one.name in _COMPUTED and one.after != one.before else one
        for one in report.choices
    )
    return replace(restored, choices=choices)


def _restored(report: TuneReport) -> TuneReport:
    start = report.start.context
    context = replace(
        report.best.context,
        flash_attention=start.flash_attention,
        cache_type_k=start.cache_type_k,
        cache_type_v=start.cache_type_v,
    )
    return replace(report, best=replace(report.best, context=context))


def weigh_settings(process: BenchProcess, path: Path, report: TuneReport, bound: QualityBound) -> Loss:
    """Return the loss of the best setup beside the start. Raises what `judge_in_child` raises."""
    return _loss(process, "the settings", (path, report.best), (path, report.start), bound)


def weigh_types(
    open_process: OpenProcess,
    path: Path,
    best: Setup,
    types: TypeReport,
    bound: QualityBound,
    folder: Path,
    child: ChildParams,
) -> Iterator[WeighStep | WeighedType]:
    """Make and judge the fastest quantizations until one is inside the bound; yield the steps, and each with its loss.

    Files are written to `folder`, by the names of their types, and stay there.

    Raises:
        CancelledError: if the process was cancelled.
    """
    for speed in _worthwhile(types):
        yield WeighStep(f"quantizing to {speed.type}", quantizes=True)
        target = folder / f"{speed.type}.gguf"
        try:
            asked = Quantization(source=str(path), type_name=_file_type(speed.type), allow_requantize=True)
            quantizer.quantize(asked, target, child)
            yield WeighStep(f"judging {speed.type}")
            with open_process(target) as process:
                loss = _loss(process, speed.type, (target, best), (path, best), bound)
        except CancelledError:
            raise
        except LlamacliError as error:
            yield WeighedType(speed=speed, error=error.message)
            continue
        yield WeighedType(speed=speed, loss=loss)
        if loss.is_inside:
            return


def _worthwhile(types: TypeReport) -> list[TypeSpeed]:
    """Return the quantizations that are surely faster, the fastest first."""

    def gain(one: TypeSpeed) -> float:
        return math.prod(one.speeds[phase] / types.own.speeds[phase] for phase in one.speeds) ** (1 / len(one.speeds))

    faster = [one for one in types.others if gain(one) >= _HELPS and one.type != types.own.type]
    return sorted(faster, key=gain, reverse=True)[:MOST_TYPES]


def _file_type(layers: str) -> str:
    """Return the quantization whose layers have a type: Q4_K_M for Q4_K."""
    return layers if layers in TYPES else f"{layers}_M"


def _loss(
    process: BenchProcess, what: str, changed: tuple[Path, Setup], original: tuple[Path, Setup], bound: QualityBound
) -> Loss:
    candidate, reference = (Candidate(path=str(path), setup=setup) for path, setup in (changed, original))
    plan = QualityPlan(windows=WINDOWS)
    collector = Collector([candidate])
    for event in judge_in_child(
        process, QualityRequest(candidates=(candidate,), text=shipped_text().data, plan=plan, reference=reference)
    ):
        collector.add(event)
    found = collector.results()[0].divergence
    if found is None:
        raise CancelledError("cancelled")
    change = found.log_ratio.mapped(math.expm1)
    return Loss(what=what, perplexity=change, divergence=found.mean, is_inside=bound.holds(change, found.mean))

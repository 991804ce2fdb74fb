"""Results of quality as rows of the benchmark: the speed of the evaluation, perplexity, and a document with everything else."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from llamacli.bench.measure.events import utc_now
from llamacli.bench.measure.params import BenchResult, BenchTest, Machine, Repetition
from llamacli.bench.measure.rows import result_row
from llamacli.bench.measure.setup import Setup, context_params, model_params
from llamacli.bench.quality.estimates import Estimate
from llamacli.bench.quality.params import Candidate, QualityPlan
from llamacli.bench.quality.result import Divergence, QualityResult
from llamacli.bench.statistics import bootstrap_interval
from llamacli.engine.params import LoraAdapter


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityTest:
    """A point of the grid: a test of the workload `quality`, and adapters, which other tests cannot have."""

    test: BenchTest
    loras: tuple[LoraAdapter, ...] = ()

    @property
    def lora_text(self) -> str:
        """The adapters with their scales, as rows have them."""
        return ",".join(f"{Path(lora.path).name}:{lora.scale:g}" for lora in self.loras)

    def candidate(self) -> Candidate:
        """Return the model with its parameters."""
        model = replace(model_params(self.test), loras=self.loras)
        return Candidate(path=self.test.model, setup=Setup(model=model, context=context_params(self.test)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What was judged: the text, its hash, that of its tokens in the windows, and the name of the reference, if any."""

    text: str
    text_sha256: str
    tokens_sha256: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """Results of tests, with the plan of the windows and what they were cut from."""

    results: Sequence[QualityResult]
    tests: Sequence[QualityTest]
    plan: QualityPlan
    material: Material

    def rows(self, machine: Machine) -> list[dict[str, Any]]:
        """Return a row for each test."""
        return [
            quality_row(result, test, self.plan, self.material, machine)
            for result, test in zip(self.results, self.tests, strict=True)
        ]


def quality_row(
    result: QualityResult, test: QualityTest, plan: QualityPlan, material: Material, machine: Machine
) -> dict[str, Any]:
    """Return the row of a result. Its repetitions are the windows; those that ran side by side give one sample of the time."""
    times = [max(1, round(1e9 * seconds)) for seconds, _ in itertools.groupby(result.seconds)]
    measured = BenchResult(
        test=test.test,
        test_time=utc_now(),
        model=result.model,
        samples=tuple(Repetition(total_ns=time) for time in times),
        interval_ns=bootstrap_interval(times) if times else None,
        error=result.error,
    )
    row = result_row(measured, machine)
    row["test"] = test.test.name if plan.stride is None else f"{test.test.name}/{plan.stride}"
    row["repetitions"] = result.windows
    row["loras"] = test.lora_text
    if result.perplexity is not None:
        row |= _columns("perplexity", result.perplexity)
        row["tokens_sha256"] = material.tokens_sha256
        row["quality"] = _document(result, plan, material)
    if result.divergence is not None:
        row |= _columns("kld", result.divergence.mean) | _columns("same_top", result.divergence.same_top)
    return row


def _document(result: QualityResult, plan: QualityPlan, material: Material) -> dict[str, Any]:
    document: dict[str, Any] = {
        "kind": "text",
        "text": material.text,
        "text_sha256": material.text_sha256,
        "window": plan.n_ctx,
        "stride": plan.stride,
        "judged": sum(result.counts),
        "losses": list(result.losses),
        "counts": list(result.counts),
    }
    if result.divergence is not None:
        document["reference"] = _reference(result.divergence, material.reference)
    return document


def _reference(found: Divergence, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "perplexity": _estimate(found.reference),
        "log_ratio": _estimate(found.log_ratio),
        "divergence": _estimate(found.mean),
        "divergence_quantiles": {f"{share:g}": _estimate(one) for share, one in found.quantiles},
        "same_top": _estimate(found.same_top),
        "change": _estimate(found.change),
        "rms_change": _estimate(found.rms_change),
        "divergences": list(found.sums),
    }


def _columns(name: str, estimate: Estimate) -> dict[str, float | None]:
    bounds = _estimate(estimate)
    return {name: bounds["value"], f"{name}_low": bounds["low"], f"{name}_high": bounds["high"]}


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    """Return an estimate as a document. JSON has no infinity: the largest number stands for it."""
    return {name: None if value is None else _finite(value) for name, value in asdict(estimate).items()}


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.copysign(_LARGEST, value)


_LARGEST = 1e299
"""Below what columns of numbers accept."""

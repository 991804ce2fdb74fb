"""A forecast: the speed of a model in a quantization that does not exist yet."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llamacli.bench.child.contract import COMPARE_TYPES, WEIGHTS, CompareTypes, WeightsRequest
from llamacli.bench.child.process import BenchProcess
from llamacli.bench.child.trials import ChildTrials
from llamacli.bench.measure.setup import Phase, Setup, TrialSize
from llamacli.bench.roofline.model import BITS
from llamacli.bench.tune.type_speeds import TypeReport, TypeRequest, TypeSpeed
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.gguf.analysis.cost import read_cost

_SIZE = TrialSize(n_prompt=256, n_gen=16)
_SAMPLES = 3
_SECONDS = 3.0
_PHASES: tuple[Phase, ...] = ("prompt", "generation")


@dataclass(frozen=True, slots=True)
class SpeedForecast:
    """The measured speed of a model, and the estimated one with its layers in another type."""

    now: TypeSpeed
    then: TypeSpeed


def layer_type(quantization: str) -> str | None:
    """Return the type that most weights of a quantization have: that of Q4_K_M is Q4_K. None if its speed is not known."""
    names = (quantization, quantization.rpartition("_")[0])
    return next((name for name in names if name in BITS), None)


def estimate_speed(
    process: BenchProcess, path: Path, quantization: str, on_step: Callable[[str], None]
) -> SpeedForecast | None:
    """Return the speeds of the model now and in the quantization; None if that cannot be estimated.

    Raises:
        ModelError, CapacityError: if the model cannot be run as it is.
        CancelledError: if the process was cancelled.
    """
    wanted = layer_type(quantization)
    if wanted is None:
        return None
    setup = Setup(model=ModelParams(), context=ContextParams())
    on_step("measuring the original")
    trials = ChildTrials(process, path, _SIZE)
    trials.load(setup.model)
    speeds: dict[Phase, float] = {
        phase: _SIZE.tokens(phase) / statistics.median(trials.seconds(setup, phase) for _ in range(_SAMPLES))
        for phase in _PHASES
    }
    trials.close()
    weights: dict[str, int] = process.call(WEIGHTS, WeightsRequest(str(path), setup, _SIZE.n_prompt))
    request = TypeRequest(
        cost=read_cost(path),
        speeds=speeds,
        device=max(weights, key=lambda name: weights[name]),
        threads={phase: setup.threads(phase) for phase in _PHASES},
        n_prompt=_SIZE.n_prompt,
        n_gen=_SIZE.n_gen,
        kernels=setup.model.kernels,
    )
    for event in process.follow(COMPARE_TYPES, CompareTypes(request, _SECONDS, (wanted,))):
        if isinstance(event, TypeReport):
            return SpeedForecast(event.own, event.others[0]) if event.others else None
        on_step(event)
    raise AssertionError("the report is the last event")

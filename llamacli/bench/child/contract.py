"""The methods of a child that measures.

Whatever streams waits after each item for the parent's "go on", so that the parent sleeps during a measurement and knows what
the child was doing when it died. Only the shares of a model that is being loaded come without that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from llamacli.backend.child.wire.codec import Variants
from llamacli.backend.child.wire.method import Method
from llamacli.bench.measure.events import RepetitionDone, ResultReady, StageStarted
from llamacli.bench.measure.params import BenchTest, MeasurePlan
from llamacli.bench.measure.setup import Phase, Setup, TrialSize
from llamacli.bench.quality.params import (
    CandidateFailed,
    CandidateReady,
    ChoicesScored,
    QualityRequest,
    TaskRequest,
    TextRead,
    WindowScored,
)  # fmt: skip
from llamacli.bench.roofline.model import RooflineJob, RooflineReport, RooflineStep
from llamacli.bench.tune.type_speeds import TypeReport, TypeRequest
from llamacli.engine.params import ModelParams
from llamacli.engine.system import NativeBuild


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """The loaded share of a model, from 0 to 1."""

    share: float


@dataclass(frozen=True, slots=True)
class Grid:
    """Arguments of `MEASURE`."""

    tests: tuple[BenchTest, ...]
    plan: MeasurePlan


@dataclass(frozen=True, slots=True)
class RooflineRequest:
    """Arguments of `ROOFLINE`."""

    path: str
    setup: Setup
    job: RooflineJob


@dataclass(frozen=True, slots=True)
class OpenTrials:
    """Arguments of `OPEN_TRIALS`."""

    path: str
    size: TrialSize


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """Result of `LOAD`: layers including the output, and whether this build has a GPU for them."""

    layers: int
    has_gpu: bool


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """Arguments of `TRY`."""

    setup: Setup
    phase: Phase


@dataclass(frozen=True, slots=True)
class TrialTime:
    """Result of `TRY`: the seconds of a repetition, and the disturbances of all trials so far."""

    seconds: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WeightsRequest:
    """Arguments of `WEIGHTS`; `size` is that of the context in tokens."""

    path: str
    setup: Setup
    size: int


@dataclass(frozen=True, slots=True)
class CompareTypes:
    """Arguments of `COMPARE_TYPES`; without `types`, those that are worth a try."""

    request: TypeRequest
    seconds: float
    types: tuple[str, ...] = ()


JUDGE: Final = Method(
    "judge",
    QualityRequest,
    items=Variants(LoadProgress, TextRead, CandidateReady, CandidateFailed, WindowScored),
    feeds=bool,
)
SCORE_CHOICES: Final = Method(
    "score_choices", TaskRequest, items=Variants(LoadProgress, CandidateReady, ChoicesScored), feeds=bool
)
BUILD: Final = Method("build", None, NativeBuild)
STOP: Final = Method("stop", None)
MEASURE: Final = Method("measure", Grid, items=Variants(LoadProgress, StageStarted, RepetitionDone, ResultReady), feeds=bool)
ROOFLINE: Final = Method("roofline", RooflineRequest, items=Variants(LoadProgress, RooflineStep, RooflineReport), feeds=bool)
OPEN_TRIALS: Final = Method("open_trials", OpenTrials)
LOAD: Final = Method("load", ModelParams, LoadedModel, items=LoadProgress)
TRY: Final = Method("try", TrialRequest, TrialTime, items=LoadProgress)
RESIZE_TRIALS: Final = Method("resize_trials", TrialSize)
CLOSE_TRIALS: Final = Method("close_trials", None)
WEIGHTS: Final = Method("weights", WeightsRequest, dict[str, int])
COMPARE_TYPES: Final = Method("compare_types", CompareTypes, items=Variants(str, TypeReport), feeds=bool)

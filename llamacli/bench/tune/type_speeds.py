"""Values of the estimate of a model's speed in other quantizations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llamacli.bench.compare.compare import Outcome
from llamacli.bench.measure.setup import Phase
from llamacli.engine.params import Kernels
from llamacli.gguf.analysis.cost import ModelCost

Speeds = Mapping[Phase, float]
"""Tokens per second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeSpeed:
    """The estimated speed of the model with its layers in a type. `size` in bytes of the whole model, `bits` per weight of the
    layers; speeds in tokens per second, `outcomes` against the file itself. `is_repacked`: for this CPU, on loading.
    """

    type: str
    size: int
    bits: float
    speeds: Speeds
    outcomes: Mapping[Phase, Outcome]
    is_repacked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeReport:
    """The file itself, and its model in other types. `better` are the types worth using, the fastest first: of about the
    quality of the file, and surely faster at the whole job.
    """

    own: TypeSpeed
    others: tuple[TypeSpeed, ...]
    better: tuple[TypeSpeed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeRequest:
    """The model to compare, with its own speeds, the device, its kernels and the threads for each phase.

    `n_prompt` and `n_gen` are the tokens of the job whose total time is estimated.
    """

    cost: ModelCost
    speeds: Speeds
    device: str
    threads: Mapping[Phase, int]
    n_prompt: int
    n_gen: int
    kernels: Kernels = "own"

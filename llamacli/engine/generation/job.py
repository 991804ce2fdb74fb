"""A job: one of many answers to make."""

from __future__ import annotations

from llamacli.engine.chat.turn import Turn
from llamacli.engine.generation.request import Criterion, Processor
from llamacli.engine.params import GenerationParams
from llamacli.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One of many answers to make. Its events carry `number`, which is unique among the jobs in flight."""

    number: int
    turn: Turn
    params: GenerationParams
    processor: Processor | None = None
    criterion: Criterion | None = None

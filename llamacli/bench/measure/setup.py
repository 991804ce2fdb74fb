"""Setups, of which trials measure the speed: the parameters of model and context, and the size of a repetition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.runtime.hardware import default_threads

Phase = Literal["prompt", "generation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The parameters of model and context that a model runs with."""

    model: ModelParams
    context: ContextParams

    def threads(self, phase: Phase) -> int:
        """Return the number of threads of a phase."""
        context = self.context
        threads = context.threads or default_threads()
        return (context.threads_batch or threads) if phase == "prompt" else threads


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSize:
    """The tokens of a repetition: of a prompt, or generated, after `depth` tokens."""

    n_prompt: int
    n_gen: int
    depth: int = 0

    def tokens(self, phase: Phase) -> int:
        """Return the number of timed tokens."""
        return self.n_prompt if phase == "prompt" else self.n_gen

"""Parameters and results of a search for the fastest setup of a model."""

from __future__ import annotations

from dataclasses import dataclass

from llamacli.bench.compare.compare import Outcome
from llamacli.bench.measure.setup import Setup
from llamacli.errors import UsageError

Value = int | str
"""A value of a setting, as in the settings file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunePlan:
    """`budget` in seconds; `n_prompt` and `n_gen` are the tokens of the job whose total time is minimized."""

    budget: float
    n_prompt: int
    n_gen: int
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.budget <= 86_400:
            raise UsageError("budget must be above 0, and at most 86400 seconds", parameter="budget")
        for parameter, tokens in (("n_prompt", self.n_prompt), ("n_gen", self.n_gen)):
            if tokens < 1:
                raise UsageError(
                    f"{parameter} must be at least 1: reading and generating are tuned together", parameter=parameter
                )


@dataclass(frozen=True, slots=True)
class RaceRound:
    """The start of a round of the race between values of a setting; `remaining` are still in the race."""

    name: str
    round: int
    remaining: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class PairCompared:
    """The end of a pair of measurements in the final comparison."""

    pair: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingChoice:
    """The decision about one setting. `tried` are the measured values; `note` says why some or all were not tried.

    `parameters` are those of the search that would allow more to be tried.
    """

    name: str
    before: Value
    after: Value
    tried: tuple[Value, ...] = ()
    note: str | None = None
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Tokens per second before and after (medians of the comparison), and the outcome of the comparison."""

    before: float
    after: float
    outcome: Outcome

    @property
    def is_shown(self) -> bool:
        """True if it is faster beyond noise."""
        return self.outcome.verdict == "faster"


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneReport:
    """The result. A gain is None if no change could bring one, or if there was no time to compare.

    `overall` is the gain of the whole job, prompt and generation. If `interrupted`, the best setup is the best so far, and may
    rest on races alone.
    """

    start: Setup
    best: Setup
    choices: tuple[SettingChoice, ...]
    prompt: Gain | None
    generation: Gain | None
    overall: Gain | None
    seconds: float
    interrupted: bool


TuneEvent = RaceRound | PairCompared | SettingChoice | TuneReport

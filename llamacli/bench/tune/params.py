"""What a search for the fastest way to run a model is told, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass

from llamacli.bench.compare.compare import Outcome
from llamacli.bench.measure.trial import Way
from llamacli.errors import UsageError

Value = int | str
"""Of a setting, as the settings file has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TunePlan:
    """`budget` in seconds; `n_prompt` and `n_gen` are the tokens of the job that is to be fast as a whole."""

    budget: float
    n_prompt: int
    n_gen: int
    seed: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.budget <= 86_400:
            raise UsageError("--budget takes seconds from 1 to 86400")
        if self.n_prompt < 1 or self.n_gen < 1:
            raise UsageError("-p and -n must be at least 1: reading and generating are tuned together")


@dataclass(frozen=True, slots=True)
class Racing:
    """A round of the values of a setting is over; `left` are still in the race."""

    name: str
    round: int
    left: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Checking:
    """A pair of the comparison at the end was measured."""

    pair: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What became of one setting. `tried` are the values that were measured; `note` says why some or all were not."""

    name: str
    before: Value
    after: Value
    tried: tuple[Value, ...] = ()
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """Tokens per second at the start and at the end (medians of the comparison), and what the comparison says."""

    before: float
    after: float
    outcome: Outcome

    @property
    def is_shown(self) -> bool:
        """Whether it is faster, beyond what noise explains."""
        return self.outcome.verdict == "faster"


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneReport:
    """What was found. A gain is None where nothing was changed that could bring one, or where it was not compared any more.

    `overall` is of the job as a whole, prompt and generation one after the other. With `interrupted` the best way is what was
    found until then, and may rest on races alone.
    """

    start: Way
    best: Way
    choices: tuple[Choice, ...]
    prompt: Gain | None
    generation: Gain | None
    overall: Gain | None
    seconds: float
    interrupted: bool


TuneEvent = Racing | Checking | Choice | TuneReport

"""Requests for the measurement of quality, and its events: values that travel between the processes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llamacli.bench.measure.params import ModelFacts
from llamacli.bench.measure.setup import Setup
from llamacli.bench.quality.tasks import TaskQuestion
from llamacli.errors import LlamacliError, UsageError

_LONGEST_WINDOW = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model with the parameters that it is judged with."""

    path: str
    setup: Setup


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityPlan:
    """The windows: `n_ctx` tokens each, `stride` tokens apart (None: next to each other), at most `windows`.

    No further window is begun after `budget` seconds.
    """

    n_ctx: int = 512
    stride: int | None = None
    windows: int | None = None
    budget: float | None = None

    def __post_init__(self) -> None:
        _require(4 <= self.n_ctx <= _LONGEST_WINDOW, f"n_ctx must be from 4 to {_LONGEST_WINDOW}", "n_ctx")
        _require(self.stride is None or 1 <= self.stride < self.n_ctx, "stride must be from 1 to less than n_ctx", "stride")
        _require(self.windows is None or self.windows >= 1, "windows must be at least 1", "windows")
        _require(self.budget is None or self.budget > 0, "budget must be above 0 seconds", "budget")

    def limited(self, windows: int) -> QualityPlan:
        """Return the same with that number of windows, however long they take."""
        return replace(self, windows=windows, budget=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityRequest:
    """Candidates that are judged together, on a text.

    `reference` is a model with its parameters, `reference_logits` a file of log probabilities. `save_logits` is a file that
    exists, for the log probabilities of the only candidate.
    """

    candidates: tuple[Candidate, ...]
    text: bytes
    plan: QualityPlan
    reference: Candidate | None = None
    reference_logits: str = ""
    save_logits: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """Questions of multiple choice, and the model that answers."""

    candidate: Candidate
    questions: tuple[TaskQuestion, ...]


@dataclass(frozen=True, slots=True)
class TextRead:
    """The text as tokens: their number, that of the windows, and the hash of the tokens in those."""

    tokens: int
    windows: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CandidateReady:
    """A candidate was loaded."""

    candidate: int
    model: ModelFacts


@dataclass(frozen=True, slots=True)
class CandidateFailed:
    """A candidate cannot be judged; the others are."""

    candidate: int
    error: LlamacliError


@dataclass(frozen=True, slots=True)
class WindowScored:
    """The scores of a candidate in a window, in the order of its judged tokens, and the seconds of its evaluation.

    Floats of 32 bits, `agrees` bytes that are 0 or 1; the last three are empty without a reference. See `Scores`.
    """

    candidate: int
    window: int
    seconds: float
    losses: bytes
    reference_losses: bytes
    divergences: bytes
    agrees: bytes


@dataclass(frozen=True, slots=True)
class ChoicesScored:
    """The log probabilities of the choices of a question, the tokens that were evaluated for it, and the seconds."""

    question: int
    logprobs: tuple[float, ...]
    tokens: int
    seconds: float


QualityEvent = TextRead | CandidateReady | CandidateFailed | WindowScored


def _require(condition: bool, message: str, parameter: str) -> None:
    if not condition:
        raise UsageError(message, parameter=parameter)

"""The results: what the scores of all windows say about a candidate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llamacli.bench.measure.params import ModelFacts
from llamacli.bench.quality.estimates import Estimate, Resamples
from llamacli.bench.quality.params import Candidate, CandidateFailed, CandidateReady, QualityEvent, TextRead, WindowScored
from llamacli.errors import LlamacliError

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999, 1.0)
"""The quantiles of the divergence that are reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """A candidate beside its reference; names as in llama-perplexity.

    `reference` is the reference's perplexity, `log_ratio` the mean of ln(PPL(Q) / PPL(base)), `mean` the mean KL divergence in
    nats and `quantiles` its quantiles by share, `same_top` the share of tokens for which both find the same one most probable,
    `change` and `rms_change` mean and RMS of the change of the right token's probability. `sums` are those of the divergences
    in each window.
    """

    reference: Estimate
    log_ratio: Estimate
    mean: Estimate
    quantiles: tuple[tuple[float, Estimate], ...]
    same_top: Estimate
    change: Estimate
    rms_change: Estimate
    sums: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityResult:
    """What is known about a candidate.

    `losses` are the sums of negative log probabilities, `counts` the numbers of judged tokens. They have an entry for each
    window, like the `seconds` of its evaluation.
    """

    candidate: Candidate
    losses: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    seconds: tuple[float, ...] = ()
    perplexity: Estimate | None = None
    divergence: Divergence | None = None
    model: ModelFacts | None = None
    error: str | None = None

    @property
    def windows(self) -> int:
        """The number of windows."""
        return len(self.losses)


@dataclass(slots=True)
class _Scores:
    """The scores of a candidate so far, a list for each kind with an entry for each window."""

    losses: list[NDArray[np.float32]] = field(default_factory=list)
    reference_losses: list[NDArray[np.float32]] = field(default_factory=list)
    divergences: list[NDArray[np.float32]] = field(default_factory=list)
    agrees: list[NDArray[np.bool_]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


class Collector:
    """Collects the events of a measurement, and makes results from those so far."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        self._scores = [_Scores() for _ in candidates]
        self._models: dict[int, ModelFacts] = {}
        self.failures: dict[int, LlamacliError] = {}
        self.text: TextRead | None = None

    def add(self, event: QualityEvent) -> None:
        """Take an event."""
        if isinstance(event, TextRead):
            self.text = event
        elif isinstance(event, CandidateReady):
            self._models[event.candidate] = event.model
        elif isinstance(event, CandidateFailed):
            self.failures[event.candidate] = event.error
        elif isinstance(event, WindowScored):
            scores = self._scores[event.candidate]
            scores.losses.append(np.frombuffer(event.losses, np.float32))
            scores.reference_losses.append(np.frombuffer(event.reference_losses, np.float32))
            scores.divergences.append(np.frombuffer(event.divergences, np.float32))
            scores.agrees.append(np.frombuffer(event.agrees, np.bool_))
            scores.seconds.append(event.seconds)

    @property
    def windows(self) -> int:
        """The largest number of windows of a candidate."""
        return max((len(scores.losses) for scores in self._scores), default=0)

    @property
    def has_scores(self) -> bool:
        """True if any window of any candidate was scored."""
        return any(scores.losses for scores in self._scores)

    def estimate(self, number: int) -> Estimate | None:
        """Return the perplexity of a candidate so far, None before its first window."""
        losses = self._scores[number].losses
        return _perplexity(losses, Resamples(len(losses))) if losses else None

    def results(self) -> list[QualityResult]:
        """Return the results so far."""
        return [self._result(number) for number in range(len(self._candidates))]

    def _result(self, number: int) -> QualityResult:
        scores, failure = self._scores[number], self.failures.get(number)
        windows = len(scores.losses)
        resamples = Resamples(windows) if windows else None
        return QualityResult(
            candidate=self._candidates[number],
            losses=tuple(_sums(scores.losses)),
            counts=tuple(_lengths(scores.losses)),
            seconds=tuple(scores.seconds),
            perplexity=_perplexity(scores.losses, resamples) if resamples else None,
            divergence=_divergence(scores, resamples) if resamples and len(scores.divergences[0]) else None,
            model=self._models.get(number),
            error=None if failure is None else failure.message,
        )


def _perplexity(losses: Sequence[NDArray[np.float32]], resamples: Resamples) -> Estimate:
    return resamples.mean(_sums(losses), _lengths(losses)).mapped(safe_exp)


def _divergence(scores: _Scores, resamples: Resamples) -> Divergence:
    lengths = _lengths(scores.losses)
    pairs = list(zip(scores.losses, scores.reference_losses, strict=True))
    changes = [np.exp(-ours.astype(np.float64)) - np.exp(-theirs.astype(np.float64)) for ours, theirs in pairs]
    ratios = [ours.astype(np.float64) - theirs for ours, theirs in pairs]
    quantiles = resamples.quantiles(scores.divergences, QUANTILES)
    return Divergence(
        reference=_perplexity(scores.reference_losses, resamples),
        log_ratio=resamples.mean([float(one.sum()) for one in ratios], lengths),
        mean=resamples.mean(_sums(scores.divergences), lengths),
        quantiles=tuple(zip(QUANTILES, quantiles, strict=True)),
        same_top=resamples.mean([float(one.sum()) for one in scores.agrees], lengths),
        change=resamples.mean([float(one.sum()) for one in changes], lengths),
        rms_change=resamples.mean([float((one**2).sum()) for one in changes], lengths).mapped(
            lambda square: math.sqrt(max(0.0, square))
        ),
        sums=tuple(_sums(scores.divergences)),
    )


def safe_exp(value: float) -> float:
    """Return e to the power of `value`; infinity for what a float cannot hold."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _sums(values: Sequence[NDArray[np.float32]]) -> list[float]:
    return [float(one.sum(dtype=np.float64)) for one in values]


def _lengths(values: Sequence[NDArray[np.float32]]) -> list[int]:
    return [len(one) for one in values]

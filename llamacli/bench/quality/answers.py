"""Results of questions: how many were answered correctly, with the interval, and their rows."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from llamacli.bench.measure.events import utc_now
from llamacli.bench.measure.params import BenchResult, Machine, ModelFacts, Repetition
from llamacli.bench.measure.rows import result_row
from llamacli.bench.quality.exact import Answered, ExpectedAnswer
from llamacli.bench.quality.params import ChoicesScored
from llamacli.bench.quality.rows import QualityTest
from llamacli.bench.quality.tasks import TaskQuestion
from llamacli.bench.statistics import bootstrap_interval, wilson_interval

QuestionKind = Literal["tasks", "exact"]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """A share of questions with its 95 % interval by Wilson."""

    share: float
    low: float
    high: float


def accuracy(correct: Sequence[bool]) -> Accuracy:
    """Return the share of correct answers; there must be one."""
    return Accuracy(sum(correct) / len(correct), *wilson_interval(sum(correct), len(correct)))


def is_correct(question: TaskQuestion, logprobs: Sequence[float], *, normalised: bool) -> bool:
    """Return whether the right choice is the most probable one, with log probabilities divided by lengths if `normalised`."""
    values = [
        logprob / choice.length if normalised else logprob for logprob, choice in zip(logprobs, question.choices, strict=True)
    ]
    return max(range(len(values)), key=values.__getitem__) == question.answer


@dataclass(slots=True)
class AnswerSheet:
    """The answers of one candidate so far: whether each is correct, tokens and seconds of each, and the model.

    `normalised` is for multiple choice. `missed` are answers that were wrong, with what was expected, in words.
    """

    test: QualityTest
    kind: QuestionKind
    correct: list[bool] = field(default_factory=list)
    normalised: list[bool] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    model: ModelFacts | None = None
    error: str | None = None

    def add(self, question: TaskQuestion, event: ChoicesScored) -> None:
        """Take the scores of a question."""
        self.correct.append(is_correct(question, event.logprobs, normalised=False))
        self.normalised.append(is_correct(question, event.logprobs, normalised=True))
        self.tokens.append(event.tokens)
        self.seconds.append(event.seconds)

    def add_answer(self, prompt: ExpectedAnswer, answered: Answered) -> None:
        """Take the answer to a prompt."""
        self.correct.append(answered.correct)
        self.tokens.append(answered.tokens)
        self.seconds.append(answered.seconds)
        if not answered.correct:
            expected = " or ".join(json.dumps(one, ensure_ascii=False) for one in prompt.expected)
            found = json.dumps(answered.text, ensure_ascii=False)
            self.missed.append(f"prompt {answered.number + 1}: expected {expected} ({prompt.compare}), got {found}")

    def row(self, name: str, sha256: str, machine: Machine) -> dict[str, Any]:
        """Return the row. Its repetitions are the questions, and its prompt is one of average length.

        Questions that ran side by side give one sample of the time.
        """
        test = self.test.test
        times = [max(1, round(1e9 * seconds)) for seconds, _ in itertools.groupby(self.seconds)]
        measured = BenchResult(
            test=replace(test, n_prompt=max(1, round(sum(self.tokens) / len(self.tokens)))) if self.tokens else test,
            test_time=utc_now(),
            model=self.model,
            samples=tuple(Repetition(total_ns=time) for time in times),
            interval_ns=bootstrap_interval(times) if times else None,
            error=self.error,
        )
        row = result_row(measured, machine)
        row["test"] = f"{self.kind} {Path(name).name}"
        row["repetitions"] = len(self.correct)
        row["loras"] = self.test.lora_text
        if self.correct:
            row |= _columns("accuracy", accuracy(self.correct))
            row |= _columns("accuracy_norm", accuracy(self.normalised)) if self.normalised else {}
            row["tokens_sha256"] = sha256
            row["quality"] = {
                "kind": self.kind,
                "text": name,
                "text_sha256": sha256,
                "correct": [int(one) for one in self.correct],
                "correct_norm": [int(one) for one in self.normalised],
            }
        return row


def _columns(name: str, found: Accuracy) -> dict[str, float]:
    return {name: found.share, f"{name}_low": found.low, f"{name}_high": found.high}

"""The comparison of the quality of two results on the same windows or questions: paired, so that hard texts weigh on both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llamacli.bench.compare.compare import LEVEL
from llamacli.bench.compare.runs import ComparedTest
from llamacli.bench.measure.rows import Row
from llamacli.bench.quality.estimates import Estimate, Resamples

Verdict = Literal["better", "worse", "no difference shown", "cannot be compared"]


@dataclass(frozen=True, slots=True)
class ComparedQuality:
    """A figure of a test in both results. `change` is relative for perplexity, else absolute; `reason` is why there is none.

    `p_value` is that of McNemar's test, for questions.
    """

    test: str
    figure: str
    first: float
    second: float
    verdict: Verdict
    change: Estimate | None = None
    p_value: float | None = None
    reason: str = ""

    def document(self) -> dict[str, Any]:
        """Return the comparison as a JSON document."""
        change = self.change
        return {
            "test": self.test,
            "figure": self.figure,
            "first": self.first,
            "second": self.second,
            "change": None if change is None else change.value,
            "interval": None if change is None or change.low is None else [change.low, change.high],
            "p_value": self.p_value,
            "verdict": self.verdict,
            "reason": self.reason or None,
        }


def compare_quality(tests: Sequence[ComparedTest]) -> list[ComparedQuality]:
    """Return the comparisons of those tests that judge quality."""
    found: list[ComparedQuality] = []
    for test in tests:
        rows = test.rows
        if all(row.get("quality") for row in rows):
            found += _compared(test.test, *rows)
    return found


def _compared(name: str, first: Row, second: Row) -> list[ComparedQuality]:
    one, two = first["quality"], second["quality"]
    figure = "perplexity" if one["kind"] == "text" else "accuracy"
    values = first[figure], second[figure]
    reason = _reason(first, second)
    if reason:
        return [ComparedQuality(name, figure, *values, "cannot be compared", reason=reason)]
    if one["kind"] != "text":
        return [_questions(name, values, one["correct"], two["correct"])]
    windows = min(len(one["losses"]), len(two["losses"]))
    resamples, counts = Resamples(windows, LEVEL), one["counts"][:windows]
    means = [resamples.mean(document["losses"][:windows], counts).value for document in (one, two)]
    change = resamples.mean(_differences(one["losses"], two["losses"], windows), counts).mapped(math.expm1)
    found = [ComparedQuality(name, figure, math.exp(means[0]), math.exp(means[1]), _verdict(change), change)]
    if all(document.get("reference") for document in (one, two)) and one["reference"]["name"] == two["reference"]["name"]:
        sums = one["reference"]["divergences"], two["reference"]["divergences"]
        change = resamples.mean(_differences(*sums, windows), counts)
        divergences = [resamples.mean(of_side[:windows], counts).value for of_side in sums]
        found.append(ComparedQuality(name, "KL divergence", divergences[0], divergences[1], _verdict(change), change))
    return found


def _reason(first: Row, second: Row) -> str:
    """Return why two results cannot be compared; an empty string if they can."""
    one, two = first["quality"], second["quality"]
    if one["kind"] != two["kind"]:
        return "one judges a text, the other answers"
    if one["text_sha256"] != two["text_sha256"]:
        return "the texts differ"
    if one["kind"] == "text":
        same = first["tokens_sha256"] == second["tokens_sha256"]
        shared = min(len(one["counts"]), len(two["counts"]))
        if (one["window"], one["stride"]) != (two["window"], two["stride"]) or one["counts"][:shared] != two["counts"][:shared]:
            return "the windows differ"
        if not same and len(one["counts"]) == len(two["counts"]):
            return "the vocabularies differ"
    elif len(one["correct"]) != len(two["correct"]):
        return "the numbers of questions differ"
    return ""


def _questions(name: str, values: tuple[float, float], first: Sequence[int], second: Sequence[int]) -> ComparedQuality:
    """Compare answers by McNemar's exact test: only questions that one side alone answered correctly tell them apart."""
    lost = sum(one > two for one, two in zip(first, second, strict=True))
    won = sum(two > one for one, two in zip(first, second, strict=True))
    p_value = _sign_test(lost, won)
    differs = p_value < 1 - LEVEL
    verdict: Verdict = "no difference shown" if not differs else "worse" if lost > won else "better"
    return ComparedQuality(name, "accuracy", *values, verdict, Estimate(values[1] - values[0]), p_value)


def _sign_test(lost: int, won: int) -> float:
    """Return the two-sided probability of a split at least as uneven, if both were equally good."""
    count = lost + won
    if not count:
        return 1.0
    tail = sum(math.comb(count, number) for number in range(min(lost, won) + 1))
    return min(1.0, float(2 * tail / 2**count))


def _differences(first: Sequence[float], second: Sequence[float], count: int) -> list[float]:
    return [two - one for one, two in zip(first[:count], second[:count], strict=True)]


def _verdict(change: Estimate) -> Verdict:
    """Return the verdict on a change of a loss, which is better below 0."""
    if change.low is None or change.high is None or change.low <= 0 <= change.high:
        return "no difference shown"
    return "worse" if change.low > 0 else "better"

"""A comparison of benchmarks, as a table or as a JSON document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from llamacli.bench.compare.compare import LEVEL, Outcome
from llamacli.bench.compare.runs import ComparedTest, Comparison
from llamacli.render.bench.estimate import format_estimate
from llamacli.render.text import escape_line
from llamacli.render.wrap import shorten, wrap

if TYPE_CHECKING:
    from llamacli.bench.quality.compare import ComparedQuality

Paint = Callable[[str, str], str]
"""A function that returns text in one of the styles bold, dim, red, green, yellow and cyan."""

_COLORS = {"faster": "green", "slower": "red", "too noisy to tell": "yellow", "no difference shown": "dim"}
_MOST_NEEDED = 500


def format_comparison(comparison: Comparison, *, width: int, paint: Paint) -> str:
    """Return the subjects, a row for each test (several lines on a narrow terminal), and the basis of the verdicts."""
    room = max(width, 20)
    labels = [
        paint(shorten(f"{mark}: {escape_line(label)}", room), "bold")
        for mark, label in zip("AB", comparison.labels, strict=True)
    ]
    rows = _table(comparison, paint, width) or list(_stacked(comparison, paint))
    about, notes = (
        [row for line in lines for row in wrap(line, room, rest="  ")] for lines in (_facts(comparison), _notes(comparison))
    )
    quality = [row for line in _quality_lines(comparison) for row in wrap(line, room, rest="  ")]
    return "\n".join([*labels, *about, "", *rows, *quality, "", *notes]) + "\n"


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """Return the JSON document. Ratios are those of speeds, second over first; an unknown interval is null."""
    return {
        "first": comparison.labels[0],
        "second": comparison.labels[1],
        "models": list(comparison.models),
        "builds": list(comparison.builds),
        "machines": list(comparison.machines),
        "same_machine": comparison.same_machine,
        "differing": {name: list(values) for name, values in comparison.differing.items()},
        "level": LEVEL,
        "resolution": comparison.resolution,
        "tests": [_test_document(one) for one in comparison.tests],
        "left_out": list(comparison.left_out),
        "quality": [one.document() for one in _qualities(comparison)],
    }


def _qualities(comparison: Comparison) -> list[ComparedQuality]:
    if not any(row.get("quality") for test in comparison.tests for row in test.rows):
        return []
    from llamacli.bench.quality.compare import compare_quality  # needs numpy

    return compare_quality(comparison.tests)


def _quality_lines(comparison: Comparison) -> Iterator[str]:
    """Yield the comparisons of quality, after an empty line if there are any."""
    for number, one in enumerate(_qualities(comparison)):
        if not number:
            yield ""
        change = one.change
        if change is None:
            yield f"{escape_line(one.test)}, {one.figure}: {one.verdict}, as {one.reason}"
            continue
        pattern = "{:+.2%}" if one.figure in ("perplexity", "accuracy") else "{:+.6f}"
        about = format_estimate(change, pattern)
        if one.p_value is not None:
            about += f", p = {one.p_value:.2g}"
        yield f"{escape_line(one.test)}, {one.figure}: {one.first:.5g} -> {one.second:.5g} ({about}): {one.verdict}"


def describe_verdict(outcome: Outcome) -> str:
    """Return `slower by 5.1 %`, or the verdict alone."""
    if outcome.verdict not in ("faster", "slower"):
        return outcome.verdict
    return f"{outcome.verdict} by {100 * abs(outcome.ratio - 1):.1f} %"


def _facts(comparison: Comparison) -> Iterator[str]:
    """Yield the common facts, and the differences."""
    if "model" not in comparison.differing:
        yield from _fact("model", comparison.models)
    yield from _fact("machine" if comparison.same_machine else "different machines", comparison.machines)
    yield from _fact("build", comparison.builds)
    for name, values in comparison.differing.items():
        yield from _fact(name, values)


def _fact(name: str, values: tuple[str, str]) -> Iterator[str]:
    one, two = map(escape_line, values)
    if one or two:
        yield f"{name}: {one}" if one == two else f"{name}: {one or 'unknown'} -> {two or 'unknown'}"


def _table(comparison: Comparison, paint: Paint, width: int) -> list[str] | None:
    """Return a line for each test; None if they do not fit the width."""
    rows = [["TEST", "A tokens/s", "B tokens/s", "B/A", "INTERVAL"]]
    for test in comparison.tests:
        outcome = test.outcome
        rows.append(
            [escape_line(test.test), _speed(test.first), _speed(test.second), _ratio(outcome.ratio), _interval(outcome)]
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    verdicts = [describe_verdict(test.outcome) for test in comparison.tests]
    if sum(widths) + 2 * len(widths) + max(map(len, verdicts)) > width:
        return None
    lines = ["  ".join([rows[0][0].ljust(widths[0]), *map(str.rjust, rows[0][1:], widths[1:]), "VERDICT"])]
    for cells, verdict, test in zip(rows[1:], verdicts, comparison.tests, strict=True):
        start = [cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]
        lines.append("  ".join([*start, paint(verdict, _COLORS[test.outcome.verdict])]))
    return lines


def _stacked(comparison: Comparison, paint: Paint) -> Iterator[str]:
    for test in comparison.tests:
        outcome = test.outcome
        yield escape_line(test.test)
        yield f"  {paint(describe_verdict(outcome), _COLORS[outcome.verdict])}"
        yield f"  {_speed(test.first)} -> {_speed(test.second)} tokens/s"
        yield f"  B/A {_ratio(outcome.ratio)} ({_interval(outcome)})"


def _notes(comparison: Comparison) -> Iterator[str]:
    """Yield the confidence of the verdicts, and how to increase it."""
    count = len(comparison.tests)
    together = "" if count == 1 else f" for all {count} tests together"
    yield f"B/A is the speed of B over that of A; the intervals have a confidence of {_percent(LEVEL)}{together}."
    outcomes = [test.outcome for test in comparison.tests]
    drifts = [outcome.drift for outcome in outcomes if outcome.drift is not None]
    if drifts:
        between = " to ".join(dict.fromkeys(f"{100 * drift:.1f}" for drift in (min(drifts), max(drifts))))
        yield f"Runs of the same test were assumed to differ by {between} % (standard deviation)."
    needed = [outcome.needed for outcome in outcomes if outcome.needed is not None]
    if needed:
        yield _advice(outcomes, max(needed), comparison.resolution)
    if comparison.left_out:
        yield f"Left out (only on one side, or failed): {', '.join(map(escape_line, comparison.left_out))}."


def _advice(outcomes: list[Outcome], needed: int, resolution: float) -> str:
    if any(outcome.interval is None for outcome in outcomes):
        return "A single sample says nothing about the noise: measure with -r 5 or more."
    apart = f"To detect {_percent(resolution)} on this machine"
    if needed > _MOST_NEEDED:
        return f"{apart}, make it quiet first: close other programs."
    if all(outcome.method == "rounds" for outcome in outcomes):
        return f"{apart}, repeat about {needed} times (-r {needed})."
    return f"{apart}, alternate about {needed} short runs of each, and compare them as 1+3+5... 2+4+6..."


def _test_document(test: ComparedTest) -> dict[str, Any]:
    outcome = test.outcome
    return {
        "test": test.test,
        "first_ts": round(test.first, 6),
        "second_ts": round(test.second, 6),
        "ratio": round(outcome.ratio, 6),
        "interval": [round(bound, 6) for bound in outcome.interval] if outcome.interval else None,
        "verdict": outcome.verdict,
        "method": outcome.method,
        "level": outcome.level,
        "units": list(outcome.units),
        "drift": None if outcome.drift is None else round(outcome.drift, 6),
        "needed": outcome.needed,
    }


def _speed(speed: float) -> str:
    return f"{speed:.2f}" if speed < 100_000 else f"{speed:.0f}"


def _ratio(ratio: float) -> str:
    return f"{ratio:.3f}" if 0.001 <= ratio < 100 else f"{ratio:.3g}"


def _interval(outcome: Outcome) -> str:
    return "unknown" if outcome.interval is None else f"{_ratio(outcome.interval[0])} – {_ratio(outcome.interval[1])}"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"

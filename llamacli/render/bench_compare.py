"""A comparison of benchmarks: as a table for people, as a document for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from llamacli.engine.comparing import LEVEL, Outcome
from llamacli.engine.comparing_rows import Compared, Comparison
from llamacli.render.text import escape_line

Paint = Callable[[str, str], str]
"""Gives a text one of the styles bold, dim, red, green, yellow, cyan."""

_COLORS = {"faster": "green", "slower": "red", "too noisy to tell": "yellow", "no difference shown": "dim"}
_NARROWEST_TABLE = 76
_WIDEST_LABEL = 24


def format_comparison(comparison: Comparison, *, width: int, paint: Paint) -> str:
    """What is compared, a row for each test (two lines where it is narrow), and what the verdicts rest on."""
    labels = [escape_line(label) for label in comparison.labels]
    lines = [f"{paint(labels[0], 'bold')} against {paint(labels[1], 'bold')}", *_facts(comparison)]
    rows = list(_table(comparison, paint) if width >= _NARROWEST_TABLE else _stacked(comparison, paint))
    return "\n".join([*_wrapped(lines, width), "", *rows, "", *_wrapped(_notes(comparison), width)]) + "\n"


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """The same for programs. Ratios are those of speeds, second over first; an interval is null when it is not known."""
    return {
        "first": comparison.labels[0],
        "second": comparison.labels[1],
        "builds": list(comparison.builds),
        "machines": list(comparison.machines) if comparison.machines else None,
        "differing": {name: list(values) for name, values in comparison.differing.items()},
        "level": LEVEL,
        "resolution": comparison.resolution,
        "tests": [_test_document(one) for one in comparison.tests],
        "left_out": list(comparison.left_out),
    }


def describe_verdict(outcome: Outcome) -> str:
    """`slower by 5.1 %`, or the verdict alone."""
    if outcome.verdict not in ("faster", "slower"):
        return outcome.verdict
    return f"{outcome.verdict} by {100 * abs(outcome.ratio - 1):.1f} %"


def _facts(comparison: Comparison) -> Iterator[str]:
    if comparison.machines:
        one, two = map(escape_line, comparison.machines)
        yield f"different machines: {one} -> {two}"
    for name, (one, two) in comparison.differing.items():
        yield f"{name}: {escape_line(one)} -> {escape_line(two)}"
    one, two = map(escape_line, comparison.builds)
    yield f"build: {one}" if one == two else f"build: {one} -> {two}"


def _table(comparison: Comparison, paint: Paint) -> Iterator[str]:
    one, two = (label if len(label) <= 10 else label[:9] + "…" for label in map(escape_line, comparison.labels))
    names = [escape_line(test.test) for test in comparison.tests]
    label = min(max(len("TEST"), *map(len, names)), _WIDEST_LABEL)
    yield f"{'TEST':<{label}}  {one + ' t/s':>14}  {two + ' t/s':>14}  {'RATIO':>6}  {'INTERVAL':<14} VERDICT"
    for name, test in zip(names, comparison.tests, strict=True):
        if len(name) > label:
            yield name
            name = ""  # noqa: PLW2901 - the name has a line of its own
        numbers = f"{_speed(test.first):>14}  {_speed(test.second):>14}  {_ratio(test.outcome.ratio):>6}"
        verdict = describe_verdict(test.outcome)
        interval = f"{_interval(test.outcome):<14}"
        yield f"{name:<{label}}  {numbers}  {interval} {paint(verdict, _COLORS[test.outcome.verdict])}"


def _stacked(comparison: Comparison, paint: Paint) -> Iterator[str]:
    for test in comparison.tests:
        outcome = test.outcome
        yield f"{escape_line(test.test)}: {paint(describe_verdict(outcome), _COLORS[outcome.verdict])}"
        yield f"  {_speed(test.first)} -> {_speed(test.second)} t/s"
        yield f"  ratio {_ratio(outcome.ratio)} ({_interval(outcome)})"


def _notes(comparison: Comparison) -> Iterator[str]:
    """How sure it is, and what would make it surer."""
    count = len(comparison.tests)
    together = "" if count == 1 else f" for all {count} tests together"
    yield f"Speed of the second over that of the first; the intervals hold with {LEVEL:.0%}{together}."
    outcomes = [test.outcome for test in comparison.tests]
    drifts = [outcome.drift for outcome in outcomes if outcome.drift is not None]
    if drifts:
        between = " to ".join(dict.fromkeys(f"{100 * drift:.1f}" for drift in (min(drifts), max(drifts))))
        yield f"Runs of the same thing were taken to differ by {between} % (standard deviation)."
    needed = [outcome.needed for outcome in outcomes if outcome.needed is not None]
    if needed:
        yield _advice(outcomes, max(needed), comparison.resolution)
    if comparison.left_out:
        yield f"Left out, because only one side has them or they failed: {', '.join(map(escape_line, comparison.left_out))}."


def _advice(outcomes: list[Outcome], needed: int, resolution: float) -> str:
    if all(outcome.method == "rounds" for outcome in outcomes):
        return f"To tell {resolution:.0%} apart on this machine, repeat about {needed} times (-r {needed})."
    if any(outcome.interval is None for outcome in outcomes):
        return "A single sample says nothing about the noise: measure with -r 5 or more."
    return (
        f"To tell {resolution:.0%} apart on this machine, let the two take turns, about {needed} short runs of each, "
        "and compare them as 1+3+5... 2+4+6..."
    )


def _test_document(test: Compared) -> dict[str, Any]:
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
    return "unknown" if outcome.interval is None else f"{_ratio(outcome.interval[0])}-{_ratio(outcome.interval[1])}"


def _wrapped(lines: Iterator[str] | list[str], width: int) -> Iterator[str]:
    """Lines cut at spaces; colours do not count because only the first line may have them, and it is short."""
    for line in lines:
        row = ""
        for word in line.split(" "):
            if row and len(row) + 1 + len(word) > max(width, 20) and "\x1b" not in line:
                yield row
                row = word
            else:
                row = f"{row} {word}" if row else word
        yield row

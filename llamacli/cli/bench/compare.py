"""`llamacli bench compare`: compare two benchmarks, taking noise into account."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import cache
from typing import TYPE_CHECKING, Annotated

from llamacli.cli.bench.report import painter
from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.cli.framework.parsers import parse_float
from llamacli.errors import GateError

if TYPE_CHECKING:
    from llamacli.bench.compare.compare import Drift
    from llamacli.bench.compare.runs import BenchRun, Comparison, RecallDrift, RunGroup
    from llamacli.bench.measure.rows import Row
    from llamacli.store.benchmarks.history import History

RUNS_HELP = (
    "Run numbers joined by +, last, last~1, or a file of llamacli bench or llama-bench; :N or :COLUMN=VALUE selects rows."
)


def parse_percentage(text: str) -> float:
    """Parse a percentage from 0 to 100. Raises ValueError for other values."""
    value = parse_float(text.strip().removesuffix("%"))
    if not 0 <= value < 100:
        raise ValueError(f"{text!r} is not a percentage from 0 to 100")
    return value


@command(
    examples=(
        ("Compare the last run with the one before.", "llamacli bench compare last~1 last"),
        (
            "Fail in CI if a test is slower by 3 % or more.",
            "llamacli bench compare main.json new.json --fail-if-slower 3",
        ),
        ("Compare interleaved runs, which is more precise.", "llamacli bench compare 1+3+5+7 2+4+6+8"),
        ("Compare two settings of one run.", "llamacli bench compare last:n_threads=2 last:n_threads=4"),
    ),
    common=("--fail-if-slower", "--json"),
)
def compare(
    app: AppContext,
    first: Annotated[str, argument(metavar="A", help=RUNS_HELP)],
    second: Annotated[str, argument(metavar="B", help="As A; ratios are speeds of B over those of A.")],
    *,
    fail_if_slower: Annotated[
        float | None,
        option(
            "--fail-if-slower",
            metavar="PCT",
            parser=parse_percentage,
            environment=False,
            help="Exit with status 8 if a test is slower beyond noise, by PCT percent or more.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare two benchmarks, taking noise into account.

    Tests that both have are compared. A setting with one value in A and another in B is the subject of the comparison. Verdicts
    of slower or faster have a confidence of 99 %. Runs of the same test differ more than the samples within a run; this
    deviation is estimated from the history of this machine, from several runs of each side, or assumed. The most precise
    comparisons are those of interleaved runs, and of settings measured in one run, whose repetitions are always interleaved.
    """
    from llamacli.bench.compare.compare import RESOLUTION
    from llamacli.bench.compare.runs import compare_benchmarks
    from llamacli.cli.bench.run_refs import parse_runs
    from llamacli.render.bench.compare import comparison_document, format_comparison
    from llamacli.store.benchmarks.history import History

    with ExitStack() as stack:
        open_history = cache(lambda: stack.enter_context(closing(History())))
        sides = parse_runs(first, open_history), parse_runs(second, open_history)
        resolution = fail_if_slower / 100 if fail_if_slower else RESOLUTION
        comparison = compare_benchmarks(*sides, recall=_recall(*sides, open_history), resolution=resolution)
    console = app.console
    if json:
        console.write(json_format.dumps(comparison_document(comparison), indent=2, allow_nan=False) + "\n")
    else:
        console.write(format_comparison(comparison, width=console.width, paint=painter(console)))
    if fail_if_slower is not None:
        _gate(app, comparison, fail_if_slower)


def _recall(first: RunGroup, second: RunGroup, open_history: Callable[[], History]) -> RecallDrift:
    """Return a function that estimates the noise between runs from other runs of the same build on the same machine."""
    from llamacli.bench.compare.compare import observed_drift
    from llamacli.bench.compare.runs import subject_of

    compared = [run.stored for side in (first, second) for run in side.runs if run.stored is not None]

    def recall(run: BenchRun, row: Row) -> Drift | None:
        if run.stored is None:
            return None
        speeds = open_history().speeds(subject_of(row), machine=run.machine, build=run.build, excluded=compared)
        return observed_drift(speeds)

    return recall


def _gate(app: AppContext, comparison: Comparison, percentage: float) -> None:
    """Raise GateError if a test is slower; warn if that is uncertain."""
    slower = comparison.slower_by(percentage / 100)
    if slower:
        raise GateError(f"slower by {percentage:g} % or more: {', '.join(test.test for test in slower)}")
    unclear = [test.test for test in comparison.tests if test.outcome.verdict == "too noisy to tell"]
    if unclear:
        app.console.warn(f"too noisy to tell whether these are slower by {percentage:g} %: {', '.join(unclear)}")

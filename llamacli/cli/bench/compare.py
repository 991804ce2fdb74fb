"""`llamacli bench compare`: which of two is faster, and is it only noise."""

from __future__ import annotations

import json as json_format
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import cache
from typing import TYPE_CHECKING, Annotated, cast

from llamacli.cli.framework.command import command
from llamacli.cli.framework.console import Style
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import JsonOption
from llamacli.cli.framework.parameters import argument, option, parse_float
from llamacli.errors import GateError

if TYPE_CHECKING:
    from llamacli.bench.compare.compare import Drift
    from llamacli.bench.compare.runs import Comparison, Measurement, RecallDrift, Side
    from llamacli.bench.measure.rows import Row
    from llamacli.store.benchmarks.history import History

SIDE = "Runs: numbers with + between, last, last~1, or a file of ours or llama-bench's; :N or :COLUMN=VALUE picks rows."


def parse_percentage(text: str) -> float:
    """A percentage from 0 to 100."""
    value = parse_float(text.strip().removesuffix("%"))
    if not 0 <= value < 100:
        raise ValueError("a percentage from 0 to 100 is needed")
    return value


@command(
    examples=(
        ("Did the last run get faster?", "llamacli bench compare last~1 last"),
        (
            "A gate for CI: fail if anything is slower by 3 % or more.",
            "llamacli bench compare main.json new.json --fail-if-slower 3",
        ),
        ("Runs that took turns tell more.", "llamacli bench compare 1+3+5+7 2+4+6+8"),
        ("Two settings of one run.", "llamacli bench compare last:n_threads=2 last:n_threads=4"),
    )
)
def compare(
    app: AppContext,
    first: Annotated[str, argument(metavar="A", help=SIDE)],
    second: Annotated[str, argument(metavar="B", help="The same; speeds are those of B over those of A.")],
    *,
    fail_if_slower: Annotated[
        float | None,
        option(
            "--fail-if-slower",
            metavar="PCT",
            parser=parse_percentage,
            environment=False,
            help="End with status 8 if a test is slower beyond doubt, by PCT percent or more.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare two benchmarks, knowing the noise.

    Tests that both have are compared; a setting that has one value in A and another in B is what is compared. A verdict of
    slower or faster is reckoned to be wrong once in a hundred: runs of the same thing differ more than the samples inside
    a run, and how much is learnt from the history of this machine, from several runs of each side, or assumed. Most is told by
    runs that took turns, and by settings measured in one run, where repetitions take turns by themselves.
    """
    from llamacli.bench.compare.compare import RESOLUTION
    from llamacli.bench.compare.runs import compare_sides
    from llamacli.cli.bench.run_refs import parse_side
    from llamacli.render.bench.compare import comparison_document, format_comparison
    from llamacli.store.benchmarks.history import History

    with ExitStack() as stack:
        open_history = cache(lambda: stack.enter_context(closing(History())))
        sides = parse_side(first, open_history), parse_side(second, open_history)
        resolution = fail_if_slower / 100 if fail_if_slower else RESOLUTION
        comparison = compare_sides(*sides, recall=_recall(*sides, open_history), resolution=resolution)
    console = app.console
    if json:
        console.write(json_format.dumps(comparison_document(comparison), indent=2, allow_nan=False) + "\n")
    else:
        paint = lambda text, style: console.styled(text, cast("Style", style), stdout=True)  # noqa: E731
        console.write(format_comparison(comparison, width=console.width, paint=paint))
    if fail_if_slower is not None:
        _gate(app, comparison, fail_if_slower)


def _recall(first: Side, second: Side, open_history: Callable[[], History]) -> RecallDrift:
    """The noise between runs as other runs of the same build on the same machine show it."""
    from llamacli.bench.compare.compare import observed_drift
    from llamacli.bench.compare.runs import thing

    compared = [run.stored for side in (first, second) for run in side.runs if run.stored is not None]

    def recall(run: Measurement, row: Row) -> Drift | None:
        if run.stored is None:
            return None
        speeds = open_history().speeds(thing(row), machine=run.machine, build=run.build, but=compared)
        return observed_drift(speeds)

    return recall


def _gate(app: AppContext, comparison: Comparison, percentage: float) -> None:
    """Raises GateError if something is slower; says so if that could not be told."""
    slower = comparison.slower_by(percentage / 100)
    if slower:
        raise GateError(f"slower by {percentage:g} % or more: {', '.join(test.test for test in slower)}")
    unclear = [test.test for test in comparison.tests if test.outcome.verdict == "too noisy to tell"]
    if unclear:
        app.console.warn(f"too noisy to tell whether it is slower by {percentage:g} %: {', '.join(unclear)}")

"""`llamacli run --input`: rows in, rows out, with progress and a summary."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, cast

from llamacli.batch.formats import format_of
from llamacli.batch.progress import RowProgress, input_size
from llamacli.batch.reader import INVALID_JSON, open_rows, read_rows
from llamacli.batch.results import ResultFile
from llamacli.batch.runner import RowRunner, RunParams
from llamacli.batch.summary import Tally
from llamacli.cli.framework.constraints import warn_not_enforced
from llamacli.cli.framework.context import AppContext
from llamacli.cli.run.batch_options import RowOptions
from llamacli.engine.constraint.answer_constraint import AnswerConstraint
from llamacli.errors import LlamacliError
from llamacli.openai.batch_request import RowDefaults
from llamacli.openai.batch_row import Row
from llamacli.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llamacli.backend.protocol import Backend


def run_rows(app: AppContext, engine: Backend, options: RowOptions, defaults: RowDefaults, *, hides_reasoning: bool) -> None:
    """Read the rows, answer them, and write a summary at the end.

    Raises:
        UsageError: if the input or the output cannot be used.
        RowsFailedError: if some rows failed.
    """
    results = open_results(app, options)
    stream = open_input(app, options)
    params = RunParams(
        parallel=options.parallel,
        retry=options.retry,
        unordered=options.unordered,
        fail_fast=options.fail_fast,
        hides_reasoning=hides_reasoning,
    )
    progress, warnings = RowProgress(input_size(stream)), _Warnings(app, defaults.base.constraint)
    runner = RowRunner(engine, defaults, params, results, progress=progress, on_constraint=warnings.warn)
    is_interrupted = True
    try:
        with app.progress(delay=0.5) as bar:
            for _ in runner.run(_rows(app, options, stream)):
                bar.update(runner.tally.status(progress.left), progress.done, progress.total)
        is_interrupted = runner.cancelled
        runner.finish(whole=not is_interrupted)
    except BaseException:
        with suppress(LlamacliError):  # the first error is the one to report
            runner.finish(whole=False)
        with suppress(LlamacliError):
            results.close()
        raise
    else:
        results.close()
    finally:
        stream.close()
        summarize(app, runner.tally, options, is_interrupted=is_interrupted)
    if not is_interrupted:
        runner.check()


def open_results(app: AppContext, options: RowOptions) -> ResultFile:
    """Open the file of results, and report the rows that it has already."""
    results = ResultFile(options.output, app.console.write_bytes, resume=options.resume)
    if results.kept:
        failed = f", {results.failed} of them failed" if results.failed else ""
        app.console.note(f"{counted(results.kept, 'row')} {'is' if results.kept == 1 else 'are'} done already{failed}")
    return results


def summarize(app: AppContext, tally: Tally, options: RowOptions, *, is_interrupted: bool) -> None:
    """Write the counts, and after an interruption how to continue."""
    app.console.note(tally.summary(interrupted=is_interrupted))
    if is_interrupted and options.output is not None:
        app.console.note(f"results are kept in {options.output}; --resume continues with the other rows")


class _Warnings:
    """Warnings of what of the rows' schemas cannot be enforced, each once; those of `base` were printed already."""

    def __init__(self, app: AppContext, base: AnswerConstraint | None) -> None:
        self._app = app
        self._printed = set(base.not_enforced) if base is not None else set()

    def warn(self, row: Row, constraint: AnswerConstraint) -> None:
        """Warn of what of a row's schema cannot be enforced."""
        if not self._printed.issuperset(constraint.not_enforced):
            self._printed.update(constraint.not_enforced)
            warn_not_enforced(self._app.console, constraint, f"row {row.number}: ")


def _rows(app: AppContext, options: RowOptions, stream: BinaryIO) -> Iterator[Row]:
    """The rows of a stream. Warns once if they look like another format."""
    given = options.input_format
    name = str(options.input)
    for row in read_rows(stream, given or format_of(name), name="standard input" if name == "-" else name):
        if row.number == 0 and given is None and (row.problem or "").startswith(INVALID_JSON):
            app.console.warn("the first row is not JSON: --input-format lines reads each line as a prompt, csv a table")
        yield row


def open_input(app: AppContext, options: RowOptions) -> BinaryIO:
    """Open the rows' file, or standard input. Raises UsageError if it cannot be read."""
    if str(options.input) == "-":
        return cast("BinaryIO", app.console.input_stream())
    assert options.input is not None
    return open_rows(options.input)

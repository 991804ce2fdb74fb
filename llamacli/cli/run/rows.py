"""`llamacli run --input`: rows in, rows out, with progress and a summary."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, cast

from llamacli.batch.formats import RowFormat, format_of, result_format
from llamacli.batch.progress import RowProgress, input_size
from llamacli.batch.reader import INVALID_JSON, open_rows, read_rows
from llamacli.batch.result_table import kept_file, publish
from llamacli.batch.results import ResultFile
from llamacli.batch.runner import RowRunner, RunParams
from llamacli.batch.shard import Shard, shard_of_job
from llamacli.batch.shard_record import ShardRows, record_path
from llamacli.batch.summary import Tally
from llamacli.cli.framework.backends import engine as backends
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.inputs.constraints import warn_not_enforced
from llamacli.cli.run.batch_options import RowOptions
from llamacli.engine.constraint.answer_constraint import AnswerConstraint
from llamacli.errors import LlamacliError, UsageError
from llamacli.openai.batch_request import RowDefaults, template_fields
from llamacli.openai.batch_row import Row
from llamacli.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llamacli.backend.protocol import RowBackend

COUNTED_BYTES = 8 << 20
"""Size of an input whose rows are counted for the progress. Reading a larger one twice takes too long."""


def run_rows(app: AppContext, engine: RowBackend, options: RowOptions, defaults: RowDefaults, *, hides_reasoning: bool) -> None:
    """Read the rows, answer them, and write a summary at the end.

    Raises:
        UsageError: if the input or the output cannot be used.
        RowsFailedError: if some rows failed.
    """
    own = shard_of_job(app.console.environ) if options.shard == "auto" else options.shard
    results = open_results(app, options)
    stream = open_input(app, options)
    params = _params(options, hides_reasoning=hides_reasoning)
    progress, warnings = RowProgress(input_size(stream)), _Warnings(app, defaults.base.constraint)
    runner = RowRunner(engine, defaults, params, results, progress=progress, on_constraint=warnings.warn)
    total = count_rows(app, options, own)
    shard = ShardRows(own) if own is not None else None
    if shard is not None and options.output is not None:
        record_path(options.output).unlink(missing_ok=True)
    rows = _rows(app, options, stream, template_fields(defaults.template))
    is_interrupted = True
    try:
        with app.progress(delay=backends.DELAY_SECONDS) as bar:
            for _ in runner.run(shard.of(rows) if shard is not None else rows):
                status = runner.tally.status(progress.left, earlier=results.kept, total=total)
                bar.update(status, progress.done, progress.total)
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
        if not is_interrupted:
            _complete(options, shard)
    finally:
        stream.close()
        summarize(app, runner.tally, options, is_interrupted=is_interrupted)
    if not is_interrupted:
        runner.check()


def _params(options: RowOptions, *, hides_reasoning: bool) -> RunParams:
    return RunParams(
        parallel=options.parallel,
        retry=options.retry,
        unordered=options.unordered,
        fail_fast=options.fail_fast,
        hides_reasoning=hides_reasoning,
        keep_columns=options.keep_columns,
    )


def _complete(options: RowOptions, shard: ShardRows | None) -> None:
    """Write the record of a shard, and the table, when all results are there."""
    if shard is not None and options.output is not None:
        shard.record().write(options.output)
    if (target := table_file(options)) is not None:
        publish(target, result_format(target.name))


def table_file(options: RowOptions) -> Path | None:
    """The file of results if it is written when all of them are there, None if it is written line by line."""
    output = options.output
    return output if output is not None and result_format(output.name) != "jsonl" else None


def check_files(app: AppContext, options: RowOptions, template: str | None) -> bool:
    """Check the columns and the output before a model is loaded. Return False if the results are there already.

    Raises:
        UsageError: if a table lacks a column of the template, or the output is a directory or has content that is not resumed.
    """
    if options.output is not None and options.output.is_dir():  # a table is written last, when all answers are there
        raise UsageError(f"cannot write {options.output}: it is a directory")
    if options.input is not None and options.input.is_file():
        with open_rows(options.input) as stream:
            required = template_fields(template)
            next(read_rows(stream, input_format(options), name=str(options.input), required=required), None)
    target = table_file(options)
    if target is None or not target.is_file() or not target.stat().st_size or kept_file(target).exists():
        return True
    if not options.resume:
        raise UsageError(f"{target} already has content", hint="remove it, or name another file")
    app.console.note(f"{target} is complete already (remove it to start again)")
    return False


def open_results(app: AppContext, options: RowOptions) -> ResultFile:
    """Open the file of results, and report the rows that it has already."""
    target = table_file(options)
    path = options.output if target is None else kept_file(target)
    results = ResultFile(path, app.console.write_bytes, resume=options.resume)
    if results.kept:
        failed = f", {results.failed} of them failed" if results.failed else ""
        app.console.note(f"{counted(results.kept, 'row')} {'is' if results.kept == 1 else 'are'} done already{failed}")
    return results


def summarize(app: AppContext, tally: Tally, options: RowOptions, *, is_interrupted: bool) -> None:
    """Write the counts, and after an interruption how to continue."""
    app.console.note(tally.summary(interrupted=is_interrupted))
    if not is_interrupted:
        return
    if options.output is None:
        app.console.note("--output FILE would let --resume continue an interrupted run")
        return
    target = table_file(options)
    kept = options.output if target is None else kept_file(target)
    if kept.exists():
        app.console.note(f"results are kept in {kept}; --resume continues with the other rows")


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


def count_rows(app: AppContext, options: RowOptions, shard: Shard | None) -> int | None:
    """The number of rows, or of those of the shard, for the progress; None if none is shown, or if counting takes long."""
    path = options.input
    if not app.console.shows_progress or path is None or not path.is_file() or path.stat().st_size > COUNTED_BYTES:
        return None
    with open_rows(path) as stream:
        rows = read_rows(stream, input_format(options), name=str(path))
        return sum(shard is None or shard.takes(row.number) for row in rows)


def input_format(options: RowOptions) -> RowFormat:
    """The format of the input: the one that is given, or by the file's name."""
    return options.input_format or format_of(str(options.input))


def _rows(app: AppContext, options: RowOptions, stream: BinaryIO, required: tuple[str, ...]) -> Iterator[Row]:
    """The rows of a stream. Warns once if they look like another format."""
    name = "standard input" if str(options.input) == "-" else str(options.input)
    is_first = True
    for row in read_rows(stream, input_format(options), name=name, required=required):
        if is_first and options.input_format is None and (row.problem or "").startswith(INVALID_JSON):
            app.console.warn("the first row is not JSON: --input-format lines reads each line as a prompt, csv a table")
        is_first = False
        yield row


def open_input(app: AppContext, options: RowOptions) -> BinaryIO:
    """Open the rows' file, or standard input. Raises UsageError if it cannot be read."""
    if str(options.input) == "-":
        return cast("BinaryIO", app.console.input_stream())
    assert options.input is not None
    return open_rows(options.input)

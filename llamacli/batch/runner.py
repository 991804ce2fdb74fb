"""`llamacli run --input`: rows in, rows out, on parallel sequences of one model."""

from __future__ import annotations

import dataclasses
import os
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from llamacli.batch.reader import NO_JSON, Row, format_of, read_rows
from llamacli.batch.results import ResultFile
from llamacli.batch.summary import Tally, counted
from llamacli.cli.framework.context import AppContext
from llamacli.cli.run.batch_options import RowOptions
from llamacli.cli.run.constraint import Held, tell_not_enforced
from llamacli.cli.run.prompt import build_turn
from llamacli.engine.chat.answer import AnswerReader
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Event, Failed, Finished, Token
from llamacli.engine.generation.job_window import Job, Tuner, run_jobs
from llamacli.engine.generation.prefix_cache import common_length
from llamacli.engine.generation.sequence import Request
from llamacli.errors import ConstraintError, LlamacliError, RowsFailedError, UsageError
from llamacli.openai.batch_request import Asked, Asking
from llamacli.openai.batch_result import check, failure, result

if TYPE_CHECKING:
    from llamacli.cli.framework.signals import Guard
    from llamacli.engine.engine import Engine
    from llamacli.engine.generation.scheduler import Scheduler
    from llamacli.render.progress import NoProgress

MOST_AUTO = 16
"""Sequences that `--parallel auto` tries at most: beyond, a CPU gains little and the cache grows."""

LOOK_AHEAD = 64
"""Rows that are read before the first is run, to choose the size of the context."""

HELD_BACK = 4096
"""Results that may wait for an earlier one when the order is kept."""

LONG_PREFIX = 256
"""Tokens that rows must have in common for one cache for all to be better."""


@dataclass(slots=True)
class Running:
    """A row at work. `attempt` counts from 0; `tokens` are kept for log probabilities."""

    asked: Asked
    turn: Turn
    reader: AnswerReader
    attempt: int = 0
    tokens: list[Token] = field(default_factory=list)


class RowRunner:
    """Runs the rows of one input through an engine and writes their results."""

    def __init__(self, app: AppContext, engine: Engine, options: RowOptions, asking: Asking) -> None:
        self._app, self._engine, self._options, self._asking = app, engine, options, asking
        self._told = set(asking.held.not_enforced) if asking.held is not None else set()
        self._model = engine.model.path.name
        self._ready: deque[tuple[Running, int]] = deque()  # with the size of the context that each needs
        self._again: deque[Running] = deque()
        self._outcomes: dict[int, dict[str, Any]] = {}
        self._next = 0
        self._size = 0
        self._running = 0
        self.tally = Tally()

    def run(self, guard: Guard, stream: BinaryIO, results: ResultFile, bar: NoProgress) -> None:
        """Answers all rows. Raises RowsFailedError if one failed and the others are not wanted then."""
        guard.cancel = self._engine.cancel
        source = self._readied(self._rows(stream), results)
        total = _size_of(stream)
        while self._fill(source, LOOK_AHEAD):
            scheduler = self._scheduler()
            tuner = None if self._options.parallel else Tuner(scheduler, scheduler.limit)
            for running, event in run_jobs(scheduler, lambda: self._take(source), tuner):
                if guard.received is not None:
                    return
                self._running -= isinstance(event, Finished | Failed)
                self._see(running, event, results)
                done = stream.tell() if total else 0
                bar.update(self._status(done, total), done or self.tally.rows, total)

    def _rows(self, stream: BinaryIO) -> Iterator[Row]:
        """The rows. Says once what helps if they are not what is expected."""
        given = self._options.input_format
        for row in read_rows(stream, given or format_of(str(self._options.input))):
            if row.number == 0 and given is None and (row.problem or "").startswith(f"{NO_JSON}:"):
                self._app.console.warn(
                    "the first row is no JSON: --input-format lines takes each line as a prompt, csv a table"
                )
            yield row

    def _readied(self, rows: Iterator[Row], results: ResultFile) -> Iterator[tuple[Running, int] | None]:
        """The rows that can be asked, tokenized. None for each that cannot, with its result, or that is done already."""
        for row in rows:
            if results.holds(row.number):
                self._flush(results)
                yield None
                continue
            try:
                asked = self._asking.ask(row)
                self._tell(row, asked.held)
                turn = build_turn(self._engine, asked.question, asked.held)
            except LlamacliError as error:
                self._fail(row, error, results)
                yield None
                continue
            size = self._engine.context_for(turn.prompt, asked.params.max_tokens)
            yield Running(asked, turn, AnswerReader(turn)), size

    def _tell(self, row: Row, held: Held | None) -> None:
        """Warns once of what of a row's schema cannot be enforced."""
        if held is not None and not self._told.issuperset(held.not_enforced):
            self._told.update(held.not_enforced)
            tell_not_enforced(self._app.console, held, f"row {row.number}: ")

    def _fill(self, source: Iterator[tuple[Running, int] | None], count: int) -> bool:
        """Reads ahead. Whether there is anything left to run.

        Not while too many results are held back, which an earlier row that waits or runs will release: without such a row
        none is held back.
        """
        while len(self._ready) < count and len(self._outcomes) < HELD_BACK:
            try:
                entry = next(source)
            except StopIteration:
                break
            if entry is not None:
                self._ready.append(entry)
        return bool(self._ready)

    def _scheduler(self) -> Scheduler:
        """A scheduler whose context is large enough for the rows that were read ahead."""
        self._size = max(self._size, *(size for _, size in self._ready))
        most = self._options.parallel or self._engine.parallel_for(self._size, MOST_AUTO)
        prompts = [running.turn.prompt.tokens for running, _ in self._ready]
        shared = min((common_length(prompts[0], prompt) for prompt in prompts[1:]), default=0)
        return self._engine.prepare(self._size, most, shared=shared >= LONG_PREFIX)

    def _take(self, source: Iterator[tuple[Running, int] | None]) -> Job | None:
        """The next job; None when there is none, or when it needs a larger context and must wait until the others are done."""
        if self._again:
            return self._job(self._again.popleft())
        if self._running and len(self._outcomes) >= HELD_BACK:
            return None
        if not self._fill(source, 1) or self._ready[0][1] > self._size:
            return None
        return self._job(self._ready.popleft()[0])

    def _job(self, running: Running) -> Job:
        prompt, params = running.turn.prompt, running.asked.params
        seed = params.sampling.seed
        if running.attempt and seed is not None:
            params = dataclasses.replace(
                params, sampling=dataclasses.replace(params.sampling, seed=(seed + running.attempt) % 2**32)
            )
        params = dataclasses.replace(params, stop=(*params.stop, *prompt.stops))
        self._running += 1
        request = Request(prompt=prompt.tokens, params=params, preserved=prompt.preserved, guidance=running.turn.guidance)
        return Job(request, running)

    def _see(self, running: Running, event: Event, results: ResultFile) -> None:
        row = running.asked.row
        if isinstance(event, Token):
            running.reader.feed(event.text)
            if running.asked.params.logprobs is not None:
                running.tokens.append(event)
        elif isinstance(event, Failed):
            running.reader.close()
            self._fail(row, event.error, results)
        elif isinstance(event, Finished) and event.reason != "cancelled":
            running.reader.feed(event.text)
            answer, _ = running.reader.finish(complete=event.reason == "stop")
            running.reader.close()
            self.tally.add(event)
            if self._asking.hides_reasoning:
                answer = dataclasses.replace(answer, reasoning_content="")
            answered = result(running.asked, self._model, answer, event, running.tokens)
            try:
                check(running.asked, answer, event)
            except ConstraintError as error:
                self._not_met(running, error, answered, results)
                return
            self._settle(row.number, answered, results)

    def _not_met(self, running: Running, error: ConstraintError, answered: dict[str, Any], results: ResultFile) -> None:
        if running.attempt >= self._options.retry:
            self._fail(running.asked.row, error, results, answered)
            return
        self._again.append(Running(running.asked, running.turn, AnswerReader(running.turn), running.attempt + 1))

    def _fail(self, row: Row, error: Exception, results: ResultFile, answered: dict[str, Any] | None = None) -> None:
        self.tally.failed += 1
        self._settle(row.number, failure(row, error, answered), results)
        if self._options.fail_fast:
            self._write_held_back(results)
            raise RowsFailedError(
                f"row {row.number} failed: {error}",
                failed=self.tally.failed,
                total=self.tally.rows,
                hint="--fail-fast stops there",
            )

    def _settle(self, number: int, outcome: dict[str, Any], results: ResultFile) -> None:
        """Writes a result now, or when those before it are there."""
        self.tally.rows += 1
        if self._options.unordered:
            results.write(outcome)
            return
        self._outcomes[number] = outcome
        self._flush(results)

    def _flush(self, results: ResultFile) -> None:
        """Writes what waits for nothing any more."""
        while self._next in self._outcomes or results.holds(self._next):
            if (outcome := self._outcomes.pop(self._next, None)) is not None:
                results.write(outcome)
            self._next += 1

    def _write_held_back(self, results: ResultFile) -> None:
        """Writes what still waits for an earlier result, in order: nothing that was computed is lost."""
        for number in sorted(self._outcomes):
            results.write(self._outcomes[number])
        self._outcomes.clear()

    def finish(self, results: ResultFile, *, whole: bool) -> None:
        """Writes what is left, after an interruption too. When the rows are done, what earlier runs wrote is put in order."""
        self._write_held_back(results)
        if whole and not self._options.unordered:
            results.put_in_order()

    def check(self, results: ResultFile) -> None:
        """Raises RowsFailedError if rows failed, in an earlier run too."""
        failed, total = self.tally.failed + results.failed, self.tally.rows + results.kept
        if failed:
            earlier = f", {results.failed} of them before" if results.failed and self.tally.failed else ""
            raise RowsFailedError(f"{failed} of {counted(total, 'row')} failed{earlier}", failed=failed, total=total)

    def _status(self, done: int, total: int | None) -> str:
        """Rows and speed, and the time left as far as the share of the input that was read tells it."""
        text = f"{counted(self.tally.rows, 'row')}, {self.tally.rate():.0f} tokens/s"
        if not total or not 0 < done < total:
            return text
        left = (time.perf_counter() - self.tally.started) * (total - done) / done
        return f"{text}, {int(left // 60)}:{int(left % 60):02d} left"


def run_rows(app: AppContext, guard: Guard, engine: Engine, options: RowOptions, asking: Asking) -> None:
    """Reads the rows, runs them, and says at the end what there was.

    Raises:
        UsageError: the input or the output cannot be used.
        RowsFailedError: some rows failed.
    """
    results = ResultFile(options.output, app.console.write_bytes, resume=options.resume)
    if results.kept:
        failed = f", {results.failed} of them failed" if results.failed else ""
        app.console.note(f"{counted(results.kept, 'row')} {'is' if results.kept == 1 else 'are'} done already{failed}")
    runner = RowRunner(app, engine, options, asking)
    stream = open_input(app, options)
    try:
        with app.progress(delay=0.5) as bar:
            runner.run(guard, stream, results, bar)
        runner.finish(results, whole=guard.received is None)
    except BaseException:
        with suppress(LlamacliError):  # the first error is the one to tell
            runner.finish(results, whole=False)
        with suppress(LlamacliError):
            results.close()
        raise
    else:
        results.close()
    finally:
        stream.close()
        app.console.note(runner.tally.summary())
    if guard.received is None:
        runner.check(results)


def open_input(app: AppContext, options: RowOptions) -> BinaryIO:
    """The rows' file, or standard input. Raises UsageError if it cannot be read."""
    if str(options.input) == "-":
        return cast("BinaryIO", app.console.input_stream())
    assert options.input is not None
    try:
        return options.input.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read {options.input}: {error.strerror or error}") from error


def _size_of(stream: BinaryIO) -> int | None:
    """Bytes of a regular file; None for a pipe."""
    try:
        return os.fstat(stream.fileno()).st_size or None if stream.seekable() else None
    except OSError:
        return None

"""Rows in, results out, in order: each row is answered, retried or failed on its own."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from llamacli.backend.protocol import RowBackend
from llamacli.batch.progress import RowProgress
from llamacli.batch.results import ResultFile
from llamacli.batch.summary import Tally
from llamacli.engine.chat.answers.judgement import check_answer
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.turn import Turn
from llamacli.engine.constraint.answer_constraint import AnswerConstraint
from llamacli.engine.events import Answer, Failed
from llamacli.engine.generation.job import Job
from llamacli.errors import ConstraintError, LlamacliError, RowsFailedError
from llamacli.openai.batch_request import RowDefaults, RowRequest
from llamacli.openai.batch_result import failure, result, with_input
from llamacli.openai.batch_row import Row
from llamacli.units import counted

MAX_HELD_BACK = 4096
"""Results that may wait for an earlier one when the order is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParams:
    """Parameters of a run over rows. `parallel` None finds the number of sequences that is fastest.

    `retry`: how often a row whose answer misses its constraint is tried again at once. `unordered` writes each result as soon
    as it is there. `fail_fast` stops at the first row that fails. `hides_reasoning` leaves it out of the results,
    `keep_columns` puts the fields of the row into them.
    """

    parallel: int | None = None
    retry: int = 0
    unordered: bool = False
    fail_fast: bool = False
    hides_reasoning: bool = False
    keep_columns: bool = False


@dataclass(slots=True)
class Attempt:
    """A row in flight. `number` counts its attempts from 0."""

    request: RowRequest
    turn: Turn
    number: int = 0


class RowRunner:
    """Answers the rows of one input through a backend and writes their results.

    `on_constraint` is called with each row that has its own constraint, for warnings.
    """

    def __init__(
        self,
        backend: RowBackend,
        defaults: RowDefaults,
        params: RunParams,
        results: ResultFile,
        *,
        progress: RowProgress,
        on_constraint: Callable[[Row, AnswerConstraint], None] = lambda row, constraint: None,
    ) -> None:
        self._backend, self._defaults, self._params, self._results = backend, defaults, params, results
        self._on_constraint = on_constraint
        self._model = backend.describe().model
        self._in_flight: dict[int, Attempt] = {}
        self._again: deque[Attempt] = deque()
        self._outcomes: dict[int, dict[str, Any]] = {}
        self._order: deque[int] = deque()  # the rows that are not written yet: blank lines leave gaps in the numbers
        self.tally = Tally()
        self.progress = progress
        self.cancelled = False

    def run(self, rows: Iterator[Row]) -> Generator[None, None, None]:
        """Answer all rows; yields after each event, for progress. `cancelled` is True afterwards if the backend was cancelled.

        Raises:
            RowsFailedError: if a row failed and `fail_fast` is set.
            LlamacliError: what the backend raises for all rows, or if a result cannot be written.
        """
        parallel: int | Literal["auto"] = self._params.parallel or "auto"
        jobs = self._jobs(self.progress.watch(rows))
        with closing(self._backend.answer_many(jobs, parallel=parallel)) as events:
            for event in events:
                if isinstance(event, Failed):
                    self._fail(self._in_flight.pop(event.sequence).request.row, event.error)
                elif isinstance(event, Answer):
                    if event.finish_reason == "cancelled":
                        self.cancelled = True
                        return
                    self._take(self._in_flight.pop(event.index), event)
                yield

    def _jobs(self, rows: Iterator[Row]) -> Iterator[Job | None]:
        """The jobs of the rows; None while too many results are held back, which a row in flight will release."""
        while True:
            if self._again:
                yield self._job(self._again.popleft())
            elif len(self._outcomes) >= MAX_HELD_BACK and self._in_flight:
                yield None
            elif (row := next(rows, None)) is not None:
                if (attempt := self._prepared(row)) is not None:
                    yield self._job(attempt)
            elif self._in_flight:
                yield None  # one of them may be tried again
            else:
                return

    def _prepared(self, row: Row) -> Attempt | None:
        """The row, rendered; None with its result written if it cannot be asked, or if it is done already."""
        if not self._params.unordered:
            self._order.append(row.number)
        if self._results.holds(row.number):
            self.progress.finish(row.number, earlier=True)
            self._flush()
            return None
        try:
            request = self._defaults.request(row)
            if request.question.constraint is not None:
                self._on_constraint(row, request.question.constraint)
            return Attempt(request, self._rendered(request.question))
        except LlamacliError as error:
            self._fail(row, error)
            return None

    def _rendered(self, question: Question) -> Turn:
        """The turn of a question. If the backend dies, it is tried once more."""
        try:
            return self._backend.render(question)
        except LlamacliError:
            if self._backend.is_alive:
                raise
        self._backend.revive()
        try:
            return self._backend.render(question)
        finally:
            self._backend.revive()

    def _job(self, attempt: Attempt) -> Job:
        """The job of an attempt; each has the seed after that of the one before."""
        number, params = attempt.request.row.number, attempt.request.params
        seed = params.sampling.seed
        if attempt.number and seed is not None:
            sampling = dataclasses.replace(params.sampling, seed=(seed + attempt.number) % 2**32)
            params = dataclasses.replace(params, sampling=sampling)
        self._in_flight[number] = attempt
        return Job(number=number, turn=attempt.turn, params=params)

    def _take(self, attempt: Attempt, answer: Answer) -> None:
        self.tally.add(answer.usage)
        if self._params.hides_reasoning:
            answer = dataclasses.replace(answer, reasoning_content="")
        row, answered = attempt.request.row, result(attempt.request, self._model, dataclasses.replace(answer, index=0))
        try:
            check_answer(attempt.turn, answer)
        except ConstraintError as error:
            if attempt.number < self._params.retry:
                self._again.append(dataclasses.replace(attempt, number=attempt.number + 1))
            else:
                self._fail(row, error, answered)
            return
        self._settle(row, answered)

    def _fail(self, row: Row, error: Exception, answered: dict[str, Any] | None = None) -> None:
        self.tally.failed += 1
        self._settle(row, failure(row, error, answered))
        if self._params.fail_fast:
            self._write_held_back()
            raise RowsFailedError(
                f"row {row.number} failed: {error}",
                failed=self.tally.failed,
                total=self.tally.rows,
                hint="fail_fast stops there",
                parameter="fail_fast",
            )

    def _settle(self, row: Row, outcome: dict[str, Any]) -> None:
        """Write a result now, or when those before it are there."""
        self.tally.rows += 1
        self.progress.finish(row.number)
        if self._params.keep_columns:
            outcome = with_input(row, outcome)
        if self._params.unordered:
            self._results.write(outcome)
            return
        self._outcomes[row.number] = outcome
        self._flush()

    def _flush(self) -> None:
        """Write what no longer waits for an earlier result."""
        while self._order and (self._order[0] in self._outcomes or self._results.holds(self._order[0])):
            if (outcome := self._outcomes.pop(self._order.popleft(), None)) is not None:
                self._results.write(outcome)

    def _write_held_back(self) -> None:
        """Write what still waits for an earlier result, in order, so that nothing computed is lost."""
        for number in sorted(self._outcomes):
            self._results.write(self._outcomes[number])
        self._outcomes.clear()

    def finish(self, *, whole: bool) -> None:
        """Write what is left, also after an interruption. When all rows are done, sort what earlier runs wrote."""
        self._write_held_back()
        if whole and not self._params.unordered:
            self._results.put_in_order()

    def check(self) -> None:
        """Raise RowsFailedError if rows failed, in an earlier run too."""
        failed, total = self.tally.failed + self._results.failed, self.tally.rows + self._results.kept
        if failed:
            earlier = f", {self._results.failed} of them before" if self._results.failed and self.tally.failed else ""
            raise RowsFailedError(f"{failed} of {counted(total, 'row')} failed{earlier}", failed=failed, total=total)

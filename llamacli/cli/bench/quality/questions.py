"""`bench quality --tasks` and `--exact`: questions of multiple choice, and prompts with expected answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.inputs.files import read_text_file
from llamacli.errors import CancelledError, GateError, LlamacliError, RowsFailedError
from llamacli.units import out_of

if TYPE_CHECKING:
    from llamacli.bench.child.process import BenchProcess
    from llamacli.bench.quality.answers import AnswerSheet
    from llamacli.bench.quality.exact import AnswerFile, ExpectedAnswer
    from llamacli.bench.quality.tasks import TaskFile, TaskQuestion
    from llamacli.cli.bench.options import ReportOptions
    from llamacli.cli.bench.quality.options import CandidateOptions, JudgeOptions, TaskOptions
    from llamacli.cli.framework.terminal.signals import Guard
    from llamacli.engine.system import NativeBuild
    from llamacli.render.progress import NoProgress

GRACE_SECONDS = 10.0

_MOST_SHOWN = 10
"""Wrong answers that are shown."""


def run_questions(
    app: AppContext, questions: TaskOptions, candidates: CandidateOptions, judge: JudgeOptions, report: ReportOptions
) -> None:
    """Answer the questions of a file with every combination, and report the shares of right answers.

    Raises:
        UsageError: if the file is invalid, or options for texts were given.
        GateError: if a share is below the one asked for; RowsFailedError: if a combination failed.
    """
    from llamacli.bench.quality.answers import AnswerSheet
    from llamacli.bench.quality.exact import parse_answers
    from llamacli.bench.quality.tasks import parse_tasks

    judge.refuse_any("--tasks" if questions.tasks is not None else "--exact")
    path = questions.file
    assert path is not None  # the caller has checked
    text = read_text_file(path)
    parse = parse_tasks if questions.tasks is not None else parse_answers
    file: TaskFile | AnswerFile = parse(text, str(path), questions.questions)
    candidates.grid([""], 1)  # report mistakes before a model is downloaded
    models = [str(app.find_model(app, one, offline=candidates.offline)) for one in candidates.references]
    sheets = [AnswerSheet(test, "tasks" if questions.tasks is not None else "exact") for test in candidates.grid(models, 1)]
    _Session(app, file, sheets, (questions, candidates), report).run()
    _check(sheets, questions.fail_below)


class _Session:
    """One run over all combinations; its rows are written at the end, also after Ctrl-C."""

    def __init__(
        self,
        app: AppContext,
        file: TaskFile | AnswerFile,
        sheets: list[AnswerSheet],
        options: tuple[TaskOptions, CandidateOptions],
        report: ReportOptions,
    ) -> None:
        self._app, self._file, self._sheets = app, file, sheets
        self._questions, self._candidates = options
        self._report = report

    def run(self) -> None:
        """Answer everything, and report. A signal raises its exception after the report."""
        from llamacli.engine.runtime.canceller import Canceller

        models, child = [Path(sheet.test.test.model) for sheet in self._sheets], self._candidates.child()
        with self._app.open_bench(models, Canceller(), loras=self._candidates.lora, child=child) as process:
            build, complete = process.build(), False
            try:
                complete = self._answer_all(process)
            finally:
                if any(sheet.correct for sheet in self._sheets):
                    self._write(build, interrupted=not complete)

    def _answer_all(self, process: BenchProcess) -> bool:
        with self._app.interrupts.guard(grace=GRACE_SECONDS) as guard, self._app.progress(delay=0.5) as line:
            try:
                for sheet in self._sheets:
                    self._answer(sheet, process, guard, line)
                return True
            except CancelledError:
                if guard.received is None:
                    raise
        return False

    def _answer(self, sheet: AnswerSheet, process: BenchProcess, guard: Guard, line: NoProgress) -> None:
        """Answer all questions with one combination. One that fails does not stop the others."""
        name, total = Path(sheet.test.test.model).name, self._file.count
        process.on_load = lambda share: line.update(f"{name}: loading", share, 1.0)
        try:
            for _ in self._choices(sheet, process, guard) if sheet.kind == "tasks" else self._prompts(sheet, guard):
                done, right = len(sheet.correct), sum(sheet.correct)
                line.update(f"{name}: {right} of {done} right", done, total, at_once=done == 1)
                if self._report.progress:
                    self._app.console.note(f"{name}, question {done}/{total}: {right} right")
        except CancelledError:
            raise
        except LlamacliError as error:
            if len(self._sheets) == 1:
                raise
            sheet.error = error.message

    def _choices(self, sheet: AnswerSheet, process: BenchProcess, guard: Guard) -> Iterator[None]:
        """Score the choices of all questions; yield after each question."""
        from llamacli.bench.child.contract import SCORE_CHOICES
        from llamacli.bench.quality.params import CandidateReady, TaskRequest

        guard.cancel = process.cancel.set
        questions: tuple[TaskQuestion, ...] = self._file.questions  # type: ignore[union-attr]  # its kind is that of the sheet
        for event in process.follow(SCORE_CHOICES, TaskRequest(candidate=sheet.test.candidate(), questions=questions)):
            if isinstance(event, CandidateReady):
                sheet.model = event.model
            else:
                sheet.add(questions[event.question], event)
                yield

    def _prompts(self, sheet: AnswerSheet, guard: Guard) -> Iterator[None]:
        """Generate the answers to all prompts; yield after each."""
        from llamacli.bench.quality.exact import answer_prompts, model_facts

        prompts: tuple[ExpectedAnswer, ...] = self._file.prompts  # type: ignore[union-attr]  # its kind is that of the sheet
        setup, path = sheet.test.candidate().setup, Path(sheet.test.test.model)
        sheet.model = model_facts(path)
        context = replace(setup.context, n_ctx=None)
        with self._app.open_engine(path, setup.model, context, child=self._candidates.child()) as backend:
            guard.cancel = backend.cancel
            for answered in answer_prompts(backend, prompts):
                sheet.add_answer(prompts[answered.number], answered)
                yield

    def _write(self, build: NativeBuild, *, interrupted: bool) -> None:
        from llamacli.bench.measure.provenance import machine_of
        from llamacli.cli.bench.quality.report import write_rows

        machine = machine_of(build)
        rows = [sheet.row(self._file.name, self._file.sha256, machine) for sheet in self._sheets]
        write_rows(self._app, rows, self._report, build, (self._questions, self._candidates), interrupted=interrupted)
        for sheet in self._sheets:
            for missed in sheet.missed[:_MOST_SHOWN]:
                self._app.console.note(missed)
            if len(sheet.missed) > _MOST_SHOWN:
                self._app.console.note(f"and {len(sheet.missed) - _MOST_SHOWN} more")


def _check(sheets: Sequence[AnswerSheet], fail_below: float | None) -> None:
    """Raise GateError if too few answers are right, RowsFailedError if a combination failed."""
    failed = [sheet for sheet in sheets if sheet.error is not None]
    if failed:
        message = f"{out_of(len(failed), len(sheets), 'combination')} could not be judged"
        raise RowsFailedError(message, failed=len(failed), total=len(sheets))
    if fail_below is None:
        return
    for sheet in sheets:
        right, total = sum(sheet.correct), len(sheet.correct)
        if right < fail_below * total:
            name = Path(sheet.test.test.model).name
            raise GateError(f"{name}: {out_of(right, total, 'answer')} right, less than {fail_below:.0%}")

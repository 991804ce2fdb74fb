"""`llamacli bench quality`: measure what quantizations, cache types and adapters cost in quality."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from llamacli.cli.bench.options import ReportOptions
from llamacli.cli.bench.plot import check_plot
from llamacli.cli.bench.quality.options import CandidateOptions, JudgeOptions, TaskOptions
from llamacli.cli.bench.quality.questions import run_questions
from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.inputs.files import STDIN, read_text_file
from llamacli.cli.framework.parameters import argument
from llamacli.errors import CancelledError, RowsFailedError, UsageError
from llamacli.store.files.new_file import new_file
from llamacli.units import out_of

if TYPE_CHECKING:
    from llamacli.bench.child.process import BenchProcess
    from llamacli.bench.quality.params import Candidate, QualityPlan, QualityRequest
    from llamacli.bench.quality.result import Collector
    from llamacli.bench.quality.rows import Measured, QualityTest
    from llamacli.bench.quality.text import Text

GRACE_SECONDS = 10.0
"""Seconds that a batch and the report may take after Ctrl-C."""

_DEFAULT_WINDOW = 512

TextArgument = Annotated[
    tuple[Path, ...], argument(metavar="TEXT", help="Files of text; - is standard input. Default: a text that is shipped.")
]


@command(
    examples=(
        ("Measure the perplexity of a model.", "llamacli bench quality -m model.gguf"),
        ("Compare quantizations with the original.", "llamacli bench quality -m q8_0.gguf,q4_k_m.gguf --reference f16.gguf"),
        ("See what a smaller KV cache costs.", "llamacli bench quality -ctk f16,q8_0 -ctv f16,q8_0 -fa on --windows 32"),
        ("Answer multiple choice.", "llamacli bench quality --tasks hellaswag.jsonl --questions 200"),
        ("Fail if prompts are answered worse than before.", "llamacli bench quality --exact prompts.jsonl --fail-below 0.9"),
        ("Use a text of your own, for one minute.", "llamacli bench quality notes.txt --budget 60"),
    ),
    common=("-m", "--reference", "-c", "--windows", "--budget", "-ctk", "-ctv", "--tasks", "--exact", "-o"),
)
def quality(
    app: AppContext,
    text: TextArgument = (),
    *,
    judge: JudgeOptions,
    candidates: CandidateOptions,
    questions: TaskOptions,
    report: ReportOptions,
) -> None:
    """Measure what quantizations, cache types, kernels and adapters cost in quality.

    Cuts a text into windows and measures the perplexity of the tokens in the second half of each. With a reference, also the
    KL divergence from its predictions, how often both find the same token most probable, and the change of the right token's
    probability. Figures are those of llama-perplexity, with 95 % intervals by a bootstrap over windows. The speed is that of
    this evaluation.

    --tasks measures how often the right one of several choices is the most probable, --exact how often a generated answer is
    the expected one.

    The shipped text has English, French, Spanish, Russian, Chinese, Arabic, Python and C++. Results are stored with the hash of
    the text: `llamacli bench show` writes them again, `compare` tests pairs of windows. Ctrl-C keeps the windows so far.
    """
    if report.json:
        report = replace(report, output="json")
    check_plot(report.plot)
    if questions.file is not None:
        if text:
            raise UsageError("a text cannot be judged together with --tasks or --exact")
        run_questions(app, questions, candidates, judge, report)
        return
    stored = _stored_reference(judge.reference)
    material = _read(app, text, is_optional=stored is not None)
    n_ctx = _window(judge, stored)
    plan = judge.plan(n_ctx)
    candidates.grid([""], n_ctx)  # report mistakes before a model is downloaded
    models = [str(app.find_model(app, reference, offline=candidates.offline)) for reference in candidates.references]
    tests = candidates.grid(models, n_ctx)
    if judge.save_logits is not None and len(tests) > 1:
        raise UsageError("--save-logits needs a single model and setup")
    beside = None if judge.reference is None or stored else app.find_model(app, judge.reference, offline=candidates.offline)
    job = _Job(tests, plan, material, beside, stored)
    with contextlib.nullcontext() if judge.save_logits is None else new_file(judge.save_logits) as target:
        _run(app, job, (judge, candidates), report, target)


@dataclass(frozen=True, slots=True)
class _Job:
    """What is to be judged, on what, beside a model or a file of log probabilities."""

    tests: list[QualityTest]
    plan: QualityPlan
    text: Text | None
    reference: Path | None
    stored: Path | None

    def request(self, save_logits: Path | None) -> QualityRequest:
        """Return the request for the process that evaluates."""
        from llamacli.bench.quality.params import QualityRequest

        return QualityRequest(
            candidates=tuple(test.candidate() for test in self.tests),
            text=self.text.data if self.text is not None else b"",
            plan=self.plan,
            reference=self._beside(),
            reference_logits="" if self.stored is None else str(self.stored.resolve()),
            save_logits="" if save_logits is None else str(save_logits.resolve()),
        )

    def measured(self, collector: Collector) -> Measured:
        """Return what has been measured so far, with its circumstances."""
        from llamacli.bench.quality.rows import Material, Measured

        beside = self.reference or self.stored
        material = Material(
            text=self.text.name if self.text is not None else f"the text of {self.stored}",
            text_sha256=self.text.sha256 if self.text is not None else "",
            tokens_sha256=collector.text.sha256 if collector.text is not None else "",
            reference="" if beside is None else beside.name,
        )
        return Measured(collector.results(), self.tests, self.plan, material)

    def _beside(self) -> Candidate | None:
        """Return the reference: it runs as the first candidate does, but with a whole cache and without adapters."""
        if self.reference is None:
            return None
        test = replace(self.tests[0].test, model=str(self.reference), type_k="f16", type_v="f16", flash_attn="auto")
        return replace(self.tests[0], test=test, loras=()).candidate()


def _run(
    app: AppContext, job: _Job, options: tuple[JudgeOptions, CandidateOptions], report: ReportOptions, target: Path | None
) -> None:
    from llamacli.bench.quality.result import Collector
    from llamacli.cli.bench.quality.report import write_report
    from llamacli.engine.runtime.canceller import Canceller

    models = [Path(test.test.model) for test in job.tests]
    models += [job.reference] if job.reference is not None else []
    collector, child = Collector([test.candidate() for test in job.tests]), options[1].child()
    reads = [job.stored] if job.stored is not None else []
    writes = [target] if target is not None else []
    loras = options[1].lora
    with app.open_bench(models, Canceller(), loras=loras, reads=reads, writes=writes, child=child) as process:
        complete = False
        try:
            complete = _judge(app, process, job, collector, target, lines=report.progress)
        finally:
            if collector.has_scores:
                measured = job.measured(collector)
                write_report(app, measured, report, process.build(), options, interrupted=not complete)
    failures = collector.failures
    if failures:
        message = f"{out_of(len(failures), len(job.tests), 'combination')} could not be judged"
        raise RowsFailedError(message, failed=len(failures), total=len(job.tests))


def _judge(
    app: AppContext, process: BenchProcess, job: _Job, collector: Collector, target: Path | None, *, lines: bool
) -> bool:
    """Collect the scores, with progress; return whether there are all. A signal raises its exception."""
    from llamacli.bench.child.quality import judge_in_child
    from llamacli.cli.bench.quality.report import QualityProgress

    with app.interrupts.guard(grace=GRACE_SECONDS) as guard, app.progress(delay=0.5) as line:
        guard.cancel = process.cancel.set
        progress = QualityProgress(app.console, line, collector, len(job.tests), lines=lines)
        process.on_load = progress.loading
        try:
            for event in judge_in_child(process, job.request(target)):
                collector.add(event)
                progress.step(event)
            return True
        except CancelledError:
            if guard.received is None:
                raise
    return False


def _read(app: AppContext, files: tuple[Path, ...], *, is_optional: bool) -> Text | None:
    """Return the text of all files; without any the shipped one, or None if that `is_optional`."""
    from llamacli.bench.quality.text import Text, shipped_text

    if not files:
        return None if is_optional else shipped_text()
    parts = [app.console.read_input() if str(file) == STDIN else read_text_file(file) for file in files]
    data = "".join(parts).encode()
    if not data.strip():
        raise UsageError("the text is empty")
    return Text(", ".join(map(str, files)), data)


def _stored_reference(reference: str | None) -> Path | None:
    """Return the path of a reference that is a file of log probabilities, None for a model."""
    from llamacli.bench.quality.logits_file import is_logits_file

    return Path(reference) if reference is not None and is_logits_file(Path(reference)) else None


def _window(judge: JudgeOptions, stored: Path | None) -> int:
    """Return the length of a window: by default that of the reference's file."""
    from llamacli.bench.quality.logits_file import read_logits_file

    if stored is not None and judge.stride is not None:
        raise UsageError("--stride cannot be used with a file of log probabilities, whose windows follow each other")
    if judge.ctx_size is not None:
        return judge.ctx_size
    return read_logits_file(stored).n_ctx if stored is not None else _DEFAULT_WINDOW

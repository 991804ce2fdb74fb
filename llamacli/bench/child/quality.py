"""The measurement of quality in a child process: candidates together if they fit in memory, else one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from llamacli.bench.child.contract import JUDGE
from llamacli.bench.child.process import BenchProcess
from llamacli.bench.quality.params import Candidate, CandidateFailed, QualityEvent, QualityRequest, TextRead, WindowScored
from llamacli.engine.runtime.hardware import available_memory
from llamacli.errors import LlamacliError, UsageError
from llamacli.gguf.split import part_names

_SHARE = 0.6
"""The part of the free memory that models which are loaded together may need: caches and logits need some, too."""


def judge_in_child(process: BenchProcess, request: QualityRequest) -> Iterator[QualityEvent]:
    """Yield the events of `judge` for all candidates.

    Those that are loaded together get their windows in step, so that whenever it ends they have the same ones. If they do not
    fit, each is loaded alone, beside the reference, and gets as many windows as the first one had time for.

    A candidate that cannot be loaded, or with which the child dies, has failed; the others are judged.

    Raises:
        CancelledError: if the process was cancelled; the scores so far are yielded before.
        UsageError: if the text is too short, or does not match the reference.
        LlamacliError: if there is only one candidate, what happened to it.
    """
    groups = _groups(request)
    plan, windows, begin, failures = request.plan, 0, 0, 0
    if plan.budget is not None:
        plan = replace(plan, budget=plan.budget / len(groups))
    for group in groups:
        try:
            for event in process.follow(JUDGE, replace(request, candidates=group, plan=plan)):
                if isinstance(event, WindowScored):
                    windows = max(windows, event.window + 1)
                elif isinstance(event, CandidateFailed):
                    failures += 1
                    _raise_if_all(failures, request, event.error)
                yield _shifted(event, begin)
        except LlamacliError as error:
            if not process.has_died or len(request.candidates) == 1:
                raise
            for number in range(begin, begin + len(group)):
                failures += 1
                _raise_if_all(failures, request, error)
                yield CandidateFailed(number, error)
        begin += len(group)
        if windows:
            plan = plan.limited(windows)


def _raise_if_all(failures: int, request: QualityRequest, error: LlamacliError) -> None:
    if failures == len(request.candidates):
        raise error


def _shifted(event: QualityEvent, begin: int) -> QualityEvent:
    """Return an event with the number that its candidate has among all."""
    return event if isinstance(event, TextRead) else replace(event, candidate=event.candidate + begin)


def _groups(request: QualityRequest) -> list[tuple[Candidate, ...]]:
    """Return the candidates that are loaded together."""
    models = {(one.path, one.setup.model) for one in (*request.candidates, *filter(None, [request.reference]))}
    free = available_memory()
    if free is None or sum(_size(Path(path)) for path, _ in models) <= _SHARE * free:
        return [request.candidates]
    return [(candidate,) for candidate in request.candidates]


def _size(path: Path) -> int:
    """Return the bytes of a model's files."""
    try:
        return sum(path.with_name(name).stat().st_size for name in part_names(path.name))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error

"""The inspections of a child."""

from __future__ import annotations

from pathlib import Path

from llamacli.backend.child import inspection
from llamacli.backend.child.inspection import FitRequest
from llamacli.backend.child.wire.method import Method
from llamacli.backend.child.work.connection import Handler
from llamacli.backend.child.work.task import Task
from llamacli.binding.library import library
from llamacli.engine.fit.report import FitReport
from llamacli.engine.quantization.types import WeightsCompared
from llamacli.engine.system import NativeBuild


def service() -> dict[Method, Handler]:
    """Return the handlers, with the native library loaded."""
    library()
    return {
        inspection.BUILD: _build,
        inspection.FIT: _fit,
        inspection.CHECK_TEMPLATE: _check_template,
        inspection.COMPARE_WEIGHTS: _compare_weights,
        inspection.TRY_LOAD: _try_load,
    }


def _build(_: None, _task: Task) -> NativeBuild:
    from llamacli.engine.system import describe_build

    return describe_build()


def _fit(asked: FitRequest, _task: Task) -> FitReport:
    from llamacli.engine.fit.search import fit_model

    return fit_model(Path(asked.path), asked.model, asked.context)


def _check_template(source: str, _task: Task) -> None:
    from llamacli.engine.chat.template import ChatTemplate

    ChatTemplate(source).close()


def _compare_weights(paths: tuple[str, str], task: Task) -> None:
    from llamacli.engine.quantization.differences import compare_weights

    for found in compare_weights(*paths, lambda done, total: task.emit(WeightsCompared(done, total))):
        if task.cancel.is_set:
            return
        task.emit(found)


def _try_load(path: str, _task: Task) -> None:
    from llamacli.engine.runtime.loading import try_load

    try_load(Path(path))

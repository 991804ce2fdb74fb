"""`llamacli bench tune --quality`: judge what the search has found, and make the file that is fast enough and good enough."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.cli.framework.context import AppContext
from llamacli.errors import LlamacliError
from llamacli.store.files import paths

if TYPE_CHECKING:
    from llamacli.backend.child.params import ChildParams
    from llamacli.bench.child.process import BenchProcess
    from llamacli.bench.tune.session import TuneOutcome
    from llamacli.bench.tune.weigh import QualityBound, Weighed, WeighedType
    from llamacli.cli.framework.terminal.signals import Guard
    from llamacli.engine.runtime.canceller import Canceller

DEFAULT_BOUND = 0.01
"""The largest increase of perplexity: 1 %."""


def weigh(
    app: AppContext,
    path: Path,
    outcome: TuneOutcome,
    wanted: tuple[QualityBound, Path | None],
    child: ChildParams,
    guard: Guard,
) -> tuple[TuneOutcome, Weighed]:
    """Return the outcome without settings that cost too much, and what was weighed.

    `wanted` are the bound, and the file for the quantization that is proposed; None keeps none.

    Raises:
        CancelledError: if a signal ended it.
        LlamacliError: if nothing can be judged, or the file cannot be written.
    """
    from llamacli.bench.tune.weigh import Weighed, changes_results, weigh_settings, without_lossy_settings
    from llamacli.engine.runtime.canceller import Canceller

    bound, cancel = wanted[0], Canceller()
    guard.cancel = cancel.set
    settings = None
    if changes_results(outcome.report):
        with app.open_bench([path], cancel, loras=outcome.report.best.model.loras, child=child) as process:
            settings = weigh_settings(process, path, outcome.report, bound)
        if not settings.is_inside:
            outcome = replace(outcome, report=without_lossy_settings(outcome.report, settings))
    types: list[WeighedType] = []
    if outcome.types is None:
        return outcome, Weighed(settings=settings, types=(), chosen=None)
    place = paths.cache_dir() if wanted[1] is None else wanted[1].absolute().parent
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".llamacli-tune-", dir=place) as folder:
        types += _weighed_types(app, path, outcome, bound, Path(folder), (child, guard, cancel))
        chosen = next((one for one in types if one.loss is not None and one.loss.is_inside), None)
        made = None
        if chosen is not None and wanted[1] is not None:
            made = _kept(Path(folder) / f"{chosen.speed.type}.gguf", wanted[1])
    return outcome, Weighed(settings=settings, types=tuple(types), chosen=chosen, file=made)


def _weighed_types(
    app: AppContext,
    path: Path,
    outcome: TuneOutcome,
    bound: QualityBound,
    folder: Path,
    control: tuple[ChildParams, Guard, Canceller],
) -> list[WeighedType]:
    from llamacli.bench.tune.weigh import WeighedType, weigh_types

    assert outcome.types is not None  # the caller has checked
    loras, (child, guard, cancel) = outcome.report.best.model.loras, control

    def open_process(target: Path) -> BenchProcess:
        return app.open_bench([target, path], cancel, loras=loras, child=child)

    found: list[WeighedType] = []
    events = weigh_types(open_process, path, outcome.report.best, outcome.types, bound, folder, child)
    with app.progress() as line:
        for event in events:
            if isinstance(event, WeighedType):
                found.append(event)
            else:
                guard.cancel = None if event.quantizes else cancel.set  # a signal then interrupts this process
                line.update(event.text, len(found), None, at_once=True)
    return found


def _kept(made: Path, target: Path) -> Path:
    """Give the file its name, unless another process has taken that meanwhile."""
    try:
        target.hardlink_to(made)
    except FileExistsError:
        raise LlamacliError(f"{target} was created by another process meanwhile", hint="choose another name") from None
    except OSError:  # a file system without hard links
        made.rename(target)
    return target

"""`llamacli bench roofline`: how near a model comes to what this machine can do."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, cast

from llamacli.cli.bench.job_options import JobOptions, way_of
from llamacli.cli.framework.command import command
from llamacli.cli.framework.console import Style
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import ContextOptions, JsonOption, ModelOptions
from llamacli.errors import CancelledError

if TYPE_CHECKING:
    from llamacli.bench.measure.trial import Way
    from llamacli.bench.roofline.model import Job, RooflineReport

GRACE_SECONDS = 5.0
"""How long a measurement may take to notice Ctrl-C."""


@command(
    examples=(
        ("What bounds the speed of this model here?", "llamacli bench roofline -m model.gguf"),
        ("With a long context, and four threads.", "llamacli bench roofline -d 4096 -t 4"),
    )
)
def roofline(
    app: AppContext, *, job: JobOptions, model: ModelOptions, context: ContextOptions, json: JsonOption = False
) -> None:
    """Show how near a model comes to what this machine can do.

    Measures how fast memory is read and how fast ggml multiplies with each type of weights, counts what a token of this model
    needs of both, and compares the speed that follows with the one that is reached. Takes about 20 seconds.
    """
    from llamacli.bench.roofline.model import Job
    from llamacli.render.bench.roofline import format_roofline, roofline_document

    path = app.find_model(app, model.model, offline=model.offline)
    way = way_of(model, context)
    wanted = Job(
        n_prompt=job.n_prompt,
        n_gen=job.n_gen,
        depth=job.n_depth,
        ubatch=way.context.n_ubatch,
        cache_type_k=way.context.cache_type_k,
        cache_type_v=way.context.cache_type_v,
    )
    report, console = _measure(app, path, way, wanted), app.console
    if json:
        console.write(json_format.dumps(roofline_document(report), indent=2, allow_nan=False) + "\n")
    else:
        paint = lambda text, style: console.styled(text, cast("Style", style), stdout=True)  # noqa: E731
        console.write(format_roofline(report, width=console.width, paint=paint))
    for warning in report.warnings:
        console.warn(warning)


def _measure(app: AppContext, path: Path, way: Way, job: Job) -> RooflineReport:
    from llamacli.bench.measure.monitor import machine_notes
    from llamacli.bench.roofline.measure import measure_roofline
    from llamacli.bench.roofline.model import RooflineReport
    from llamacli.engine.runtime.cancel import CancelFlag

    for note in machine_notes():
        app.console.warn(note)
    flag = CancelFlag()
    with app.interrupts.guard(grace=GRACE_SECONDS) as guard, app.progress() as line:
        guard.cancel = flag.set
        try:
            for event in measure_roofline(path, way, job, flag, lambda share: line.update("loading", share, 1.0)):
                if isinstance(event, RooflineReport):
                    return event
                line.update(f"measuring {event.what}", event.done, event.total, at_once=True)
        except CancelledError:
            if guard.received is None:
                raise
    raise AssertionError("the report is the last event")

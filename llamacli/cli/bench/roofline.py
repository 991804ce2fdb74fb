"""`llamacli bench roofline`: compare a model's speed with the limits of this machine."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.cli.bench.job_options import JobOptions, setup_of
from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import ContextOptions, JsonOption, ModelOptions
from llamacli.errors import CancelledError

if TYPE_CHECKING:
    from llamacli.backend.child.params import ChildParams
    from llamacli.bench.measure.setup import Setup
    from llamacli.bench.roofline.model import RooflineJob, RooflineReport

GRACE_SECONDS = 5.0
"""Seconds that a measurement may take to notice Ctrl-C."""


@command(
    examples=(
        ("Show what limits the speed of a model.", "llamacli bench roofline -m model.gguf"),
        ("Measure with a long context and four threads.", "llamacli bench roofline -d 4096 -t 4"),
    ),
    common=("-m", "-d", "-t", "-ngl", "--json"),
)
def roofline(
    app: AppContext, *, job: JobOptions, model: ModelOptions, context: ContextOptions, json: JsonOption = False
) -> None:
    """Show which share of this machine's limits a model reaches.

    Measures the rates of reading memory and of ggml's products with each type of weights, counts the bytes and operations of a
    token of this model, and compares the resulting limit with the measured speed. Takes about 20 seconds.
    """
    from llamacli.bench.roofline.model import RooflineJob
    from llamacli.cli.bench.report import painter
    from llamacli.render.bench.roofline import format_roofline, roofline_document

    path = app.find_model(app, model.model, offline=model.offline)
    setup = setup_of(model, context)
    wanted = RooflineJob(
        n_prompt=job.n_prompt,
        n_gen=job.n_gen,
        depth=job.n_depth,
        ubatch=setup.context.n_ubatch,
        cache_type_k=setup.context.cache_type_k,
        cache_type_v=setup.context.cache_type_v,
    )
    report, console = _measure(app, path, setup, wanted, model.child()), app.console
    if json:
        console.write(json_format.dumps(roofline_document(report), indent=2, allow_nan=False) + "\n")
    else:
        console.write(format_roofline(report, width=console.width, paint=painter(console)))
    for warning in report.warnings:
        console.warn(warning)


def _measure(app: AppContext, path: Path, setup: Setup, job: RooflineJob, child: ChildParams) -> RooflineReport:
    from llamacli.bench.child.contract import ROOFLINE, RooflineRequest
    from llamacli.bench.measure.monitor import machine_notes
    from llamacli.bench.roofline.model import RooflineReport
    from llamacli.engine.runtime.canceller import Canceller

    for note in machine_notes():
        app.console.warn(note)
    cancel = Canceller()
    with (
        app.open_bench([path], cancel, loras=setup.model.loras, child=child) as process,
        app.interrupts.guard(grace=GRACE_SECONDS) as guard,
        app.progress() as line,
    ):
        guard.cancel = cancel.set
        process.on_load = lambda share: line.update("loading", share, 1.0)
        try:
            for event in process.follow(ROOFLINE, RooflineRequest(str(path), setup, job)):
                if isinstance(event, RooflineReport):
                    return event
                line.update(f"measuring {event.text}", event.done, event.total, at_once=True)
        except CancelledError:
            if guard.received is None:
                raise
    raise AssertionError("the report is the last event")

"""`llamacli bench tune`: find the fastest settings for a model on this machine, and save them."""

from __future__ import annotations

import json as json_format
import re
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, cast, get_args

from llamacli.cli.bench.job_options import JobOptions, setup_of
from llamacli.cli.bench.tune_quality import DEFAULT_BOUND, weigh
from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import ContextOptions, JsonOption, ModelOptions
from llamacli.cli.framework.parameters import option
from llamacli.cli.framework.parsers import parse_float, parse_names
from llamacli.cli.framework.signature import options_of
from llamacli.engine.params import CacheType
from llamacli.errors import CancelledError, UsageError
from llamacli.store.models.references import is_path

if TYPE_CHECKING:
    from llamacli.backend.child.params import ChildParams
    from llamacli.bench.measure.setup import Setup
    from llamacli.bench.tune.session import TuneOutcome, TuneRequest
    from llamacli.bench.tune.weigh import Weighed
    from llamacli.cli.framework.terminal.signals import Guard

GRACE_SECONDS = 10.0
"""Seconds that the end of a measurement and the report may take after Ctrl-C."""

_PROFILE = re.compile(r"[^\x00-\x1f\x7f]+")


def parse_cache_types(text: str) -> tuple[CacheType, ...]:
    """Parse comma-separated cache types. Raises ValueError for an unknown one."""
    names = parse_names(text)
    unknown = [name for name in names if name not in get_args(CacheType)]
    if unknown or not names:
        raise ValueError(f"'{text}' is not a comma-separated list of {', '.join(get_args(CacheType))}")
    return cast("tuple[CacheType, ...]", names)


def parse_percent(text: str) -> float:
    """Parse a percentage above 0, with or without its sign; return it as a share. Raises ValueError."""
    value = parse_float(text.strip().removesuffix("%"))
    if not 0 < value <= 1000:
        raise ValueError(f"{text!r} is not a percentage above 0")
    return value / 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOptions:
    """The search, and the use of its result."""

    PANEL: ClassVar[str] = "Tuning"

    budget: Annotated[
        float, option("--budget", metavar="SECONDS", shows=120, help="Time budget in seconds.", environment=False)
    ] = 120.0
    cache_types: Annotated[
        tuple[CacheType, ...],
        option(
            "--cache-types", metavar="TYPES", parser=parse_cache_types, environment=False,
            help="Cache types to try, such as f16,q8_0; types below f16 lower the quality.",
        ),
    ] = ()  # fmt: skip
    quantizations: Annotated[
        bool,
        option("--quantizations/--no-quantizations", help="Also estimate the speed of other quantizations.", environment=False),
    ] = True
    quality: Annotated[
        bool,
        option(
            "--quality", environment=False,
            help="Weigh quality: keep only settings and find a quantization whose loss stays inside the bound.",
        ),
    ] = False  # fmt: skip
    max_ppl_increase: Annotated[
        float | None,
        option(
            "--max-ppl-increase", metavar="PCT", parser=parse_percent, shows="1%", environment=False,
            help="The bound of --quality on the relative increase of perplexity.",
        ),
    ] = None  # fmt: skip
    max_kld: Annotated[
        float | None,
        option(
            "--max-kld", metavar="NATS", environment=False,
            help="A bound of --quality on the mean KL divergence from the file as it is.",
        ),
    ] = None  # fmt: skip
    make: Annotated[
        Path | None,
        option("--make", metavar="FILE", environment=False, help="Keep the quantization that --quality proposes."),
    ] = None
    save_profile: Annotated[
        str | None,
        option("--save-profile", metavar="NAME", help="Save the result as a profile, for --profile NAME.", environment=False),
    ] = None
    save_for_model: Annotated[
        bool, option("--save-for-model", help="Save the result in the settings of this model.", environment=False)
    ] = False

    def __post_init__(self) -> None:
        if self.save_profile is not None and not _PROFILE.fullmatch(self.save_profile):
            raise UsageError("--save-profile needs a name without control characters")
        if not self.quality and any(one is not None for one in (self.max_ppl_increase, self.max_kld, self.make)):
            raise UsageError("--max-ppl-increase, --max-kld and --make need --quality")
        if self.max_kld is not None and self.max_kld <= 0:
            raise UsageError("--max-kld must be above 0")
        if self.make is not None and (self.make.exists() or self.make.is_symlink()):
            raise UsageError(f"{self.make} exists already", hint="choose another name, or remove the file first")


@command(
    examples=(
        (
            "Save the fastest settings as a profile, for `llamacli run --profile fast`.",
            "llamacli bench tune --save-profile fast",
        ),
        ("Save them in the settings of a model.", "llamacli bench tune -m qwen --save-for-model"),
        ("Tune for long prompts and short answers, in a minute.", "llamacli bench tune -p 2048 -n 32 --budget 60"),
        ("Also try a smaller KV cache.", "llamacli bench tune --cache-types f16,q8_0"),
        (
            "Make the fastest file that costs at most 2 %.",
            "llamacli bench tune --quality --max-ppl-increase 2 --make o.gguf",
        ),
    ),
    common=("-m", "-p", "-n", "--budget", "--save-profile", "--save-for-model", "--quality", "--make", "--json"),
)
def tune(
    app: AppContext,
    *,
    job: JobOptions,
    tuning: TuneOptions,
    model: ModelOptions,
    context: ContextOptions,
    json: JsonOption = False,
) -> None:
    """Find the fastest settings for a model on this machine.

    Tries threads, micro-batch, batch, flash attention and layers on GPUs within a time budget, starting from the given settings
    and options. Values race in rounds, and the winners are compared with the start again, so that only gains beyond noise are
    reported. Also estimates whether another quantization would be faster on this machine.

    With --quality, settings that change results and the fastest quantizations are judged on the shipped text, and only those
    are proposed whose perplexity is surely no more than 1 % (--max-ppl-increase) above that of the file as it is.

    Ctrl-C ends the search, shows the results so far and saves nothing.
    """
    from llamacli.bench.tune.params import TunePlan
    from llamacli.bench.tune.session import TuneRequest

    path = app.find_model(app, model.model, offline=model.offline)
    request = TuneRequest(
        plan=TunePlan(budget=tuning.budget, n_prompt=job.n_prompt, n_gen=job.n_gen),
        depth=job.n_depth,
        cache_types=tuning.cache_types,
        types=tuning.quantizations,
    )
    with app.interrupts.guard(grace=GRACE_SECONDS) as guard:
        try:
            outcome = _search(app, path, setup_of(model, context), request, model.child(), guard)
            weighed = None
            if tuning.quality and not outcome.report.interrupted:
                from llamacli.bench.tune.weigh import QualityBound

                bound = QualityBound(perplexity=tuning.max_ppl_increase or DEFAULT_BOUND, divergence=tuning.max_kld)
                outcome, weighed = weigh(app, path, outcome, (bound, tuning.make), model.child(), guard)
        except CancelledError:
            if guard.received is None:
                raise
            return
        _show(app, outcome, weighed, model.model, path, as_json=json)
    _save(app, outcome, tuning, model.model)


def _search(app: AppContext, path: Path, start: Setup, request: TuneRequest, child: ChildParams, guard: Guard) -> TuneOutcome:
    """Run the search, with its progress on a terminal."""
    from llamacli.bench.measure.monitor import machine_notes
    from llamacli.bench.tune.session import TuneOutcome, tune_model
    from llamacli.engine.runtime.canceller import Canceller
    from llamacli.render.bench.tune import format_event

    for note in machine_notes():
        app.console.warn(note)
    cancel = Canceller()
    guard.cancel = cancel.set
    started = time.monotonic()
    with app.open_bench([path], cancel, loras=start.model.loras, child=child) as process, app.progress() as line:
        process.on_load = lambda share: line.update("loading", share, 1.0)
        for event in tune_model(process, path, start, request):
            if isinstance(event, TuneOutcome):
                return event
            spent, budget = time.monotonic() - started, request.plan.budget
            line.update(format_event(event), min(spent, budget), budget, at_once=True)
    raise AssertionError("the outcome is the last event")


def _show(
    app: AppContext, outcome: TuneOutcome, weighed: Weighed | None, reference: str | None, path: Path, *, as_json: bool
) -> None:
    from llamacli.cli.bench.report import painter
    from llamacli.render.bench.tune import format_tuning, tuning_document

    console = app.console
    if as_json:
        document = tuning_document(outcome, flag=flag_of)
        if weighed is not None:
            from llamacli.render.bench.weighed import weighed_document

            document["quality"] = weighed_document(weighed)
        console.write(json_format.dumps(document, indent=2, allow_nan=False) + "\n")
    else:
        text = format_tuning(outcome, source=reference, path=path, width=console.width, paint=painter(console), flag=flag_of)
        console.write(text)
        if weighed is not None:
            from llamacli.render.bench.weighed import format_weighed

            console.write(format_weighed(weighed, width=console.width))
    for warning in outcome.warnings:
        console.warn(warning)


def _save(app: AppContext, outcome: TuneOutcome, tuning: TuneOptions, reference: str | None) -> None:
    """Write the best settings into the user's settings file."""
    from llamacli.bench.tune.profile import profile_of
    from llamacli.cli.framework.settings import settings
    from llamacli.store.files import paths
    from llamacli.store.models.resolve import names_of
    from llamacli.store.settings import edit as settings_edit
    from llamacli.store.settings import settings as store

    file, values = paths.settings_file(), profile_of(outcome.report)

    def write(location: store.KeyPath) -> None:
        settings_edit.set_values(file, location, values, lambda one: store.problems(one, settings.all_keys()))

    if tuning.save_profile is not None:
        write(("profiles", tuning.save_profile))
        app.console.note(f"saved as a profile in {file}; use it with --profile {shlex.quote(tuning.save_profile)}")
    if tuning.save_for_model:
        names = names_of(reference, settings.current().aliases())
        name = names[-1] if is_path(names[0]) else names[0]
        write(("models", name))
        app.console.note(f"saved for the model {name} in {file}")


def flag_of(name: str) -> str:
    """Return the first name of the option for a parameter of the search, or for a key of the settings."""
    options = (option for group in (JobOptions, TuneOptions, ModelOptions, ContextOptions) for option in options_of(group))
    return next((option.opts[0] for option in options if option.name == name or f"--{name}" in option.opts), f"--{name}")

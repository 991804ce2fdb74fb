"""`llamacli models quantize`: write a model with weights of fewer bits."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from llamacli.backend.child.params import ChildParams
from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.inputs.files import read_text_file
from llamacli.cli.framework.options import EngineTimeoutOption, SandboxOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.cli.framework.parsers import parse_threads
from llamacli.cli.models.references import ModelArgument
from llamacli.engine.quantization.types import (
    Quantization,
    parse_recipe,
    parse_tensor_rule,
    parse_tensor_type,
    parse_type,
)  # fmt: skip
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.engine.quantization.types import QuantizedSizes

LOSS_WINDOWS = 16
"""Windows of text in which --measure-loss compares."""

GRACE_SECONDS = 10.0

_CHILD = ChildParams()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOptions:
    """The types of single tensors, and what they are chosen by."""

    PANEL: ClassVar[str] = "Recipe"

    imatrix: Annotated[
        Path | None,
        option(
            "--imatrix", metavar="FILE", sets="importance_file", environment=False,
            help="Importance matrix of `models imatrix` or llama-imatrix.",
        ),
    ] = None  # fmt: skip
    tensor_type: Annotated[
        tuple[tuple[str, str], ...],
        option(
            "--tensor-type", metavar="PATTERN=TYPE", parser=parse_tensor_rule, environment=False,
            help="Type of the tensors whose names match a regular expression; the first match counts, can be repeated.",
        ),
    ] = ()  # fmt: skip
    tensor_type_file: Annotated[
        Path | None,
        option("--tensor-type-file", metavar="FILE", environment=False, help="Such rules from a file, one on each line."),
    ] = None
    output_tensor_type: Annotated[
        str, option("--output-tensor-type", metavar="TYPE", environment=False, help="Type of the output matrix.")
    ] = ""
    token_embedding_type: Annotated[
        str, option("--token-embedding-type", metavar="TYPE", environment=False, help="Type of the token embeddings.")
    ] = ""
    pure: Annotated[bool, option("--pure", help="Use the same type for every tensor.", environment=False)] = False

    def quantization(self, source: Path, type_name: str) -> Quantization:
        """Return what is to be done. Raises UsageError if a type is unknown, or the file of rules is invalid."""
        return Quantization(
            source=str(source),
            type_name=type_name,
            pure=self.pure,
            tensor_types=self.rules(),
            output_type=self.output_tensor_type and parse_tensor_type(self.output_tensor_type),
            embedding_type=self.token_embedding_type and parse_tensor_type(self.token_embedding_type),
            importance_file="" if self.imatrix is None else str(self.imatrix.absolute()),
        )

    def rules(self) -> tuple[tuple[str, str], ...]:
        """Return all rules, those of options before those of the file. Raises UsageError."""
        file = self.tensor_type_file
        return self.tensor_type + (parse_recipe(read_text_file(file), str(file)) if file is not None else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultOptions:
    """The forecast and the report of the result."""

    PANEL: ClassVar[str] = "Result"

    dry_run: Annotated[
        bool, option("--dry-run", help="Only print the size of the result and its estimated speed.", environment=False)
    ] = False
    forecast: Annotated[bool, option("--forecast", help="Only print the size of the result.", environment=False)] = False
    measure_loss: Annotated[
        bool,
        option("--measure-loss", environment=False, help="Compare the result with the original on the shipped text."),
    ] = False

    def __post_init__(self) -> None:
        if self.measure_loss and (self.dry_run or self.forecast):
            raise UsageError("--measure-loss needs a result: it cannot be used with --dry-run or --forecast")


@command(
    examples=(
        ("Quantize a model.", "llamacli models quantize model-f16.gguf model-q4_k_m.gguf Q4_K_M"),
        ("Weigh what matters with an importance matrix.", "llamacli models quantize --imatrix i.gguf f16.gguf iq2.gguf IQ2_M"),
        ("Mix types.", "llamacli models quantize --tensor-type ffn_down=Q6_K f16.gguf o.gguf Q4_K_M"),
        ("Predict size and speed.", "llamacli models quantize --dry-run f16.gguf q8_0.gguf Q8_0"),
    ),
    common=("--imatrix", "--tensor-type", "--dry-run", "--measure-loss", "--allow-requantize", "-t"),
)
def quantize(
    app: AppContext,
    model: ModelArgument,
    output: Annotated[Path, argument(metavar="OUT", help="Output file, which must not exist.")],
    type: Annotated[str, argument(metavar="TYPE", help="Quantization type: Q4_K_M, Q8_0, F16, ...")],  # noqa: A002
    *,
    recipe: RecipeOptions,
    result: ResultOptions,
    threads: Annotated[
        int | None,
        option(
            "-t", "--threads", metavar="N", parser=parse_threads, shows="all", help="Number of CPU threads.", environment=False
        ),
    ] = None,
    allow_requantize: Annotated[
        bool,
        option(
            "--allow-requantize", help="Accept a model that is already quantized, with a loss of quality.", environment=False
        ),
    ] = False,
    sandbox: SandboxOption = _CHILD.sandbox,
    engine_timeout: EngineTimeoutOption = _CHILD.patience,
) -> None:
    """Quantize a model.

    F16, BF16 and F32 files give the best results. Types of about 3 bits and less need an importance matrix, which says what
    matters in a text of your own (`llamacli models imatrix`), and others gain by one. The output file is written atomically and
    verified; an existing file is never overwritten.
    """
    from llamacli.backend.child import quantizer
    from llamacli.render.models import format_sizes

    name = parse_type(type)
    source = app.find_model(app, model, offline=True)
    asked = replace(recipe.quantization(source, name), threads=threads or 0, allow_requantize=allow_requantize)
    child = ChildParams(sandbox=sandbox, patience=engine_timeout)
    _warn_of_idle_rules(app, asked)
    if result.forecast or result.dry_run:
        _forecast(app, asked, child, with_speed=result.dry_run)
        return
    with app.progress() as bar:
        sizes = quantizer.quantize(
            asked, output, child, on_progress=lambda done, total: bar.update(f"quantizing to {name}", done, total)
        )
    app.console.note(f"{output}: {name}, {format_sizes(sizes.before, sizes.after)}")
    if result.measure_loss:
        _measure_loss(app, source, output, child)


def _warn_of_idle_rules(app: AppContext, asked: Quantization) -> None:
    """Warn of each rule whose pattern is in no tensor's name. Raises ModelError if the file cannot be read."""
    from llamacli.gguf.model import read_files

    if not asked.tensor_types:
        return
    names = [tensor.name for tensor in read_files(asked.source).header.tensors]
    for pattern, _ in asked.tensor_types:
        if not any(re.search(pattern, name) for name in names):
            app.console.warn(f"no tensor has a name with {pattern!r}: its rule has no effect")


def _forecast(app: AppContext, asked: Quantization, child: ChildParams, *, with_speed: bool) -> None:
    """Print the size of the result, what it lacks, and how fast it would be here."""
    from llamacli.backend.child import quantizer
    from llamacli.engine.quantization.types import MAKE_IMPORTANCE
    from llamacli.render.models import format_sizes

    sizes: QuantizedSizes = quantizer.forecast(asked, child)
    app.console.write(f"{asked.type_name}: {format_sizes(sizes.before, sizes.after)}\n")
    if sizes.needs_importance:
        remedy = MAKE_IMPORTANCE.replace("importance_file", "--imatrix")
        app.console.warn(f"{asked.type_name} needs an importance matrix: {remedy}")
    if with_speed:
        _write_speed(app, asked, child)


def _write_speed(app: AppContext, asked: Quantization, child: ChildParams) -> None:
    from llamacli.bench.tune.forecast import estimate_speed
    from llamacli.engine.runtime.canceller import Canceller
    from llamacli.render.bench.tune import format_forecast

    source, cancel = Path(asked.source), Canceller()
    with (
        app.open_bench([source], cancel, child=child) as process,
        app.interrupts.guard(grace=GRACE_SECONDS) as guard,
        app.progress() as line,
    ):
        guard.cancel = cancel.set
        process.on_load = lambda share: line.update("loading", share, 1.0)
        found = estimate_speed(process, source, asked.type_name, lambda text: line.update(text, 0, None, at_once=True))
    if found is None:
        app.console.note(f"the speed of {asked.type_name} cannot be estimated")
    else:
        app.console.write(format_forecast(found))


def _measure_loss(app: AppContext, source: Path, result: Path, child: ChildParams) -> None:
    """Print how far the predictions of the result are from those of the original."""
    from llamacli.bench.child.quality import judge_in_child
    from llamacli.bench.measure.setup import Setup
    from llamacli.bench.quality.params import Candidate, QualityPlan, QualityRequest
    from llamacli.bench.quality.result import Collector
    from llamacli.bench.quality.text import shipped_text
    from llamacli.engine.params import ContextParams, ModelParams
    from llamacli.engine.runtime.canceller import Canceller
    from llamacli.render.bench.quality import format_loss, format_running

    setup = Setup(model=ModelParams(), context=ContextParams())
    candidate, reference = (Candidate(path=str(path.absolute()), setup=setup) for path in (result, source))
    plan = QualityPlan(windows=LOSS_WINDOWS)
    request = QualityRequest(candidates=(candidate,), text=shipped_text().data, plan=plan, reference=reference)
    collector, cancel = Collector([candidate]), Canceller()
    with (
        app.open_bench([result.absolute(), source], cancel, child=child) as process,
        app.interrupts.guard(grace=GRACE_SECONDS) as guard,
        app.progress() as line,
    ):
        guard.cancel = cancel.set
        process.on_load = lambda share: line.update("loading", share, 1.0)
        for event in judge_in_child(process, request):
            collector.add(event)
            line.update(format_running(collector.estimate(0)), collector.windows, LOSS_WINDOWS)
    app.console.write(format_loss(collector.results()[0]))

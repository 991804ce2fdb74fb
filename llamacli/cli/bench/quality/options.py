"""The options of `bench quality`: the models and setups, the windows of text, the reference and the questions."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from llamacli.backend.child.params import ChildParams
from llamacli.bench.measure.params import BenchTest
from llamacli.cli.bench.list_options import (
    CacheTypeKOption,
    CacheTypeVOption,
    FlashAttentionOption,
    GpuLayersOption,
    KernelsOption,
    ModelsOption,
    joined,
)  # fmt: skip
from llamacli.cli.framework import parsers
from llamacli.cli.framework.options import EngineTimeoutOption, OfflineOption, SandboxOption
from llamacli.cli.framework.parameters import option
from llamacli.engine.params import LoraAdapter
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.bench.quality.params import QualityPlan
    from llamacli.bench.quality.rows import QualityTest

MOST_CANDIDATES = 256

_CHILD = ChildParams()


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateOptions:
    """The models and setups. Each combination of several values is judged."""

    PANEL: ClassVar[str] = "Setup"

    model: ModelsOption = ()
    offline: OfflineOption = False
    cache_type_k: CacheTypeKOption = ()
    cache_type_v: CacheTypeVOption = ()
    flash_attn: FlashAttentionOption = ()
    kernels: KernelsOption = ()
    lora: Annotated[
        tuple[LoraAdapter, ...],
        option(
            "--lora", metavar="PATH[:SCALE]", parser=parsers.parse_lora, sets="loras", environment=False,
            help="LoRA adapter; can be repeated.",
        ),
    ] = ()  # fmt: skip
    lora_scale: Annotated[
        tuple[tuple[float, ...], ...],
        option(
            "--lora-scale", metavar="LIST", parser=parsers.parse_numbers, shows=1, environment=False,
            help="Factors of all adapters' scales; 0 is without them.",
        ),
    ] = ()  # fmt: skip
    gpu_layers: GpuLayersOption = ()
    threads: Annotated[
        int | None,
        option(
            "-t", "--threads", parser=parsers.parse_threads, metavar="N", shows="physical cores", help="Number of CPU threads."
        ),
    ] = None
    batch_size: Annotated[
        int, option("-b", "--batch-size", shows=2048, sets="n_batch", help="Batch size in tokens, of windows side by side.")
    ] = 2048
    ubatch_size: Annotated[
        int, option("-ub", "--ubatch-size", shows=512, sets="n_ubatch", help="Micro-batch size in tokens.")
    ] = 512
    sandbox: SandboxOption = _CHILD.sandbox
    engine_timeout: EngineTimeoutOption = _CHILD.patience

    def __post_init__(self) -> None:
        if self.lora_scale and not self.lora:
            raise UsageError("--lora-scale needs --lora")

    @property
    def references(self) -> tuple[str | None, ...]:
        """The references of the models; None is the default model."""
        return joined(self.model) or (None,)

    def child(self) -> ChildParams:
        """Return the parameters of the process that evaluates."""
        return ChildParams(sandbox=self.sandbox, patience=self.engine_timeout)

    def grid(self, models: Sequence[str], n_ctx: int) -> list[QualityTest]:
        """Return all combinations, those of one model file together.

        Raises:
            UsageError: if there are too many, or a value is out of range.
        """
        from llamacli.bench.quality.rows import QualityTest

        axes: dict[str, Sequence[Any]] = {"model": models}
        given = {
            "n_gpu_layers": self.gpu_layers, "kernels": self.kernels, "type_k": self.cache_type_k,
            "type_v": self.cache_type_v, "flash_attn": self.flash_attn,
        }  # fmt: skip
        axes |= {name: joined(values) for name, values in given.items() if values}
        scales = joined(self.lora_scale) or (1.0,)
        count = len(scales) * math.prod(map(len, axes.values()))
        if count > MOST_CANDIDATES:
            raise UsageError(f"{count:,} combinations are too many for one run: at most {MOST_CANDIDATES} are possible")
        common: dict[str, Any] = {"n_batch": self.batch_size, "n_ubatch": self.ubatch_size}
        if self.threads is not None:
            common["n_threads"] = self.threads
        return [
            QualityTest(
                test=BenchTest(**dict(zip(axes, values, strict=True)), **common, workload="quality", n_prompt=n_ctx),
                loras=self._adapters(scale),
            )
            for values in itertools.product(*axes.values())
            for scale in scales
        ]

    def _adapters(self, factor: float) -> tuple[LoraAdapter, ...]:
        if factor == 0:
            return ()
        return tuple(LoraAdapter(path=one.path, scale=one.scale * factor) for one in self.lora)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions:
    """The windows of text, and the reference."""

    PANEL: ClassVar[str] = "Quality"

    ctx_size: Annotated[
        int | None,
        option("-c", "--ctx-size", "--ctx", shows=512, sets="n_ctx", environment=False, help="Tokens of a window."),
    ] = None
    stride: Annotated[
        int | None,
        option(
            "--stride", "--ppl-stride", metavar="N", shows="as -c", environment=False,
            help="Tokens from one window to the next; the last N of each are judged.",
        ),
    ] = None  # fmt: skip
    windows: Annotated[
        int | None,
        option("--windows", "--chunks", metavar="N", shows="all", environment=False, help="Maximum number of windows."),
    ] = None
    budget: Annotated[
        float | None,
        option("--budget", metavar="SECONDS", environment=False, help="Begin no window after that many seconds."),
    ] = None
    reference: Annotated[
        str | None,
        option(
            "--reference", metavar="MODEL|FILE", environment=False,
            help="Compare with this model, with the KV cache in f16, or with the file of --save-logits.",
        ),
    ] = None  # fmt: skip
    save_logits: Annotated[
        Path | None,
        option(
            "--save-logits", "--save-all-logits", metavar="FILE", environment=False,
            help="Write the log probabilities of the whole vocabulary, as llama-perplexity does.",
        ),
    ] = None  # fmt: skip

    def __post_init__(self) -> None:
        if self.save_logits is not None and (self.budget is not None or self.stride is not None):
            raise UsageError(
                "--save-logits cannot be used with --budget or --stride: the file begins with the number of windows"
            )

    def refuse_any(self, flag: str) -> None:
        """Raise UsageError if any of these options was given beside `flag`, which judges no text."""
        names = {"ctx_size": "-c", "save_logits": "--save-logits"}
        for field in dataclasses.fields(self):
            if getattr(self, field.name) is not None:
                raise UsageError(f"{names.get(field.name, f'--{field.name}')} cannot be used with {flag}: it is for texts")

    def plan(self, n_ctx: int) -> QualityPlan:
        """Return the plan for windows of `n_ctx` tokens. Raises UsageError if a number is out of range."""
        from llamacli.bench.quality.params import QualityPlan

        return QualityPlan(n_ctx=n_ctx, stride=self.stride, windows=self.windows, budget=self.budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions:
    """Questions in place of a text."""

    PANEL: ClassVar[str] = "Questions"

    tasks: Annotated[
        Path | None,
        option(
            "--tasks", metavar="FILE", environment=False,
            help="JSON lines with multiple choice: context, choices, answer; or as in HellaSwag, ARC, MMLU, Winogrande.",
        ),
    ] = None  # fmt: skip
    exact: Annotated[
        Path | None,
        option(
            "--exact", metavar="FILE", environment=False,
            help="JSON lines with prompt and expected; compare is match, contains, regex or json.",
        ),
    ] = None  # fmt: skip
    questions: Annotated[
        int | None, option("--questions", metavar="N", shows="all", environment=False, help="Maximum number of questions.")
    ] = None
    fail_below: Annotated[
        float | None,
        option("--fail-below", metavar="SHARE", environment=False, help="Exit with 8 if fewer answers are right, such as 0.9."),
    ] = None

    def __post_init__(self) -> None:
        if self.tasks is not None and self.exact is not None:
            raise UsageError("--tasks and --exact cannot be used together")
        if self.questions is not None and self.questions < 1:
            raise UsageError("--questions must be at least 1")
        if self.fail_below is not None and not 0 < self.fail_below <= 1:
            raise UsageError("--fail-below must be a share above 0, and at most 1")
        if self.file is None and (self.questions is not None or self.fail_below is not None):
            raise UsageError("--questions and --fail-below need --tasks or --exact")

    @property
    def file(self) -> Path | None:
        """The file of questions, None if a text is judged."""
        return self.tasks or self.exact

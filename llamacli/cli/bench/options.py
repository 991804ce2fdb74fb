"""The options of `bench`: llama-bench's, which accept lists, and our own. List options can be repeated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from llamacli.backend.child.params import ChildParams
from llamacli.bench.measure.params import MeasurePlan, Workload
from llamacli.cli.bench import ranges as lists
from llamacli.cli.bench.list_options import (
    CacheTypeKOption,
    CacheTypeVOption,
    FlashAttentionOption,
    GpuLayersOption,
    KernelsOption,
    ModelsOption,
    Numbers,
    joined,
)  # fmt: skip
from llamacli.cli.bench.plot import PlotOption
from llamacli.cli.framework.options import EngineTimeoutOption, JsonOption, OfflineOption, RpcOption, SandboxOption
from llamacli.cli.framework.options.projector import MmprojOption
from llamacli.cli.framework.parameters import option
from llamacli.engine.params import LoadMode, SplitMode

RowFormatName = Literal["table", "md", "csv", "json", "jsonl", "sql"]
OutputFormat = Literal["table", "md", "csv", "json", "jsonl", "sql", "none"]

_PLAN = MeasurePlan()
_CHILD = ChildParams()

Switches = tuple[tuple[bool, ...], ...]


def _numbers(*names: str, help: str, **more: Any) -> Any:  # noqa: A002
    return option(*names, metavar="LIST", parser=lists.parse_ranges, help=help, **more)


def _switches(*names: str, help: str, **more: Any) -> Any:  # noqa: A002
    return option(*names, metavar="0|1", parser=lists.parse_switches, shows=more.pop("shows", 0), help=help, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOptions:
    """The tests."""

    PANEL: ClassVar[str] = "Tests"

    model: ModelsOption = ()
    offline: OfflineOption = False
    n_prompt: Annotated[
        Numbers, _numbers("-p", "--n-prompt", shows=512, help="Number of prompt tokens; 0 skips this test.")
    ] = ()
    n_gen: Annotated[
        Numbers, _numbers("-n", "--n-gen", shows=128, help="Number of tokens to generate; 0 skips this test.")
    ] = ()
    prompt_gen: Annotated[
        tuple[tuple[int, int], ...],
        option(
            "-pg", "--prompt-gen", metavar="PP,TG", parser=lists.parse_pair, help="A test of a prompt followed by generation."
        ),
    ] = ()
    n_depth: Annotated[Numbers, _numbers("-d", "--n-depth", shows=0, help="Number of tokens already in the context.")] = ()
    parallel: Annotated[
        Numbers, _numbers("--parallel", shows=1, help="Number of parallel sequences; speeds are their sum.")
    ] = ()
    latency: Annotated[
        bool,
        option(
            "--latency", environment=False,
            help="Measure the time to the first token and between tokens, for each -p with each -n.",
        ),
    ] = False  # fmt: skip
    end_to_end: Annotated[
        bool,
        option(
            "--end-to-end", environment=False,
            help="Measure a chat turn with template, tokenization, sampling and text, for each -p with each -n.",
        ),
    ] = False  # fmt: skip
    image: Annotated[
        tuple[tuple[str, ...], ...],
        option(
            "--image", metavar="WxH", parser=lists.parse_texts, environment=False,
            help="Measure a chat turn with a made picture of this size in pixels, for each -p (beside it) with each -n.",
        ),
    ] = ()  # fmt: skip
    mmproj: MmprojOption = None

    @property
    def references(self) -> tuple[str | None, ...]:
        """The references of the models; None is the default model."""
        return joined(self.model) or (None,)

    def sizes(self) -> Iterator[tuple[Workload, int, int]]:
        """Yield the workload, the prompt tokens and the tokens to generate of each test."""
        prompts, answers = joined(self.n_prompt) or (512,), joined(self.n_gen) or (128,)
        asked: dict[Workload, bool] = {
            "latency": self.latency, "end-to-end": self.end_to_end, "image": bool(self.image),
        }  # fmt: skip
        workloads = [workload for workload, wanted in asked.items() if wanted]
        if not workloads:
            yield from (("speed", prompt, 0) for prompt in prompts if prompt)
            yield from (("speed", 0, answer) for answer in answers if answer)
            yield from (("speed", *pair) for pair in self.prompt_gen if any(pair))
            return
        pairs = [pair for pair in itertools.product(prompts, answers) if all(pair)]
        for workload, pair in itertools.product(workloads, [*pairs, *self.prompt_gen]):
            yield workload, *pair


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupOptions:
    """The parameters of loading and evaluation. Each combination of several values is measured."""

    PANEL: ClassVar[str] = "Setup"

    batch_size: Annotated[
        Numbers, _numbers("-b", "--batch-size", shows=2048, help="Batch size in tokens.", sets="n_batch")
    ] = ()
    ubatch_size: Annotated[
        Numbers, _numbers("-ub", "--ubatch-size", shows=512, help="Micro-batch size in tokens.", sets="n_ubatch")
    ] = ()
    threads: Annotated[Numbers, _numbers("-t", "--threads", shows="physical cores", help="Number of CPU threads.")] = ()
    cpu_mask: Annotated[
        tuple[tuple[str, ...], ...],
        option(
            "-C", "--cpu-mask", metavar="HEX", parser=lists.parse_texts, shows="0x0", environment=False,
            help="Mask of the CPUs that threads may run on.",
        ),
    ] = ()  # fmt: skip
    cpu_strict: Annotated[Switches, _switches("--cpu-strict", help="Bind each thread to one CPU.", environment=False)] = ()
    poll: Annotated[
        Numbers,
        _numbers("--poll", shows=50, help="Polling level of waiting threads, from 0 (sleep) to 100.", environment=False),
    ] = ()
    flash_attn: FlashAttentionOption = ()
    cache_type_k: CacheTypeKOption = ()
    cache_type_v: CacheTypeVOption = ()
    gpu_layers: GpuLayersOption = ()
    split_mode: Annotated[
        tuple[tuple[SplitMode, ...], ...],
        option(
            "-sm", "--split-mode", metavar="none|layer|row|tensor", parser=lists.parse_splits, shows="layer",
            help="Distribution of a model over several GPUs.",
        ),
    ] = ()  # fmt: skip
    main_gpu: Annotated[Numbers, _numbers("-mg", "--main-gpu", shows=0, help="GPU to use with -sm none.")] = ()
    device: Annotated[
        tuple[tuple[tuple[str, ...], ...], ...],
        option(
            "-dev", "--device", metavar="A/B", parser=lists.parse_devices, shows="auto", environment=False,
            help="Devices to use, slash-separated; `none` is the CPU.",
        ),
    ] = ()  # fmt: skip
    tensor_split: Annotated[
        tuple[tuple[tuple[float, ...], ...], ...],
        option(
            "-ts", "--tensor-split", metavar="N/N", parser=lists.parse_shares, environment=False,
            help="Share of each GPU, slash-separated.",
        ),
    ] = ()  # fmt: skip
    load_mode: Annotated[
        tuple[tuple[LoadMode, ...], ...],
        option(
            "-lm", "--load-mode", metavar="MODES", parser=lists.parse_load_modes, shows="auto", environment=False,
            help="Loading mode of the file: auto, none, mmap, mlock, mmap+mlock or dio.",
        ),
    ] = ()  # fmt: skip
    mmap: Annotated[
        Switches, _switches("-mmp", "--mmap", help="Short for -lm none (0) and -lm mmap (1).", environment=False, shows=1)
    ] = ()
    no_kv_offload: Annotated[
        Switches, _switches("-nkvo", "--no-kv-offload", help="Keep the KV cache off the GPU.", environment=False)
    ] = ()
    no_op_offload: Annotated[
        Switches,
        _switches(
            "-nopo", "--no-op-offload", help="Do not offload operations of the CPU's layers to the GPU.", environment=False
        ),
    ] = ()
    embeddings: Annotated[
        Switches, _switches("-embd", "--embeddings", help="Compute embeddings as well.", environment=False)
    ] = ()
    no_host: Annotated[Switches, _switches("--no-host", help="Do not use host buffers.", environment=False)] = ()
    repack: Annotated[
        Switches, _switches("--repack", shows=1, help="Repack weights into the layout of this CPU.", environment=False)
    ] = ()
    kernels: KernelsOption = ()
    draft: Annotated[
        tuple[tuple[int | None, ...], ...],
        option(
            "--draft", metavar="auto|off|N", parser=lists.parse_drafts, shows="off", environment=False,
            help="Most tokens to guess and evaluate together, with --end-to-end.",
        ),
    ] = ()  # fmt: skip
    prompt_cache: Annotated[
        Switches,
        _switches("--prompt-cache", help="The prompt was read before, and is kept; with --end-to-end.", environment=False),
    ] = ()
    rpc: RpcOption = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """The repetitions, and the process that runs them."""

    PANEL: ClassVar[str] = "Repetitions"

    repetitions: Annotated[
        int, option("-r", "--repetitions", help="Number of repetitions of each test; tests are interleaved.")
    ] = _PLAN.repetitions
    until_stable: Annotated[
        float | None,
        option("--until-stable", metavar="PCT", help="Repeat at least -r times, until the median is known to ±PCT percent."),
    ] = _PLAN.until_stable
    delay: Annotated[float, option("--delay", metavar="SECONDS", help="Rest before each repetition, in seconds.")] = _PLAN.delay
    no_warmup: Annotated[bool, option("--no-warmup", help="Do not warm up first.", environment=False)] = False
    sandbox: SandboxOption = _CHILD.sandbox
    engine_timeout: EngineTimeoutOption = _CHILD.patience

    def child(self) -> ChildParams:
        """Return the parameters of the process that measures."""
        return ChildParams(sandbox=self.sandbox, patience=self.engine_timeout)

    def plan(self) -> MeasurePlan:
        """Return the plan that these options describe."""
        return MeasurePlan(
            repetitions=self.repetitions, warmup=not self.no_warmup, delay=self.delay, until_stable=self.until_stable
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """The output of rows."""

    PANEL: ClassVar[str] = "Output"

    output: Annotated[
        OutputFormat | None,
        option(
            "-o", "--output", shows="table on a terminal, else md", environment=False,
            help="Format of standard output; md, csv, json, jsonl and sql are llama-bench's, with additional columns.",
        ),
    ] = None  # fmt: skip
    json: JsonOption = False
    output_err: Annotated[
        OutputFormat, option("-oe", "--output-err", environment=False, help="Format of rows on standard error.")
    ] = "none"
    progress: Annotated[bool, option("--progress", environment=False, help="Report each step on standard error.")] = False
    plot: PlotOption = None
    no_save: Annotated[bool, option("--no-save", help="Do not store the run in the history.")] = False

"""Every option that more than one command has, declared once. Help, man pages, completions and settings derive from these.

Names are llama.cpp's where it has one. Defaults are the engine's; one that depends on the model or on the machine is None, and
the help says in brackets what happens then.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from llamacli.cli.framework import parsers as values
from llamacli.cli.framework.console import ColorMode
from llamacli.cli.framework.files import read_text_file
from llamacli.cli.framework.parameters import option
from llamacli.engine.params import (
    DEFAULT_SAMPLERS,
    CacheType,
    ContextParams,
    FlashAttention,
    GenerationParams,
    LoraAdapter,
    ModelParams,
    RopeScaling,
    SamplingParams,
    SplitMode,
)
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.engine.engine import Engine

_TEMPLATE_FILES = (".jinja", ".jinja2", ".j2", ".txt")

_MODEL, _CONTEXT, _SAMPLING, _GENERATION = ModelParams(), ContextParams(), SamplingParams(), GenerationParams()


def show_help(ctx: typer.Context, value: bool) -> None:
    """Prints the help and ends the program."""
    if value and not ctx.resilient_parsing:
        from llamacli.cli.framework.help import format_help

        console = ctx.obj.console
        console.write(format_help(ctx, width=console.width, bold=lambda text: console.styled(text, "bold", stdout=True)))
        raise typer.Exit


ModelOption = Annotated[
    str | None,
    option(
        "-m", "--model", metavar="MODEL", shows="the demo model",
        help="A GGUF file, hf:user/repo[:quant], an https:// address, or a name from `llamacli models list`.",
    ),
]  # fmt: skip

OfflineOption = Annotated[bool, option("--offline", help="Never fetch anything.")]

JsonOption = Annotated[bool, option("--json", help="Write one JSON document.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonOptions:
    """What every command has. The frame obeys these; commands never see them."""

    PANEL: ClassVar[str] = "Common"

    color: Annotated[ColorMode, option("--color", help="Whether to use colours.")] = "auto"
    verbose: Annotated[
        int, option("-v", "--verbose", count=True, help="Show the log on standard error; -vv shows all of it.")
    ] = 0
    profile: Annotated[str | None, option("--profile", metavar="NAME", help="Use a profile from the settings.")] = None
    debug: Annotated[bool, option("--debug", help="On an error show the traceback, too.")] = False
    help: Annotated[bool, option("-h", "--help", help="Show this help.", callback=show_help, environment=False)] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Which model, and how it is loaded."""

    PANEL: ClassVar[str] = "Model"

    model: ModelOption = None
    offline: OfflineOption = False
    lora: Annotated[
        tuple[LoraAdapter, ...],
        option(
            "--lora", metavar="PATH[:SCALE]", parser=values.parse_lora, help="Apply a LoRA adapter; may be given many times."
        ),
    ] = _MODEL.loras
    gpu_layers: Annotated[
        int | None,
        option(
            "-ngl", "--gpu-layers", "--n-gpu-layers", metavar="auto|all|N", parser=values.parse_gpu_layers, shows="auto",
            help="How many layers a GPU holds; auto is what fits.",
        ),
    ] = _MODEL.gpu_layers  # fmt: skip
    device: Annotated[
        tuple[str, ...],
        option(
            "-dev",
            "--device",
            metavar="NAMES",
            parser=values.parse_names,
            help="Devices to use, with commas between; none is the CPU.",
        ),
    ] = _MODEL.devices
    split_mode: Annotated[SplitMode, option("-sm", "--split-mode", help="How a model is spread over several GPUs.")] = (
        _MODEL.split_mode
    )
    tensor_split: Annotated[
        tuple[float, ...],
        option("-ts", "--tensor-split", metavar="N,N", parser=values.parse_numbers, help="Each GPU's share, for example 3,1."),
    ] = _MODEL.tensor_split
    main_gpu: Annotated[int, option("-mg", "--main-gpu", shows=0, help="The GPU that -sm none uses.")] = _MODEL.main_gpu
    mmap: Annotated[bool, option("--mmap/--no-mmap", help="Map the file instead of reading it.")] = _MODEL.mmap
    mlock: Annotated[bool, option("--mlock", help="Keep the model in memory; the system must not swap it out.")] = _MODEL.mlock
    repack: Annotated[
        bool, option("--repack/--no-repack", help="Bring weights into the layout of this CPU's widest instructions.")
    ] = _MODEL.repack
    check_tensors: Annotated[bool, option("--check-tensors", help="Look for invalid numbers in the file while loading.")] = (
        _MODEL.check_tensors
    )

    def params(self) -> ModelParams:
        """What the engine needs of these."""
        return ModelParams(
            gpu_layers=self.gpu_layers,
            split_mode=self.split_mode,
            main_gpu=self.main_gpu,
            tensor_split=self.tensor_split,
            devices=self.device,
            mmap=self.mmap,
            mlock=self.mlock,
            repack=self.repack,
            check_tensors=self.check_tensors,
            loras=self.lora,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextOptions:
    """The context that the model works in."""

    PANEL: ClassVar[str] = "Context and speed"

    ctx_size: Annotated[
        int | None,
        option(
            "-c", "--ctx-size", shows="4096, or more if the prompt needs it",
            help="Tokens that prompt and answer may have together; 0 is what the model was trained with.",
        ),
    ] = _CONTEXT.n_ctx  # fmt: skip
    threads: Annotated[
        int | None,
        option(
            "-t", "--threads", parser=values.parse_threads, metavar="N", shows="physical cores", help="Threads for generation."
        ),
    ] = _CONTEXT.threads
    threads_batch: Annotated[
        int | None,
        option(
            "-tb",
            "--threads-batch",
            parser=values.parse_threads,
            metavar="N",
            shows="as -t",
            help="Threads for reading the prompt.",
        ),
    ] = _CONTEXT.threads_batch
    batch_size: Annotated[
        int | None, option("-b", "--batch-size", shows=_CONTEXT.n_batch, help="Tokens given to the model at once.")
    ] = None
    ubatch_size: Annotated[
        int | None, option("-ub", "--ubatch-size", shows=_CONTEXT.n_ubatch, help="Tokens computed at once.")
    ] = None
    flash_attn: Annotated[FlashAttention, option("-fa", "--flash-attn", help="Flash attention.")] = _CONTEXT.flash_attention
    cache_type_k: Annotated[
        CacheType, option("-ctk", "--cache-type-k", metavar="TYPE", help="Type of the cache's keys: f16, q8_0, q4_0, ...")
    ] = _CONTEXT.cache_type_k
    cache_type_v: Annotated[CacheType, option("-ctv", "--cache-type-v", metavar="TYPE", help="Type of the cache's values.")] = (
        _CONTEXT.cache_type_v
    )
    kv_offload: Annotated[bool, option("--kv-offload/--no-kv-offload", help="Keep the cache on the GPU.")] = _CONTEXT.kv_offload
    op_offload: Annotated[
        bool, option("--op-offload/--no-op-offload", help="Let a GPU compute for layers that it does not hold.")
    ] = _CONTEXT.op_offload
    swa_full: Annotated[bool, option("--swa-full", help="Keep the whole cache of sliding-window layers.")] = _CONTEXT.swa_full
    rope_scaling: Annotated[
        RopeScaling | None, option("--rope-scaling", shows="the model's", help="How positions are stretched.")
    ] = _CONTEXT.rope_scaling
    rope_freq_base: Annotated[float, option("--rope-freq-base", shows="the model's", help="Base frequency of RoPE.")] = (
        _CONTEXT.rope_freq_base
    )
    rope_freq_scale: Annotated[float, option("--rope-freq-scale", shows="the model's", help="Scale of RoPE's frequency.")] = (
        _CONTEXT.rope_freq_scale
    )
    yarn_orig_ctx: Annotated[
        int, option("--yarn-orig-ctx", shows="the model's", help="Context the model was trained with, for YaRN.")
    ] = _CONTEXT.yarn_orig_ctx

    def params(self, **other: Any) -> ContextParams:
        """What the engine needs of these; `other` are fields of ContextParams that no option sets."""
        return ContextParams(
            n_ctx=self.ctx_size,
            n_batch=_CONTEXT.n_batch if self.batch_size is None else self.batch_size,
            n_ubatch=_CONTEXT.n_ubatch if self.ubatch_size is None else self.ubatch_size,
            threads=self.threads,
            threads_batch=self.threads_batch,
            flash_attention=self.flash_attn,
            cache_type_k=self.cache_type_k,
            cache_type_v=self.cache_type_v,
            kv_offload=self.kv_offload,
            op_offload=self.op_offload,
            swa_full=self.swa_full,
            rope_scaling=self.rope_scaling,
            rope_freq_base=self.rope_freq_base,
            rope_freq_scale=self.rope_freq_scale,
            yarn_orig_ctx=self.yarn_orig_ctx,
            **other,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOptions:
    """When the answer ends."""

    PANEL: ClassVar[str] = "Answer"

    predict: Annotated[
        int | None,
        option(
            "-n",
            "--predict",
            "--n-predict",
            metavar="N",
            parser=values.parse_limit,
            shows="no limit",
            help="Most tokens to generate; -1 is no limit.",
        ),
    ] = _GENERATION.max_tokens
    stop: Annotated[
        tuple[str, ...],
        option(
            "--stop",
            metavar="TEXT",
            parser=values.parse_escaped,
            help=r"End before this text, in which \n is a newline; may be given many times.",
        ),
    ] = _GENERATION.stop
    context_shift: Annotated[
        bool,
        option(
            "--context-shift/--no-context-shift", help="When the context is full, forget its oldest tokens instead of ending."
        ),
    ] = _GENERATION.context_shift
    keep: Annotated[
        int,
        option(
            "--keep", shows=_GENERATION.keep, help="Tokens at the start that --context-shift never forgets; -1 is the prompt."
        ),
    ] = _GENERATION.keep

    def params(self, sampling: SamplingParams, **other: Any) -> GenerationParams:
        """What the engine needs of these."""
        return GenerationParams(
            max_tokens=self.predict,
            stop=self.stop,
            context_shift=self.context_shift,
            keep=self.keep,
            sampling=sampling,
            **other,
        )


def _sampling(*names: str, default: object, help: str, **more: Any) -> Any:  # noqa: A002
    return option(*names, shows=default, help=help, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingOptions:
    """How the next token is chosen. None was not given: there the model's recommendation comes before our default."""

    PANEL: ClassVar[str] = "Sampling"

    temperature: Annotated[
        float | None,
        _sampling(
            "--temp", "--temperature", default=_SAMPLING.temperature, help="Randomness; 0 or less always takes the best token."
        ),
    ] = None
    seed: Annotated[
        int | None,
        _sampling(
            "-s", "--seed", metavar="N", parser=values.parse_seed, default="random", help="The same seed gives the same text."
        ),
    ] = None
    top_k: Annotated[int | None, _sampling("--top-k", default=_SAMPLING.top_k, help="Only the K best tokens; 0 is all.")] = None
    top_p: Annotated[
        float | None,
        _sampling("--top-p", default=_SAMPLING.top_p, help="Only the best tokens that have this probability together."),
    ] = None
    min_p: Annotated[
        float | None,
        _sampling("--min-p", default=_SAMPLING.min_p, help="Only tokens with this share of the best one's probability."),
    ] = None
    repeat_penalty: Annotated[
        float | None, _sampling("--repeat-penalty", default=_SAMPLING.repeat_penalty, help="Penalty for repetition; 1 is none.")
    ] = None
    repeat_last_n: Annotated[
        int | None,
        _sampling("--repeat-last-n", default=_SAMPLING.repeat_last_n, help="How far back penalties look; -1 is the context."),
    ] = None
    presence_penalty: Annotated[
        float | None,
        _sampling("--presence-penalty", default=_SAMPLING.presence_penalty, help="Penalty for what occurred at all."),
    ] = None
    frequency_penalty: Annotated[
        float | None,
        _sampling("--frequency-penalty", default=_SAMPLING.frequency_penalty, help="Penalty for each time it occurred."),
    ] = None
    logit_bias: Annotated[
        tuple[tuple[int | str, float], ...],
        _sampling(
            "-l", "--logit-bias", metavar="TOKEN=±BIAS", parser=values.parse_logit_bias, default=None,
            help="Make a token, by its id or text, likelier (cat=1), less likely (15043=-1) or impossible (cat=false); may be "
            "given many times.",
        ),
    ] = ()  # fmt: skip
    ignore_eos: Annotated[
        bool | None, _sampling("--ignore-eos/--no-ignore-eos", default=None, help="Go on where the model would end.")
    ] = None
    samplers: Annotated[
        tuple[str, ...] | None,
        _sampling(
            "--samplers",
            metavar="NAMES",
            parser=values.parse_names,
            default=", ".join(DEFAULT_SAMPLERS),
            help="Which samplers, in which order.",
        ),
    ] = None
    typical_p: Annotated[
        float | None,
        _sampling("--typical-p", "--typical", default=_SAMPLING.typical_p, help="Locally typical sampling; 1 is off."),
    ] = None
    top_n_sigma: Annotated[
        float | None,
        _sampling(
            "--top-n-sigma", "--top-nsigma", default=_SAMPLING.top_n_sigma, help="Only logits this near to the best; -1 is off."
        ),
    ] = None
    min_keep: Annotated[
        int | None, _sampling("--min-keep", default=_SAMPLING.min_keep, help="How many tokens every filter leaves.")
    ] = None
    dynatemp_range: Annotated[
        float | None,
        _sampling("--dynatemp-range", default=_SAMPLING.dynatemp_range, help="Range of dynamic temperature; 0 is off."),
    ] = None
    dynatemp_exponent: Annotated[
        float | None, _sampling("--dynatemp-exp", default=_SAMPLING.dynatemp_exponent, help="Exponent of dynamic temperature.")
    ] = None
    xtc_probability: Annotated[
        float | None,
        _sampling(
            "--xtc-probability", default=_SAMPLING.xtc_probability, help="How often XTC cuts the best tokens; 0 is never."
        ),
    ] = None
    xtc_threshold: Annotated[
        float | None, _sampling("--xtc-threshold", default=_SAMPLING.xtc_threshold, help="Probability from which XTC cuts.")
    ] = None
    dry_multiplier: Annotated[
        float | None,
        _sampling("--dry-multiplier", default=_SAMPLING.dry_multiplier, help="Penalty of DRY for repeated phrases; 0 is off."),
    ] = None
    dry_base: Annotated[float | None, _sampling("--dry-base", default=_SAMPLING.dry_base, help="How DRY's penalty grows.")] = (
        None
    )
    dry_allowed_length: Annotated[
        int | None,
        _sampling("--dry-allowed-length", default=_SAMPLING.dry_allowed_length, help="Repeated tokens that DRY allows."),
    ] = None
    dry_penalty_last_n: Annotated[
        int | None,
        _sampling(
            "--dry-penalty-last-n", default=_SAMPLING.dry_penalty_last_n, help="How far back DRY looks; -1 is the context."
        ),
    ] = None
    dry_sequence_breakers: Annotated[
        tuple[str, ...],
        _sampling(
            "--dry-sequence-breaker",
            metavar="TEXT",
            parser=values.parse_escaped,
            default=r"\n : \" *",
            help="Text that ends a phrase for DRY; may be given many times; none is none.",
        ),
    ] = ()
    mirostat: Annotated[
        Literal[0, 1, 2] | None,
        _sampling("--mirostat", default=_SAMPLING.mirostat, help="Mirostat 1 or 2 instead of the other samplers."),
    ] = None
    mirostat_eta: Annotated[
        float | None, _sampling("--mirostat-lr", default=_SAMPLING.mirostat_eta, help="Learning rate of Mirostat, eta.")
    ] = None
    mirostat_tau: Annotated[
        float | None, _sampling("--mirostat-ent", default=_SAMPLING.mirostat_tau, help="Target entropy of Mirostat, tau.")
    ] = None
    adaptive_target: Annotated[
        float | None,
        _sampling(
            "--adaptive-target", default=_SAMPLING.adaptive_target, help="Probability that adaptive-p aims at; below 0 is off."
        ),
    ] = None
    adaptive_decay: Annotated[
        float | None,
        _sampling("--adaptive-decay", default=_SAMPLING.adaptive_decay, help="How slowly adaptive-p forgets, 0 to 0.99."),
    ] = None

    def params(self, base: SamplingParams = _SAMPLING) -> SamplingParams:
        """`base` (our defaults, or with what the model recommends) changed by what was given; for biases see `resolved`."""
        return dataclasses.replace(base, **self.given())

    def resolved(self, engine: "Engine") -> SamplingParams:
        """Our defaults, changed by what the model recommends, changed by what was given, the tokens of biases by their ids."""
        params = self.params(engine.sampling_defaults(_SAMPLING))
        return dataclasses.replace(params, logit_bias=engine.resolve_biases(self.logit_bias)) if self.logit_bias else params

    def given(self) -> dict[str, Any]:
        """The fields of SamplingParams that were set on the command line, in the environment or in the settings."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "logit_bias"}
        given = {name: value for name, value in values.items() if value is not None and value != ()}
        if self.dry_sequence_breakers == ("none",):
            given["dry_sequence_breakers"] = ()
        return given


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOptions:
    """How a prompt is put to a model that was trained for conversation."""

    PANEL: ClassVar[str] = "Prompt"

    system_prompt: Annotated[
        str | None, option("-sys", "--system-prompt", help="What the model is told before the prompt.")
    ] = None
    chat_template: Annotated[
        str | None,
        option(
            "--chat-template",
            metavar="NAME|FILE",
            shows="the model's",
            help="Another chat template: a built-in one's name, a Jinja file, or Jinja text.",
        ),
    ] = None

    def template(self) -> str | None:
        """The template's name or its Jinja text. Raises UsageError for a file that cannot be read."""
        given = self.chat_template
        if given is None or "{{" in given or "{%" in given:
            return given
        if not given.strip():
            raise UsageError("the chat template is empty")
        if "/" in given or given.endswith(_TEMPLATE_FILES) or Path(given).is_file():
            return read_text_file(Path(given))
        return given

"""The engine's parameters and their defaults, written here once: options, settings and the Python API take theirs from here.

Names and defaults are llama.cpp's (`common/common.h`) unless a comment says otherwise. What is out of range raises UsageError
with the parameter's name, which each interface words in its own terms.
"""

from __future__ import annotations

import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from llamacli.errors import UsageError

SplitMode = Literal["none", "layer", "row", "tensor"]
Kernels = Literal["own", "upstream"]
LoadMode = Literal["auto", "none", "mmap", "mlock", "mmap+mlock", "dio"]
FlashAttention = Literal["auto", "on", "off"]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"]
RopeScaling = Literal["none", "linear", "yarn", "longrope"]
Override = bool | int | float | str
Pooling = Literal["none", "mean", "cls", "last", "rank"]

SAMPLER_NAMES = (
    "penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature", "adaptive_p", "infill",
)  # fmt: skip
"""The samplers that a chain can hold, by llama.cpp's names."""

DEFAULT_CONTEXT = 4096
"""Tokens of context if the need is unknown: a model trained with a million would take all memory."""

MOST_DRAFT = 15
"""Tokens that are guessed at once, at most."""

DEFAULT_SAMPLERS = ("penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature")

_LARGEST_INT = 2**31 - 1
_LARGEST_FLOAT = 3.4e38  # of a C float; comparisons with it are false for nan, too


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraAdapter:
    """A LoRA adapter file and the scale it is applied with (1.0 = as trained)."""

    path: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelParams:
    """The parameters that a model file is loaded with.

    `gpu_layers`: None offloads as many layers as fit (auto), -1 all, N that many. `tensor_split`: the share of each device, in
    any scale. `devices`: names as `info --system` lists them; empty means all. `vocabulary_only` loads no weights, for prompts
    in tokens. `load_mode` is llama.cpp's and comes before `mmap` and `mlock`; None leaves it to those. `repack` rearranges
    weights for the widest instructions of this CPU. `no_host` allocates no host buffers, so that extra buffers can be used.
    `huge_pages` reads weights that are small and stay with the CPU into huge pages (Linux only), even with `mmap`. `overrides`
    replace scalars of the file's metadata, by key. `kernels` are what computes on the CPU: our own where they know the weights'
    type and the processor, or llama.cpp's. `numa` is a GGML_NUMA_STRATEGY_* for the whole process, 0 leaves it alone.
    """

    gpu_layers: int | None = None
    split_mode: SplitMode = "layer"
    main_gpu: int = 0
    tensor_split: tuple[float, ...] = ()
    devices: tuple[str, ...] = ()
    mmap: bool = True
    mlock: bool = False
    check_tensors: bool = False
    loras: tuple[LoraAdapter, ...] = ()
    vocabulary_only: bool = False
    load_mode: LoadMode | None = None
    repack: bool = True
    no_host: bool = False
    huge_pages: bool = False
    overrides: tuple[tuple[str, Override], ...] = ()
    kernels: Kernels = "own"
    numa: int = 0

    def __post_init__(self) -> None:
        _require(self.gpu_layers is None or self.gpu_layers >= -1, "gpu_layers", "must be None, -1 or a number from 0")
        _require(all(math.isfinite(lora.scale) for lora in self.loras), "loras", "must have finite scales")
        _require(all(math.isfinite(x) and x >= 0 for x in self.tensor_split), "tensor_split", "must hold numbers from 0")
        for key, value in self.overrides:
            sizes = [len(text.encode()) for text in (key, value) if isinstance(text, str)]
            _require(bool(key) and max(sizes) <= 127, "overrides", "must have keys and texts of at most 127 bytes")
            _require(not isinstance(value, int) or abs(value) < 2**63, "overrides", "must have integers of 64 bits")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextParams:
    """The context that a model is evaluated in.

    `n_ctx`: tokens for each sequence. 0 is the trained length; None is the smaller of the trained length and 4,096, which the
    engine raises to what a prompt needs, so that a model trained with a million tokens does not fill the memory unasked.
    `threads`: None is the number that is fastest at the moment, at most that of the physical cores that this process may use.
    `n_seq_max`: the number of sequences that fit in the cache at once. `kv_unified`: one buffer for all sequences, which is
    better when they share a long prefix. `invariant`: the results of a sequence do not depend, to the last bit, on what is
    evaluated beside it; this holds where `can_be_invariant` does, for weights that our kernels multiply. `all_outputs`: room
    for the logits of every token of a batch instead of one for each sequence; `n_outputs`: for so many tokens at least. The
    factors of YaRN are the model's if they are negative. `no_perf` measures no times in llama.cpp.
    """

    n_ctx: int | None = None
    n_batch: int = 2048
    n_ubatch: int = 512
    n_seq_max: int = 1
    threads: int | None = None
    threads_batch: int | None = None
    flash_attention: FlashAttention = "auto"
    cache_type_k: CacheType = "f16"
    cache_type_v: CacheType = "f16"
    kv_offload: bool = True
    op_offload: bool = True
    swa_full: bool = False
    kv_unified: bool = False
    invariant: bool = False
    rope_scaling: RopeScaling | None = None
    rope_freq_base: float = 0.0
    rope_freq_scale: float = 0.0
    yarn_orig_ctx: int = 0
    yarn_ext_factor: float = -1.0
    yarn_attn_factor: float = -1.0
    yarn_beta_fast: float = -1.0
    yarn_beta_slow: float = -1.0
    no_perf: bool = True
    embeddings: bool = False
    all_outputs: bool = False
    n_outputs: int = 0
    pooling: Pooling | None = None

    def __post_init__(self) -> None:
        _require(self.n_ctx is None or 0 <= self.n_ctx <= _LARGEST_INT, "n_ctx", f"must be from 0 to {_LARGEST_INT}")
        for name in ("n_batch", "n_ubatch"):
            size = getattr(self, name)
            _require(size > 0, name, "must be at least 1")
            _require(size <= _LARGEST_INT, name, f"must be at most {_LARGEST_INT}")
        _require(1 <= self.n_seq_max <= 256, "n_seq_max", "must be from 1 to 256")
        for name in ("threads", "threads_batch"):
            threads = getattr(self, name)
            _require(threads is None or 1 <= threads <= 512, name, "must be from 1 to 512")


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from `low` to `high`, both included; `words` describe them in messages."""

    low: float
    high: float
    words: str


_INDEX = Range(-1, _LARGEST_INT, f"from -1 to {_LARGEST_INT}")


def _sampling(default: object, help: str, *, range: Range | None = None, argument: str | None = None) -> Any:  # noqa: A002
    """Declare a field of SamplingParams: see `SamplingField`."""
    return field(default=default, metadata={"help": help, "range": range, "argument": argument})


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """The parameters of sampling. Each field is declared here once; see `sampling_fields` for what derives from it.

    `temperature` <= 0 is greedy. `seed` None draws one from the system. `samplers` is the order of the chain. `logit_bias`
    holds (token id, bias) pairs; -inf forbids a token.
    """

    temperature: float = _sampling(0.8, "Randomness; 0 or less always takes the most probable token.")
    seed: int | None = _sampling(
        None,
        "Seed of the random numbers; the same seed gives the same text.",
        range=Range(0, 2**32 - 1, "from 0 to 4294967295"),
    )
    top_k: int = _sampling(40, "Keep only the K most probable tokens; 0 keeps all.", range=_INDEX)
    top_p: float = _sampling(0.95, "Keep the most probable tokens up to this total probability; 1 keeps all.")
    min_p: float = _sampling(0.05, "Keep tokens with at least this share of the top token's probability; 0 keeps all.")
    repeat_penalty: float = _sampling(
        1.0, "Penalty for repeated tokens; 1 disables.", range=Range(1e-30, math.inf, "greater than 0")
    )
    repeat_last_n: int = _sampling(64, "Number of last tokens that penalties look at; -1 is the whole context.", range=_INDEX)
    presence_penalty: float = _sampling(0.0, "Penalty for tokens that occurred at all; 0 disables.")
    frequency_penalty: float = _sampling(0.0, "Penalty for each time that a token occurred; 0 disables.")
    logit_bias: tuple[tuple[int, float], ...] = _sampling(
        (), "Make a token, by its id or text, likelier (cat=1), less likely (15043=-1) or impossible (cat=false)."
    )
    ignore_eos: bool = _sampling(False, "Continue where the model would end the answer.")
    samplers: tuple[str, ...] = _sampling(DEFAULT_SAMPLERS, "Samplers of the chain, in order.")
    typical_p: float = _sampling(1.0, "Locally typical sampling; 1 disables.")
    top_n_sigma: float = _sampling(-1.0, "Keep tokens whose logit is within N standard deviations of the highest; -1 disables.")
    min_keep: int = _sampling(0, "Number of tokens that every filter keeps at least.", range=_INDEX)
    dynatemp_range: float = _sampling(0.0, "Range of dynamic temperature; 0 disables.")
    dynatemp_exponent: float = _sampling(1.0, "Exponent of dynamic temperature.")
    xtc_probability: float = _sampling(0.0, "Probability that XTC removes the top tokens; 0 disables.")
    xtc_threshold: float = _sampling(0.1, "Probability from which XTC removes tokens.")
    dry_multiplier: float = _sampling(0.0, "Multiplier of DRY's penalty for repeated phrases; 0 disables.")
    dry_base: float = _sampling(1.75, "Base of DRY's penalty, which grows with the length of the phrase.")
    dry_allowed_length: int = _sampling(2, "Length in tokens of the phrases that DRY lets repeat.", range=_INDEX)
    dry_penalty_last_n: int = _sampling(64, "Number of last tokens that DRY looks at; -1 is the whole context.", range=_INDEX)
    dry_sequence_breakers: tuple[str, ...] = _sampling(("\n", ":", '"', "*"), "Text that ends a phrase for DRY.")
    mirostat: Literal[0, 1, 2] = _sampling(0, "Use Mirostat 1 or 2 in place of the other samplers.", argument="mirostat_mode")
    mirostat_eta: float = _sampling(0.1, "Learning rate of Mirostat (eta).")
    mirostat_tau: float = _sampling(5.0, "Target entropy of Mirostat (tau).")
    adaptive_target: float = _sampling(-1.0, "Target probability of adaptive-p; below 0 disables.")
    adaptive_decay: float = _sampling(
        0.9, "Decay of adaptive-p's average, from 0 to 0.99; higher adapts more slowly.", range=Range(0, 0.99, "from 0 to 0.99")
    )

    def __post_init__(self) -> None:
        for name, allowed in _sampling_ranges():  # several times for each request
            value = getattr(self, name)
            if isinstance(value, float) and not abs(value) < _LARGEST_FLOAT:
                raise UsageError(f"{name} must be a finite number", parameter=name)
            if allowed is not None and value is not None and not allowed.low <= value <= allowed.high:
                raise UsageError(f"{name} must be {allowed.words}", parameter=name)
        _require(self.mirostat in (0, 1, 2), "mirostat", "must be 0, 1 or 2")
        _require(all(bias < _LARGEST_FLOAT for _, bias in self.logit_bias), "logit_bias", "must hold numbers, or -inf")
        unknown = [name for name in self.samplers if name not in SAMPLER_NAMES]
        if unknown:
            known = ", ".join(SAMPLER_NAMES)
            raise UsageError(f"unknown sampler {', '.join(unknown)}; known are {known}", parameter="samplers")


@functools.cache
def _sampling_ranges() -> tuple[tuple[str, Range | None], ...]:
    """The names of the fields of SamplingParams, with what their numbers may be."""
    return tuple((one.name, one.metadata["range"]) for one in fields(SamplingParams))


@dataclass(frozen=True, slots=True)
class SamplingField:
    """One field of SamplingParams, as its declaration describes it.

    `name` is also llama-server's JSON key, and the key in a row of a batch; `argument` is its name in llama-cpp-python.
    `annotation` is its type, `number` int or float if it is a number, else None.
    """

    name: str
    argument: str
    help: str
    default: object
    annotation: Any
    number: type[int | float] | None


@functools.cache
def sampling_fields() -> Mapping[str, SamplingField]:
    """The fields of SamplingParams by name. Options, the keys of rows and the arguments of the Python API derive from these."""
    hints = typing.get_type_hints(SamplingParams)
    return {
        one.name: SamplingField(
            name=one.name,
            argument=one.metadata["argument"] or one.name,
            help=one.metadata["help"],
            default=one.default,
            annotation=hints[one.name],
            number=_number(hints[one.name]),
        )
        for one in fields(SamplingParams)
    }


def sampling_numbers() -> dict[str, type[int | float]]:
    """The fields of SamplingParams that are numbers, with their type: the keys that a row or a request may set."""
    return {name: one.number for name, one in sampling_fields().items() if one.number is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationParams:
    """The limits of generation.

    `max_tokens`: None continues to the end of the answer or of the context; 0 only evaluates the prompt.
    `logprobs`: the number of most probable tokens to report at each position beside the chosen one; None reports no
    probabilities, which saves computing them. `context_shift`: drop the oldest tokens when the context is full, except the
    first `keep` and the beginning-of-text token (-1 keeps the whole prompt). `cache_prompt`: what the cache holds of the prompt
    is not evaluated again. `score_prompt`: the answer has the prompt's tokens with their log probabilities, too. `draft`: most
    tokens that are guessed from repetitions and evaluated together; None guesses as many as pay, where the text stays the same.
    `max_ms`: the answer ends with the first line that ends so many milliseconds after its first token. `min_indent`: it ends
    before a line that has fewer blanks at its start; the first line does not count.
    """

    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    context_shift: bool = False
    keep: int = 0
    sampling: SamplingParams = field(default_factory=SamplingParams)
    logprobs: int | None = None
    cache_prompt: bool = True
    score_prompt: bool = False
    draft: int | None = None
    max_ms: float | None = None
    min_indent: int = 0

    def __post_init__(self) -> None:
        limit = self.max_tokens
        _require(limit is None or limit >= 0, "max_tokens", "must be a number from 0, or -1 for no limit")
        _require(self.logprobs is None or 0 <= self.logprobs <= 1000, "logprobs", "must be from 0 to 1000")
        _require(all(self.stop), "stop", "must not be an empty string")
        _require(self.draft is None or 0 <= self.draft <= MOST_DRAFT, "draft", f"must be from 0 to {MOST_DRAFT}")
        _require(self.max_ms is None or self.max_ms >= 0, "max_ms", "must be a number from 0")
        _require(self.min_indent >= 0, "min_indent", "must be a number from 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A loaded model: its file's name, its kind (architecture, size class, quantization) and its limits in tokens.

    `chat_template` is the Jinja text of its template. `can_generate` is False for an embedding model. `pooling` is what its
    metadata states, None if nothing. `n_embd` is the length of its vectors and `size` the bytes of its file.
    """

    model: str
    kind: str
    n_ctx: int
    n_ctx_train: int
    n_parallel: int
    n_vocab: int
    has_chat_template: bool
    chat_template: str | None = None
    can_generate: bool = True
    pooling: Pooling | None = None
    n_embd: int = 0
    size: int = 0


def _require(condition: bool, parameter: str, problem: str) -> None:
    if not condition:
        raise UsageError(f"{parameter} {problem}", parameter=parameter)


def _number(annotation: Any) -> type[int | float] | None:
    """The type of number that an annotation allows, None beside it or not."""
    parts = [one for one in typing.get_args(annotation) or (annotation,) if one is not types.NoneType]
    if typing.get_origin(annotation) is Literal:
        return int if all(isinstance(one, int) for one in parts) else None
    return parts[0] if parts[0] in (int, float) else None

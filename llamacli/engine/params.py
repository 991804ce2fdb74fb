"""The engine's parameters and their defaults. They live here once: options, settings and the Python API take theirs from here.

Names and defaults are llama.cpp's (`common/common.h`), but for those that say otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Literal

from llamacli.errors import UsageError

SplitMode = Literal["none", "layer", "row", "tensor"]
LoadMode = Literal["auto", "none", "mmap", "mlock", "mmap+mlock", "dio"]
FlashAttention = Literal["auto", "on", "off"]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"]
RopeScaling = Literal["none", "linear", "yarn"]
Pooling = Literal["none", "mean", "cls", "last", "rank"]

SAMPLER_NAMES = (
    "penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature", "adaptive_p", "infill",
)  # fmt: skip
"""What `--samplers` may name, in llama.cpp's words."""

_LARGEST_FLOAT = 3.4e38  # what a C float holds; not true of nan either

DEFAULT_CONTEXT = 4096
"""Tokens of context if the need is unknown: a model trained with a million would take all memory."""

DEFAULT_SAMPLERS = ("penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraAdapter:
    """A LoRA adapter file and how strongly it is applied (1.0 = as trained)."""

    path: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelParams:
    """How a model file is loaded.

    `gpu_layers`: None offloads what fits (auto), -1 all layers, N that many. `tensor_split`: share of each device, any scale.
    `devices`: names as `info --system` lists them; empty means all. `vocabulary_only` loads no weights: for prompts in tokens.
    `load_mode` says in llama.cpp's words what `mmap` and `mlock` cannot; None leaves it to those. `repack`: weights are brought
    into the layout that this CPU computes fastest with. `no_host`: no host buffers, which leaves extra buffers to be used.
    `huge_pages`: where the weights are few and stay with the CPU, they are read into huge pages of Linux, whatever `mmap` says.
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

    def __post_init__(self) -> None:
        _require(self.gpu_layers is None or self.gpu_layers >= -1, "-ngl must be auto, all or a number from 0")
        _require(all(math.isfinite(lora.scale) for lora in self.loras), "a LoRA scale must be a finite number")
        _require(all(math.isfinite(x) and x >= 0 for x in self.tensor_split), "-ts takes numbers from 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextParams:
    """The context that a model is evaluated in.

    `n_ctx`: tokens for each sequence; None is the smaller of what the model was trained with and 4,096 (so that a model with a
    context of a million tokens does not take all memory unasked; the engine makes it what the prompt needs, up to the
    trained length); 0 is what the model was trained with. `threads`: None is the physical cores this process may use.
    `n_seq_max`: how many sequences can live in the cache at once. `kv_unified`: one buffer for all sequences, better when
    they share a long prefix. `invariant`: what a sequence gets shall not depend, to the last bit, on what is evaluated beside
    it; that holds where `can_be_invariant`, for weights whose kernels are (Q4_1, Q8_0). `all_outputs`: room for the logits of
    every token of a batch, not of one a sequence.
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
    embeddings: bool = False
    all_outputs: bool = False
    pooling: Pooling | None = None

    def __post_init__(self) -> None:
        _require(self.n_ctx is None or 0 <= self.n_ctx < 2**31, "-c must be from 0 to 2147483647")
        for option, size in (("-b", self.n_batch), ("-ub", self.n_ubatch)):
            _require(size > 0, f"{option} must be at least 1")
            _require(size < 2**31, f"{option} must be at most 2147483647")
        _require(1 <= self.n_seq_max <= 256, "the number of sequences must be from 1 to 256")
        for threads in (self.threads, self.threads_batch):
            _require(threads is None or 1 <= threads <= 512, "the number of threads must be from 1 to 512")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How the next token is chosen. `temperature` <= 0 is greedy. `seed` None draws one from the system.

    `logit_bias`: (token id, bias) pairs; -inf forbids a token. `samplers` orders the chain.
    """

    seed: int | None = None
    samplers: tuple[str, ...] = DEFAULT_SAMPLERS
    temperature: float = 0.8
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    top_n_sigma: float = -1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    min_keep: int = 0
    repeat_last_n: int = 64
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = 64
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    mirostat: Literal[0, 1, 2] = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    adaptive_target: float = -1.0
    adaptive_decay: float = 0.9
    logit_bias: tuple[tuple[int, float], ...] = ()
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            _require(not isinstance(value, float) or abs(value) < _LARGEST_FLOAT, f"{item.name} must be a finite number")
        _require(self.seed is None or 0 <= self.seed < 2**32, "the seed must be from 0 to 4294967295")
        _require(self.repeat_penalty >= 1e-30, "--repeat-penalty must be greater than 0")
        _require(self.mirostat in (0, 1, 2), "--mirostat must be 0, 1 or 2")
        _require(0 <= self.adaptive_decay <= 0.99, "--adaptive-decay must be from 0 to 0.99")
        for name in ("top_k", "repeat_last_n", "dry_penalty_last_n", "min_keep", "dry_allowed_length"):
            _require(-1 <= getattr(self, name) < 2**31, f"{name} must be from -1 to 2147483647")
        _require(all(bias < _LARGEST_FLOAT for _, bias in self.logit_bias), "a logit bias must be a number, or -inf")
        unknown = [name for name in self.samplers if name not in SAMPLER_NAMES]
        _require(not unknown, f"unknown sampler {', '.join(unknown)}; known are {', '.join(SAMPLER_NAMES)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationParams:
    """When generation ends. `max_tokens` None goes on to the end of the answer or of the context; 0 evaluates the prompt only.

    `logprobs`: how many of the most probable tokens to tell at each position beside the chosen one; None tells no
    probabilities, which saves computing them. `context_shift` drops the oldest tokens, but for the first `keep` and the
    token of the beginning, when the context is full (-1 keeps the whole prompt).
    """

    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    context_shift: bool = False
    keep: int = 0
    sampling: SamplingParams = field(default_factory=SamplingParams)
    logprobs: int | None = None

    def __post_init__(self) -> None:
        _require(self.max_tokens is None or self.max_tokens >= 0, "-n must be a number from 0, or -1 for no limit")
        _require(self.logprobs is None or 0 <= self.logprobs <= 1000, "the number of log probabilities must be from 0 to 1000")
        _require(all(self.stop), "a stop text must not be empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A loaded model: its file's name, its kind (architecture, size class, quantization) and its limits in tokens."""

    model: str
    kind: str
    n_ctx: int
    n_ctx_train: int
    n_parallel: int
    n_vocab: int
    has_chat_template: bool


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(message)

"""The engine's parameters and their defaults, written here once: options, settings and the Python API take theirs from here.

Names and defaults are llama.cpp's (`common/common.h`) unless a comment says otherwise. What is out of range raises UsageError
with the parameter's name, which each interface words in its own terms.
"""

from __future__ import annotations

import math
from dataclasses import field
from typing import Literal

from llamacli.engine.media.media import MediaKind
from llamacli.engine.sampling_params import (
    LARGEST_INT,
    SAMPLER_NAMES,
    SamplingField,
    SamplingParams,
    require,
    sampling_fields,
    sampling_numbers,
)  # fmt: skip
from llamacli.values import dataclass

__all__ = [
    "DEFAULT_CONTEXT", "MOST_DRAFT", "SAMPLER_NAMES", "CacheType", "ContextParams", "Description", "FlashAttention",
    "GenerationParams", "Kernels", "LoadMode", "LoraAdapter", "ModelParams", "Override", "Pooling", "RopeScaling",
    "SamplingField", "SamplingParams", "SplitMode", "sampling_fields", "sampling_numbers",
]  # fmt: skip

SplitMode = Literal["none", "layer", "row", "tensor"]
Kernels = Literal["own", "upstream"]
LoadMode = Literal["auto", "none", "mmap", "mlock", "mmap+mlock", "dio"]
FlashAttention = Literal["auto", "on", "off"]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1"]
RopeScaling = Literal["none", "linear", "yarn", "longrope"]
Override = bool | int | float | str
Pooling = Literal["none", "mean", "cls", "last", "rank"]

DEFAULT_CONTEXT = 4096
"""Tokens of context if the need is unknown: a model trained with a million would take all memory."""

MOST_DRAFT = 15
"""Tokens that are guessed at once, at most."""


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
    replace scalars of the file's metadata, by key. `rpc`: addresses HOST:PORT of RPC nodes, whose devices come before those of
    this machine. `kernels` are what computes on the CPU: our own where they know the weights' type and the processor, or
    llama.cpp's. `numa` is a GGML_NUMA_STRATEGY_* for the whole process, 0 leaves it alone. `mmproj` is the projector's file,
    which turns pictures and sound into embeddings of this model; with it `image_max_tokens` are the most that a picture may
    take, for models that let it vary. `draft_model` is the file of a smaller model with the same vocabulary, or of the
    model's EAGLE-3 head, which guesses the next tokens; `draft_gpu_layers` are its layers on the GPU, as `gpu_layers`. `mtp`:
    the model's own layers for multi-token prediction guess them.
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
    rpc: tuple[str, ...] = ()
    kernels: Kernels = "own"
    numa: int = 0
    mmproj: str | None = None
    image_max_tokens: int | None = None
    draft_model: str | None = None
    draft_gpu_layers: int | None = None
    mtp: bool = False

    def __post_init__(self) -> None:
        for name in ("gpu_layers", "draft_gpu_layers"):
            layers = getattr(self, name)
            require(layers is None or layers >= -1, name, "must be None, -1 or a number from 0")
        require(not (self.mtp and self.draft_model), "mtp", "cannot be used with draft_model")
        require(all(math.isfinite(lora.scale) for lora in self.loras), "loras", "must have finite scales")
        require(all(math.isfinite(x) and x >= 0 for x in self.tensor_split), "tensor_split", "must hold numbers from 0")
        require(self.image_max_tokens is None or self.image_max_tokens > 0, "image_max_tokens", "must be at least 1")
        for key, value in self.overrides:
            sizes = [len(text.encode()) for text in (key, value) if isinstance(text, str)]
            require(bool(key) and max(sizes) <= 127, "overrides", "must have keys and texts of at most 127 bytes")
            require(not isinstance(value, int) or abs(value) < 2**63, "overrides", "must have integers of 64 bits")

    @property
    def companions(self) -> tuple[str, ...]:
        """The other files that are loaded with the model."""
        named = (self.mmproj, self.draft_model)
        return (*(lora.path for lora in self.loras), *(path for path in named if path is not None))


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
    factors of YaRN are the model's if they are negative. `no_perf` measures no times in llama.cpp. `burst_seconds`: tokens are
    reported in groups that took so long, longer ones cost less time; the default is two frames of a screen. `prompt_seconds`:
    a part of a prompt may take so long while other sequences generate; None takes whole batches. `rollback`: so many last
    tokens of a sequence can be taken back by recurrent layers, too, where llama.cpp can do that.
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
    burst_seconds: float = 0.03
    prompt_seconds: float | None = None
    rollback: int = 0

    def __post_init__(self) -> None:
        require(self.n_ctx is None or 0 <= self.n_ctx <= LARGEST_INT, "n_ctx", f"must be from 0 to {LARGEST_INT}")
        for name in ("n_batch", "n_ubatch"):
            size = getattr(self, name)
            require(size > 0, name, "must be at least 1")
            require(size <= LARGEST_INT, name, f"must be at most {LARGEST_INT}")
        require(1 <= self.n_seq_max <= 256, "n_seq_max", "must be from 1 to 256")
        for name in ("threads", "threads_batch"):
            threads = getattr(self, name)
            require(threads is None or 1 <= threads <= 512, name, "must be from 1 to 512")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationParams:
    """The limits of generation.

    `max_tokens`: None continues to the end of the answer or of the context; 0 only evaluates the prompt.
    `logprobs`: the number of most probable tokens to report at each position beside the chosen one; None reports no
    probabilities, which saves computing them. `context_shift`: drop the oldest tokens when the context is full, except the
    first `keep` and the beginning-of-text token (-1 keeps the whole prompt). `cache_prompt`: what the cache holds of the prompt
    is not evaluated again. `score_prompt`: the answer has the prompt's tokens with their log probabilities, too. `draft`: most
    tokens that are guessed, from repetitions or by a draft model, and evaluated together; None guesses as many as pay, without
    a draft model only where the text stays the same. A draft ends before a token to which its model gives a probability below
    `draft_p_min`.
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
    draft_p_min: float = 0.0
    max_ms: float | None = None
    min_indent: int = 0

    def __post_init__(self) -> None:
        limit = self.max_tokens
        require(limit is None or limit >= 0, "max_tokens", "must be a number from 0, or -1 for no limit")
        require(self.logprobs is None or 0 <= self.logprobs <= 1000, "logprobs", "must be from 0 to 1000")
        require(all(self.stop), "stop", "must not be an empty string")
        require(self.draft is None or 0 <= self.draft <= MOST_DRAFT, "draft", f"must be from 0 to {MOST_DRAFT}")
        require(0 <= self.draft_p_min <= 1, "draft_p_min", "must be from 0 to 1")
        require(self.max_ms is None or self.max_ms >= 0, "max_ms", "must be a number from 0")
        require(self.min_indent >= 0, "min_indent", "must be a number from 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A loaded model: its file's name, its kind (architecture, size class, quantization) and its limits in tokens.

    `chat_template` is the Jinja text of its template. `can_generate` is False for an embedding model. `pooling` is what its
    metadata states, None if nothing. `n_embd` is the length of its vectors and `size` the bytes of its file. `takes` are the
    kinds of media that it takes beside text, and `sound_rate` the samples a second that it wants of a sound.
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
    takes: tuple[MediaKind, ...] = ()
    sound_rate: int | None = None

"""Types of metadata values: llama.cpp refuses a known key with a value of another type.

Sources: `load_hparams` in `src/llama-model.cpp`, the constructor in `src/llama-model-loader.cpp` and the vocabulary's `load`.
"""

from __future__ import annotations

from collections.abc import Iterator

from llamacli.gguf.check.architectures import REQUIRED_KEYS
from llamacli.gguf.check.finding import Finding, key_finding, shown_value
from llamacli.gguf.header import Entry, Header, Lazy
from llamacli.gguf.layout import ValueType
from llamacli.gguf.text import printable

_PLAIN = {
    "general.architecture": ValueType.STRING,
    "general.file_type": ValueType.UINT32,
    "general.name": ValueType.STRING,
    "split.count": ValueType.UINT16,
    "split.no": ValueType.UINT16,
    "split.tensors.count": ValueType.INT32,
    "tokenizer.ggml.model": ValueType.STRING,
    "tokenizer.ggml.pre": ValueType.STRING,
    "tokenizer.ggml.token_type_count": ValueType.UINT32,
    **dict.fromkeys(
        (f"tokenizer.ggml.{name}" for name in ("add_bos_token", "add_eos_token", "add_sep_token", "add_space_prefix")),
        ValueType.BOOL,
    ),
}
_OF_ARCHITECTURE = {
    **dict.fromkeys((
        "context_length", "embedding_length", "block_count", "nextn_predict_layers", "expert_count", "expert_group_count",
        "expert_group_used_count", "pooling_type", "attention.key_length", "attention.value_length",
        "attention.key_length_swa", "attention.value_length_swa", "rope.dimension_count",
        "rope.dimension_count_swa", "rope.scaling.original_context_length", "embedding_length_out",
    ), ValueType.UINT32),
    **dict.fromkeys((
        "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon", "attention.group_norm_epsilon", "rope.freq_base",
        "rope.scaling.factor", "rope.scaling.attn_factor", "rope.scaling.alpha",
    ), ValueType.FLOAT32),
    "attention.causal": ValueType.BOOL,
    "rope.scaling.finetuned": ValueType.BOOL,
    "rope.scaling.type": ValueType.STRING,
}  # fmt: skip
PER_LAYER = ("feed_forward_length", "attention.head_count", "attention.head_count_kv", "expert_used_count")
"""Keys with a number for all layers, or an array with one for each."""

_VOCABULARY_SIZE = ("deepseek2", "llama")
"""Architectures that read `vocab_size`, a number."""

_REQUIRED_FLOATS = frozenset((
    "activation.situ_beta", "activation.situ_linear_beta", "attention.clamp_kqv", "attention.compress_rope_freq_base",
    "expert_group_scale", "expert_weights_scale", "hyper_connection.epsilon", "hyper_connection.magnitude",
    "kda.gate_lower_bound", "logit_scale", "residual_scale", "rope.freq_base_swa",
))  # fmt: skip
_REQUIRED_FLAGS = frozenset(("expert_weights_norm", "use_parallel_residual"))
_REQUIRED_ARRAYS = frozenset((
    "expert_feed_forward_length", "rope.dimension_sections", "swiglu_clamp_exp", "xielu.alpha_n", "xielu.alpha_p", "xielu.beta",
    "xielu.eps",
))  # fmt: skip
"""Keys with an array, or with either."""

_COUNTS = frozenset((
    "attention.relative_buckets_count", "experts_per_group", "kda.head_dim", "shortconv.l_cache", "ssm.conv_kernel",
    "ssm.inner_size", "ssm.state_size", "ssm.time_step_rank", "wkv.head_size",
))  # fmt: skip
"""Sizes of which llama.cpp makes tensors and by which it divides."""
_MOST = 1 << 24

_INTEGER_ARRAYS = (ValueType.UINT32, ValueType.INT32, ValueType.BOOL)


def type_findings(header: Header, architecture: str) -> Iterator[Finding]:
    """Yield the known keys whose values have a type that llama.cpp refuses, and per-layer arrays of another length."""
    prefix = f"{architecture}."
    layers = header.integer(f"{prefix}block_count")
    for key, entry in header.metadata.items():
        name = key.removeprefix(prefix) if key.startswith(prefix) else None
        expected = _OF_ARCHITECTURE.get(name) if name else _PLAIN.get(key)
        if name == "vocab_size" and architecture in _VOCABULARY_SIZE:
            expected = ValueType.UINT32
        if key.startswith("tokenizer.ggml.") and key.endswith("_token_id"):
            expected = ValueType.UINT32
        if name in PER_LAYER:
            yield from _per_layer(entry, layers)
        elif expected is not None and entry.type != expected:
            yield _finding(entry, f"has type {_label(entry)}, expected {expected.label}")


def required_findings(header: Header, architecture: str) -> Iterator[Finding]:
    """Yield keys that the architecture requires and the file lacks, or whose values have another type or cannot be sizes."""
    for key in REQUIRED_KEYS.get(architecture, ()):
        name, entry = key.removeprefix(f"{architecture}."), header.metadata.get(key)
        if entry is None:
            yield key_finding(header, key, f"missing, but {architecture} requires it")
            continue
        if name in _REQUIRED_ARRAYS or name in _OF_ARCHITECTURE:
            continue  # the types of the latter are checked anyway
        expected = ValueType.FLOAT32 if name in _REQUIRED_FLOATS else ValueType.UINT32
        expected = ValueType.BOOL if name in _REQUIRED_FLAGS else expected
        if entry.type != expected:
            yield _finding(entry, f"has type {_label(entry)}, expected {expected.label}")
        elif name in _COUNTS and not 0 < (header.integer(key) or 0) <= _MOST:
            yield _finding(entry, f"is {shown_value(header, key)}, expected a number from 1 to {_MOST}")


def _per_layer(entry: Entry, layers: int | None) -> Iterator[Finding]:
    value = entry.value
    if not isinstance(value, Lazy) or value.element is None:
        if entry.type != ValueType.UINT32:
            yield _finding(entry, f"has type {_label(entry)}, expected {ValueType.UINT32.label} or an array")
    elif value.element not in _INTEGER_ARRAYS:
        yield _finding(entry, f"is an array of {value.element.label}, expected {ValueType.UINT32.label}")
    elif layers is not None and value.count != layers:
        yield _finding(entry, f"has {value.count} elements for {layers} layers")


def _finding(entry: Entry, message: str) -> Finding:
    return Finding("error", f"key {printable(entry.key, 60)}", message, entry.offset)


def _label(entry: Entry) -> str:
    value = entry.value
    return f"{value.element.label}[]" if isinstance(value, Lazy) and value.element is not None else entry.type.label

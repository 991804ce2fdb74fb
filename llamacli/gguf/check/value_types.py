"""Types of metadata values: llama.cpp refuses a known key with a value of another type.

Source: `load_hparams` in `src/llama-model.cpp`, the constructor in `src/llama-model-loader.cpp` and the vocabulary's `load`.
"""

from __future__ import annotations

from collections.abc import Iterator

from llamacli.gguf.check.finding import Finding
from llamacli.gguf.header import Entry, Header, Lazy
from llamacli.gguf.layout import ValueType
from llamacli.gguf.text import printable

_PLAIN = {
    "general.architecture": ValueType.STRING,
    "split.count": ValueType.UINT16,
    "split.no": ValueType.UINT16,
    "split.tensors.count": ValueType.INT32,
    "tokenizer.ggml.model": ValueType.STRING,
    "tokenizer.ggml.pre": ValueType.STRING,
}
_OF_ARCHITECTURE = {
    **dict.fromkeys((
        "context_length", "embedding_length", "block_count", "nextn_predict_layers", "expert_count", "expert_group_count",
        "expert_group_used_count", "pooling_type", "attention.key_length", "attention.value_length",
        "attention.key_length_swa", "attention.value_length_swa", "rope.dimension_count",
        "rope.scaling.original_context_length",
    ), ValueType.UINT32),
    **dict.fromkeys((
        "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon", "attention.group_norm_epsilon", "rope.freq_base",
        "rope.scaling.factor", "rope.scaling.attn_factor",
    ), ValueType.FLOAT32),
    "attention.causal": ValueType.BOOL,
    "rope.scaling.finetuned": ValueType.BOOL,
    "rope.scaling.type": ValueType.STRING,
}  # fmt: skip
PER_LAYER = ("feed_forward_length", "attention.head_count", "attention.head_count_kv", "expert_used_count")
"""Keys with a number for all layers, or an array with one for each."""

_INTEGER_ARRAYS = (ValueType.UINT32, ValueType.INT32, ValueType.BOOL)


def type_findings(header: Header, architecture: str) -> Iterator[Finding]:
    """Yield the known keys whose values have a type that llama.cpp refuses, and per-layer arrays of another length."""
    prefix = f"{architecture}."
    layers = header.integer(f"{prefix}block_count")
    for key, entry in header.metadata.items():
        name = key.removeprefix(prefix) if key.startswith(prefix) else None
        expected = _OF_ARCHITECTURE.get(name) if name else _PLAIN.get(key)
        if key.startswith("tokenizer.ggml.") and key.endswith("_token_id"):
            expected = ValueType.UINT32
        if name in PER_LAYER:
            yield from _per_layer(entry, layers)
        elif expected is not None and entry.type != expected:
            yield _finding(entry, f"has type {_label(entry)}, expected {expected.label}")


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

"""Checks of the tensors against the metadata: layers, attention heads, feed-forward length and experts.

Source: `load_arch_tensors` in llama.cpp's `src/models/`, for the architectures that follow the common scheme.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from llamacli.gguf.analysis.memory import LayerShape, layer_shapes
from llamacli.gguf.arrays import read_integers
from llamacli.gguf.check.architectures import REQUIRED_KEYS
from llamacli.gguf.check.attention import EQUAL_LENGTHS
from llamacli.gguf.check.finding import Finding, key_finding
from llamacli.gguf.check.required_tensors import UNIFORM
from llamacli.gguf.header import Header, TensorInfo
from llamacli.gguf.layout import MAX_LAYERS
from llamacli.gguf.model import ModelFiles
from llamacli.gguf.source import Source
from llamacli.gguf.text import printable

_STANDARD = frozenset((
    "arcee", "exaone", "gemma", "gemma2", "gemma3", "granite", "granitemoe", "llama", "minicpm", "mistral3", "qwen3",
    "qwen3moe", "refact", "smollm3",
))  # fmt: skip
"""Architectures of which all layers have attention with separate or fused Q, K and V."""
_ALL_EXPERTS = frozenset((
    "dbrx", "gpt-oss", "granite", "granitemoe", "llama", "minicpm", "mistral3", "olmoe", "qwen2moe", "qwen3moe", "refact",
))  # fmt: skip
"""Architectures of which all layers have experts if `expert_count` is positive."""
_HEADS = (EQUAL_LENGTHS & UNIFORM) - {"qwen"} | _STANDARD
"""Architectures whose projections have the sizes of all heads. That of qwen ignores its KV heads."""
_EXPERT_TENSORS = ("ffn_gate_inp.weight", "ffn_down_exps.weight", "ffn_up_exps.weight")

_EXPERTS = re.compile(r"^blk\.\d+\.ffn_(?:gate|up|down|gate_up)_exps\.weight$")

Tensors = Mapping[str, TensorInfo]


def shape_findings(files: ModelFiles, source: Source) -> Iterator[Finding]:
    """Yield missing tensors, and tensors whose shape differs from the metadata. `source` is that of the first file."""
    header = files.header
    architecture = header.architecture or ""
    tensors = {tensor.name: tensor for tensor in files.tensors}
    count = min(header.integer(f"{architecture}.block_count") or 0, MAX_LAYERS)
    layers = range(count - min(header.integer(f"{architecture}.nextn_predict_layers") or 0, count))
    experts = header.integer(f"{architecture}.expert_count") or 0
    if architecture in _ALL_EXPERTS and experts:
        yield from _missing(tensors, layers, _EXPERT_TENSORS)
        yield from _expert_counts(tensors, layers, experts)
    if architecture in UNIFORM and any(name.endswith(".ffn_down.weight") for name in tensors):
        key = f"{architecture}.feed_forward_length"
        if key not in header.metadata:
            yield key_finding(header, key, "missing, but the layers have feed-forward tensors")
    if architecture in REQUIRED_KEYS:
        yield from _expert_sizes(header, files.tensors, experts)
    if architecture in _HEADS:
        shapes = layer_shapes(header, source)
        for number in layers:
            yield from _attention(tensors, number, shapes[number])
    if architecture in _STANDARD:
        if not experts:
            yield from _missing(tensors, layers, ("ffn_up.weight", "ffn_down.weight"))
        lengths = _feed_forward_lengths(header, source, layers)
        for number in layers:
            yield from _feed_forward(tensors, number, lengths[number] if not experts else None)


def _missing(tensors: Tensors, layers: range, names: tuple[str, ...]) -> Iterator[Finding]:
    """Yield one finding per name, with the first layer that lacks the tensor."""
    for name in names:
        absent = [number for number in layers if f"blk.{number}.{name}" not in tensors]
        if absent:
            more = f" in {len(absent)} of {len(layers)} layers" if len(absent) > 1 else ""
            yield Finding("error", f"tensor blk.{absent[0]}.{name}", f"missing{more}")


def _expert_counts(tensors: Tensors, layers: range, experts: int) -> Iterator[Finding]:
    for number in layers:
        for name in _EXPERT_TENSORS:
            tensor = tensors.get(f"blk.{number}.{name}")
            if tensor and tensor.shape[-1:] != (experts,):
                yield _finding(tensor, f"has shape {_shown(tensor)}, expected {experts} experts in the last dimension")


def _expert_sizes(header: Header, tensors: Sequence[TensorInfo], experts: int) -> Iterator[Finding]:
    """Compare the matrices of experts with their number and, where it is required, their length."""
    key = f"{header.architecture}.expert_feed_forward_length"
    length = header.integer(key) if key in REQUIRED_KEYS.get(header.architecture or "", ()) else None
    for tensor in tensors:
        if not _EXPERTS.search(tensor.name):
            continue
        if not experts:
            yield _finding(tensor, "unexpected, as expert_count is 0")
        elif len(tensor.shape) != 3:
            yield _finding(tensor, f"has shape {_shown(tensor)}, expected 3 dimensions")
        elif length is not None and "down_exps" in tensor.name and tensor.shape[0] != length:
            message = f"expected {length} (expert_feed_forward_length) as dimension 0"
            yield _finding(tensor, f"has shape {_shown(tensor)}, {message}")


def _attention(tensors: Tensors, number: int, shape: LayerShape) -> Iterator[Finding]:
    """Compare the projections of a layer with its heads."""
    sizes = (
        ("attn_q.weight", 1, shape.heads * shape.key, "head_count * key_length"),
        ("attn_k.weight", 1, shape.kv_heads * shape.key, "head_count_kv * key_length"),
        ("attn_v.weight", 1, shape.kv_heads * shape.value, "head_count_kv * value_length"),
        ("attn_qkv.weight", 1, (shape.heads + shape.kv_heads) * shape.key + shape.kv_heads * shape.value, "all heads"),
        ("attn_output.weight", 0, shape.heads * shape.key, "head_count * key_length"),
    )
    for name, dimension, size, meaning in sizes:
        yield from _compared(tensors.get(f"blk.{number}.{name}"), dimension, size, meaning)


def _feed_forward(tensors: Tensors, number: int, length: int | None) -> Iterator[Finding]:
    for name, dimension in (("ffn_down.weight", 0), ("ffn_up.weight", 1), ("ffn_gate.weight", 1)):
        if length is not None:
            yield from _compared(tensors.get(f"blk.{number}.{name}"), dimension, length, "feed_forward_length")


def _compared(tensor: TensorInfo | None, dimension: int, size: int, meaning: str) -> Iterator[Finding]:
    """Compare one dimension of a matrix; of another tensor the number of dimensions is wrong, which others report."""
    if tensor and len(tensor.shape) == 2 and tensor.shape[dimension] != size:
        yield _finding(tensor, f"has shape {_shown(tensor)}, expected {size} ({meaning}) as dimension {dimension}")


def _feed_forward_lengths(header: Header, source: Source, layers: range) -> list[int | None]:
    key = f"{header.architecture}.feed_forward_length"
    if array := header.array(key):
        lengths = read_integers(source, header, array, len(layers))
        return [*lengths, *[None] * (len(layers) - len(lengths))]
    return [header.integer(key)] * len(layers)


def _finding(tensor: TensorInfo, message: str) -> Finding:
    return Finding("error", f"tensor {printable(tensor.name, 70)}", message, part=tensor.part)


def _shown(tensor: TensorInfo) -> str:
    return f"[{', '.join(map(str, tensor.shape))}]"

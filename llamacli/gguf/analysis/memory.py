"""Estimate of a model's memory by a formula over its header, for models that are not on this machine.

llama.cpp's allocator gives exact numbers; these are estimates. The weights are exact, the KV cache follows from the shape of
the attention (fewer cells for sliding windows), and the compute buffers follow measurements on the CPU with flash attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llamacli.gguf.arrays import read_integers
from llamacli.gguf.header import Header
from llamacli.gguf.layout import MAX_LAYERS, TENSOR_TYPES
from llamacli.gguf.model import ModelFiles
from llamacli.gguf.source import Source

CELL_PADDING = 256
"""The number of cells of the KV cache is a multiple of this."""

_TYPES_BY_NAME = {packing.name.lower(): packing for packing in TENSOR_TYPES.values()}


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Sizes in bytes of the weights, the KV cache (with any recurrent state) and the compute buffers."""

    weights: int
    cache: int
    compute: int

    @property
    def total(self) -> int:
        """The sum in bytes."""
        return self.weights + self.cache + self.compute


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The use of the memory: `context` tokens for each of `sequences`, and the cache types by llama.cpp's names."""

    context: int
    sequences: int = 1
    ubatch: int = 512
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"


def estimate_memory(files: ModelFiles, source: Source, work: Workload) -> MemoryEstimate:
    """Return the estimate for a model. `source` is that of its first file."""
    weights = sum(tensor.size for tensor in files.tensors)
    header = files.header
    return MemoryEstimate(weights, _cache(header, source, work), _compute(header, work))


@dataclass(frozen=True, slots=True)
class LayerShape:
    """The attention of one layer: numbers of heads, and of elements of a head's keys and values.

    `window` is the size of the sliding window in tokens, or None. A layer with 0 `heads` is recurrent. `value` is 0 where one
    compressed vector holds keys and values (MLA).
    """

    heads: int
    kv_heads: int
    key: int
    value: int
    window: int | None


def layer_shapes(header: Header, source: Source) -> list[LayerShape]:
    """Return the attention of each layer. `source` is that of the model's first file."""
    architecture = header.architecture or ""
    layers = min(header.integer(f"{architecture}.block_count") or 0, MAX_LAYERS)
    width = header.integer(f"{architecture}.embedding_length") or 0
    heads = _per_layer(header, source, f"{architecture}.attention.head_count", layers, 0)
    kv_heads = _per_layer(header, source, f"{architecture}.attention.head_count_kv", layers, None)
    windows = _per_layer(header, source, f"{architecture}.attention.sliding_window_pattern", layers, 0)
    window = header.integer(f"{architecture}.attention.sliding_window") or 0
    single_window = header.integer(f"{architecture}.attention.sliding_window_pattern") is not None
    compressed = f"{architecture}.attention.key_length_mla" in header.metadata
    shapes = []
    for layer in range(layers):
        own_heads = heads[layer] or 0
        own_kv = kv_heads[layer] if kv_heads[layer] is not None else own_heads
        if not own_heads or not own_kv:
            shapes.append(LayerShape(0, 0, 0, 0, None))
            continue
        key = header.integer(f"{architecture}.attention.key_length") or width // own_heads
        value = header.integer(f"{architecture}.attention.value_length") or width // own_heads
        pattern = windows[layer] or 0
        slides = bool(window) and (bool(pattern and (layer + 1) % pattern) if single_window else bool(pattern))
        shapes.append(LayerShape(own_heads, own_kv, key, 0 if compressed else value, window if slides else None))
    return shapes


def cell_bytes(shape: LayerShape, cache_type_k: str, cache_type_v: str) -> int:
    """Return the bytes of one token in the cache of one layer."""
    return _row(cache_type_k, shape.key * shape.kv_heads) + _row(cache_type_v, shape.value * shape.kv_heads)


def _cache(header: Header, source: Source, work: Workload) -> int:
    recurrent = recurrent_state(header) * work.sequences
    full = -(-work.context * work.sequences // CELL_PADDING) * CELL_PADDING
    total = 0
    for shape in layer_shapes(header, source):
        if not shape.heads:
            total += recurrent
            continue
        cells = full
        if shape.window is not None:
            needed = shape.window * work.sequences + work.ubatch
            cells = min(full, -(-needed // CELL_PADDING) * CELL_PADDING)
        total += cells * cell_bytes(shape, work.cache_type_k, work.cache_type_v)
    return total


def _compute(header: Header, work: Workload) -> int:
    """Return the bytes of activations of one ubatch: the logits or the widest layer, and the inputs."""
    architecture = header.architecture or ""
    width = header.integer(f"{architecture}.embedding_length") or 0
    inner = header.integer(f"{architecture}.feed_forward_length") or 4 * width
    tokens = header.array("tokenizer.ggml.tokens")
    vocabulary = tokens.count if tokens else header.integer(f"{architecture}.vocab_size") or 0
    mask = work.context * work.sequences * 2  # F16, one row per token of the ubatch
    return work.ubatch * (4 * max(vocabulary + width, 2 * inner + 2 * width) + mask)


def recurrent_state(header: Header) -> int:
    """Return the bytes of one sequence's F32 state in a recurrent layer."""
    architecture = header.architecture or ""
    kernel = header.integer(f"{architecture}.ssm.conv_kernel") or 0
    inner = header.integer(f"{architecture}.ssm.inner_size") or 0
    state = header.integer(f"{architecture}.ssm.state_size") or 0
    groups = header.integer(f"{architecture}.ssm.group_count") or 0
    return 4 * (max(kernel - 1, 0) * (inner + 2 * groups * state) + state * inner)


def _row(cache_type: str, elements: int) -> int:
    """Return the bytes of `elements` of a cache type."""
    packing = _TYPES_BY_NAME[cache_type]
    return -(-elements // packing.block) * packing.size


def _per_layer(header: Header, source: Source, key: str, layers: int, default: int | None) -> Sequence[int | None]:
    """Return a value for each layer; the header has one number for all, or an array."""
    array = header.array(key)
    if array:
        values = read_integers(source, header, array, layers)
        return [*values, *[default] * (layers - len(values))]
    number = header.integer(key)
    return [number if number is not None else default] * layers

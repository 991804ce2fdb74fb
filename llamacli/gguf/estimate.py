"""How much memory a model will take, by a formula over its header: for when the file itself is not at hand.

llama.cpp's own numbers are exact and come from its allocator; these are estimates. The weights are known to the byte, the
KV cache follows from the attention's shape (fewer cells where a sliding window says so), and the compute buffers are what
llama.cpp was seen to take on the CPU with flash attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llamacli.gguf.arrays import read_integers
from llamacli.gguf.header import Header
from llamacli.gguf.layout import TENSOR_TYPES
from llamacli.gguf.model import ModelFiles
from llamacli.gguf.soundness import MAX_LAYERS
from llamacli.gguf.source import Source

CELL_PADDING = 256
"""The KV cache has a multiple of this many cells."""

_TYPES_BY_NAME = {packing.name.lower(): packing for packing in TENSOR_TYPES.values()}


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes of weights, of the KV cache (with any recurrent state) and of the compute buffers."""

    weights: int
    cache: int
    compute: int

    @property
    def total(self) -> int:
        """All together."""
        return self.weights + self.cache + self.compute


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What the memory is for: `context` tokens for each of `sequences`, and the cache types as llama.cpp names them."""

    context: int
    sequences: int = 1
    ubatch: int = 512
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"


def estimate_memory(files: ModelFiles, source: Source, work: Workload) -> MemoryEstimate:
    """The estimate for a model. `source` is that of its first file."""
    weights = sum(tensor.size for tensor in files.tensors)
    header = files.header
    return MemoryEstimate(weights, _cache(header, source, work), _compute(header, work))


def _cache(header: Header, source: Source, work: Workload) -> int:
    architecture = header.architecture or ""
    layers = min(header.integer(f"{architecture}.block_count") or 0, MAX_LAYERS)
    width = header.integer(f"{architecture}.embedding_length") or 0
    heads = _per_layer(header, source, f"{architecture}.attention.head_count", layers, 0)
    kv_heads = _per_layer(header, source, f"{architecture}.attention.head_count_kv", layers, None)
    windows = _per_layer(header, source, f"{architecture}.attention.sliding_window_pattern", layers, 0)
    window = header.integer(f"{architecture}.attention.sliding_window") or 0
    recurrent = _recurrent_state(header, architecture) * work.sequences
    full = -(-work.context * work.sequences // CELL_PADDING) * CELL_PADDING
    short = min(full, -(-(window * work.sequences + work.ubatch) // CELL_PADDING) * CELL_PADDING)
    single_window = header.integer(f"{architecture}.attention.sliding_window_pattern") is not None
    total = 0
    for layer in range(layers):
        own_heads = heads[layer] or 0
        own_kv = kv_heads[layer] if kv_heads[layer] is not None else own_heads
        if not own_heads or not own_kv:
            total += recurrent
            continue
        key = header.integer(f"{architecture}.attention.key_length") or width // own_heads
        value = header.integer(f"{architecture}.attention.value_length") or width // own_heads
        if f"{architecture}.attention.key_length_mla" in header.metadata:  # one compressed vector stands for keys and values
            value = 0
        pattern = windows[layer] or 0
        slides = bool(window) and (bool(pattern and (layer + 1) % pattern) if single_window else bool(pattern))
        cells = short if slides else full
        total += cells * (_row(work.cache_type_k, key * own_kv) + _row(work.cache_type_v, value * own_kv))
    return total


def _compute(header: Header, work: Workload) -> int:
    """Activations of one ubatch: the logits, or the widest layer, and the inputs beside them."""
    architecture = header.architecture or ""
    width = header.integer(f"{architecture}.embedding_length") or 0
    inner = header.integer(f"{architecture}.feed_forward_length") or 4 * width
    tokens = header.array("tokenizer.ggml.tokens")
    vocabulary = tokens.count if tokens else header.integer(f"{architecture}.vocab_size") or 0
    mask = work.context * work.sequences * 2  # F16, one row for each token of the ubatch
    return work.ubatch * (4 * max(vocabulary + width, 2 * inner + 2 * width) + mask)


def _recurrent_state(header: Header, architecture: str) -> int:
    """Bytes of one sequence's state in a recurrent layer, F32."""
    kernel = header.integer(f"{architecture}.ssm.conv_kernel") or 0
    inner = header.integer(f"{architecture}.ssm.inner_size") or 0
    state = header.integer(f"{architecture}.ssm.state_size") or 0
    groups = header.integer(f"{architecture}.ssm.group_count") or 0
    return 4 * (max(kernel - 1, 0) * (inner + 2 * groups * state) + state * inner)


def _row(cache_type: str, elements: int) -> int:
    """Bytes of so many elements of a cache type."""
    packing = _TYPES_BY_NAME[cache_type]
    return -(-elements // packing.block) * packing.size


def _per_layer(header: Header, source: Source, key: str, layers: int, default: int | None) -> Sequence[int | None]:
    """A value for each layer: the header has one number for all, or an array of them."""
    array = header.array(key)
    if array:
        values = read_integers(source, header, array, layers)
        return [*values, *[default] * (layers - len(values))]
    number = header.integer(key)
    return [number if number is not None else default] * layers

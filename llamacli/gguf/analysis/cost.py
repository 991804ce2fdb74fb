"""The cost of one token by a model's header: bytes read and arithmetic operations.

Weights count as llama.cpp uses them: one row of a lookup table (the embeddings), unless it is the output matrix as well; of a
mixture of experts, those used; no layers for multi-token prediction. An operation is a multiplication or an addition, so that a
matrix costs two per element.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from llamacli.errors import ModelUnsupportedError
from llamacli.gguf.analysis.memory import LayerShape, cell_bytes, layer_shapes, recurrent_state
from llamacli.gguf.header import Header, TensorInfo
from llamacli.gguf.model import ModelFiles, read_files
from llamacli.gguf.source import FileSource, Source

LOOKED_UP = ("token_embd.weight", "position_embd.weight", "token_types.weight", "per_layer_token_embd.weight")
"""Lookup tables, of which a token needs one row."""

_UNUSED = ("cls.", "cls_", "enc.", "mtp.", "v.", "mm.")  # other heads, encoders, multi-token prediction
_LAYER = re.compile(r"blk\.(\d+)\.")
_SMALLEST_MATRIX = 32
"""Number of columns below which a tensor is not a weight matrix, but a convolution kernel, for example."""


@dataclass(frozen=True, slots=True)
class Product:
    """`count` weight matrices of one type and shape; in a mixture of `experts`, `used` of them per token.

    `row_size` is the size in bytes of a row of `columns` elements. `is_output`: the matrix that computes logits, which only
    some tokens need.
    """

    type: str
    columns: int
    rows: int
    count: int
    row_size: int
    experts: int = 0
    used: int = 0
    is_output: bool = False

    @property
    def size(self) -> int:
        """Bytes read for one token."""
        return self.row_size * self.rows * self.count * (self.used or 1)

    @property
    def operations(self) -> int:
        """Operations for one token."""
        return 2 * self.columns * self.rows * self.count * (self.used or 1)


@dataclass(frozen=True, slots=True)
class ModelCost:
    """The cost of tokens. `other`: bytes of norms, biases and table rows; `state`: bytes of a recurrent layer's state."""

    products: tuple[Product, ...]
    other: int
    layers: tuple[LayerShape, ...]
    state: int

    @property
    def weights(self) -> int:
        """Bytes of weights read for a generated token."""
        return sum(product.size for product in self.products) + self.other

    def operations(self, *, output: bool) -> dict[str, int]:
        """Return the operations of the products for one token by weight type. Without `output`, those for a prompt token."""
        totals: Counter[str] = Counter()
        for product in self.products:
            if output or not product.is_output:
                totals[product.type] += product.operations
        return dict(totals)

    def cache(self, depth: float, cache_type_k: str = "f16", cache_type_v: str = "f16") -> float:
        """Return the bytes of KV cache read for a token after `depth` others; a recurrent state is read and written."""
        return sum(
            cell_bytes(shape, cache_type_k, cache_type_v) * _visible(shape, depth) if shape.heads else 2 * self.state
            for shape in self.layers
        )

    def attention(self, depth: float) -> float:
        """Return the attention operations for a token after `depth` others."""
        return sum(2 * shape.heads * (shape.key + (shape.value or shape.key)) * _visible(shape, depth) for shape in self.layers)


def read_cost(path: Path) -> ModelCost:
    """Return the cost of the model's tokens. Raises ModelError if the file cannot be read, or does not generate text."""
    files = read_files(path)
    with FileSource(files.locations[0]) as source:
        return model_cost(files, source)


def model_cost(files: ModelFiles, source: Source) -> ModelCost:
    """Return the cost by a model's header. `source` is that of its first file.

    Raises:
        ModelUnsupportedError: if the model does not generate text, or has an encoder.
    """
    header = files.header
    _require_decoder(header)
    tensors = [tensor for tensor in files.tensors if not tensor.name.startswith(_UNUSED) and _is_used(tensor, header)]
    tied = all(tensor.name != "output.weight" for tensor in tensors)
    kinds: Counter[Product] = Counter()
    other = 0
    for tensor in tensors:
        if tensor.name in LOOKED_UP:
            other += _row_size(tensor)
            if tied and tensor.name == "token_embd.weight":
                kinds[_product(tensor, header, is_output=True)] += 1
        elif _is_matrix(tensor):
            kinds[_product(tensor, header, is_output=tensor.name == "output.weight")] += 1
        else:
            other += tensor.size
    products = tuple(
        Product(k.type, k.columns, k.rows, count, k.row_size, k.experts, k.used, k.is_output) for k, count in kinds.items()
    )
    return ModelCost(products, other, tuple(layer_shapes(header, source)), recurrent_state(header))


def _require_decoder(header: Header) -> None:
    architecture = header.architecture or ""
    if header.flag(f"{architecture}.attention.causal") is False or architecture.startswith(("t5", "clip")):
        raise ModelUnsupportedError(
            f"{header.name} is not a decoder-only model", hint="use a model that generates text token by token"
        )


def _is_used(tensor: TensorInfo, header: Header) -> bool:
    """Return whether generation uses the tensor's layer."""
    layer = _LAYER.match(tensor.name)
    count = header.integer(f"{header.architecture}.block_count") or 0
    ahead = header.integer(f"{header.architecture}.nextn_predict_layers") or 0
    return layer is None or int(layer[1]) < count - ahead


def _is_matrix(tensor: TensorInfo) -> bool:
    return len(tensor.shape) > 1 and tensor.name.endswith(".weight") and tensor.shape[0] >= _SMALLEST_MATRIX


def _product(tensor: TensorInfo, header: Header, *, is_output: bool) -> Product:
    experts = used = 0
    if "_exps" in tensor.name and len(tensor.shape) > 2:
        experts = tensor.shape[2]
        used = min(header.integer(f"{header.architecture}.expert_used_count") or experts, experts)
    columns = tensor.shape[0]
    rows = tensor.elements // columns // max(experts, 1)
    return Product(tensor.type.name, columns, rows, 1, _row_size(tensor), experts, used, is_output)


def _row_size(tensor: TensorInfo) -> int:
    return -(-tensor.shape[0] // tensor.type.block) * tensor.type.size


def _visible(shape: LayerShape, depth: float) -> float:
    """Return the number of tokens that a layer attends to, the evaluated one included."""
    return min(depth + 1, shape.window) if shape.window is not None else depth + 1

"""What one token costs: the bytes that must be read and the operations that must be done for it, by a model's header.

Weights are counted as llama.cpp uses them: of a table that is only looked up in (the embeddings) one row is read, unless it is
the output matrix, too; of a mixture of experts those that are used; layers for predicting several tokens are left alone. An
operation is a multiplication or an addition, so that a matrix costs two for each of its elements.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from llamacli.errors import ModelUnsupportedError
from llamacli.gguf.estimate import LayerShape, cell_bytes, layer_shapes, recurrent_state
from llamacli.gguf.header import Header, TensorInfo
from llamacli.gguf.model import ModelFiles
from llamacli.gguf.source import Source

LOOKED_UP = ("token_embd.weight", "position_embd.weight", "token_types.weight", "per_layer_token_embd.weight")
"""Tables of which a token needs one row."""

_UNUSED = ("cls.", "cls_", "enc.", "mtp.", "v.", "mm.")  # heads for other ends, and what other tokens go through
_LAYER = re.compile(r"blk\.(\d+)\.")
_SMALLEST_MATRIX = 32
"""Columns below which a tensor is no matrix that tokens are multiplied with (the kernel of a convolution, for example)."""


@dataclass(frozen=True, slots=True)
class Product:
    """`count` matrices of one type and shape that each token is multiplied with; of `experts`, if there are any, `used` each.

    `row_size` is bytes of a row of `columns` elements. `is_output`: the matrix that makes logits, for tokens that need some.
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
        """Bytes that are read for one token."""
        return self.row_size * self.rows * self.count * (self.used or 1)

    @property
    def operations(self) -> int:
        """Operations for one token."""
        return 2 * self.columns * self.rows * self.count * (self.used or 1)


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What tokens cost. `other`: bytes of norms, biases and looked-up rows; `layers`: how each attends; `state`: bytes of a
    recurrent layer's state.
    """

    products: tuple[Product, ...]
    other: int
    layers: tuple[LayerShape, ...]
    state: int

    @property
    def weights(self) -> int:
        """Bytes of weights that are read for a generated token."""
        return sum(product.size for product in self.products) + self.other

    def operations(self, *, output: bool) -> dict[str, int]:
        """Operations of the products for one token, by the weights' type. Without `output` as for a token of the prompt."""
        totals: Counter[str] = Counter()
        for product in self.products:
            if output or not product.is_output:
                totals[product.type] += product.operations
        return dict(totals)

    def cache(self, depth: float, cache_type_k: str = "f16", cache_type_v: str = "f16") -> float:
        """Bytes of the cache that are read for a token after `depth` others; a recurrent state is read and written."""
        return sum(
            cell_bytes(shape, cache_type_k, cache_type_v) * _visible(shape, depth) if shape.heads else 2 * self.state
            for shape in self.layers
        )

    def attention(self, depth: float) -> float:
        """Operations of attention for a token after `depth` others."""
        return sum(2 * shape.heads * (shape.key + (shape.value or shape.key)) * _visible(shape, depth) for shape in self.layers)


def model_cost(files: ModelFiles, source: Source) -> ModelCost:
    """The cost by a model's header. `source` is that of its first file.

    Raises:
        ModelUnsupportedError: the model generates nothing, or has an encoder of its own.
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
            f"{header.name} is no model that generates token after token", hint="this is for decoder-only language models"
        )


def _is_used(tensor: TensorInfo, header: Header) -> bool:
    """Whether the tensor is in a layer that generation goes through."""
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
    """How many tokens a layer looks at, the one that is evaluated included."""
    return min(depth + 1, shape.window) if shape.window is not None else depth + 1

"""Matrix products and attention on the CPU through ggml itself, as a model computes them."""

from __future__ import annotations

import ctypes
import functools
import math
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int64, c_size_t, c_void_p
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from llamacli.binding.enums import ggml_type, llamacli_kernels
from llamacli.binding.library import library

Floats = NDArray[np.float32]

BEST = llamacli_kernels.LLAMACLI_KERNELS_BEST
AVX2 = llamacli_kernels.LLAMACLI_KERNELS_AVX2
UPSTREAM = llamacli_kernels.LLAMACLI_KERNELS_UPSTREAM

_MEMORY = 1 << 20
_CPU = 0


class _InitParams(ctypes.Structure):
    _fields_ = (("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool))


_PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "ggml_init": (c_void_p, (_InitParams,)),
    "ggml_free": (None, (c_void_p,)),
    "ggml_new_tensor_4d": (c_void_p, (c_void_p, c_int, c_int64, c_int64, c_int64, c_int64)),
    "ggml_permute": (c_void_p, (c_void_p, c_void_p, c_int, c_int, c_int, c_int)),
    "ggml_mul_mat": (c_void_p, (c_void_p, c_void_p, c_void_p)),
    "ggml_add": (c_void_p, (c_void_p, c_void_p, c_void_p)),
    "ggml_mul_mat_id": (c_void_p, (c_void_p, c_void_p, c_void_p, c_void_p)),
    "ggml_flash_attn_ext": (c_void_p, (*[c_void_p] * 5, c_float, c_float, c_float)),
    "ggml_flash_attn_ext_add_sinks": (None, (c_void_p, c_void_p)),
    "ggml_new_graph": (c_void_p, (c_void_p,)),
    "ggml_build_forward_expand": (None, (c_void_p, c_void_p)),
    "ggml_backend_init_by_type": (c_void_p, (c_int, c_char_p)),
    "ggml_backend_free": (None, (c_void_p,)),
    "ggml_backend_get_device": (c_void_p, (c_void_p,)),
    "ggml_backend_dev_backend_reg": (c_void_p, (c_void_p,)),
    "ggml_backend_reg_get_proc_address": (c_void_p, (c_void_p, c_char_p)),
    "ggml_backend_alloc_ctx_tensors": (c_void_p, (c_void_p, c_void_p)),
    "ggml_backend_buffer_free": (None, (c_void_p,)),
    "ggml_backend_tensor_set": (None, (c_void_p, c_void_p, c_size_t, c_size_t)),
    "ggml_backend_tensor_get": (None, (c_void_p, c_void_p, c_size_t, c_size_t)),
    "ggml_backend_graph_compute": (c_int, (c_void_p, c_void_p)),
    "ggml_quantize_requires_imatrix": (c_bool, (c_int,)),
    "ggml_quantize_chunk": (c_size_t, (c_int, POINTER(c_float), c_void_p, c_int64, c_int64, c_int64, c_void_p)),
}


@functools.cache
def _function(name: str) -> Any:
    function = getattr(ctypes.CDLL(library()._handle._name), name)
    if name in _PROTOTYPES:
        function.restype, function.argtypes = _PROTOTYPES[name]
    return function


def quantize(kind: ggml_type, weights: Floats) -> NDArray[np.uint8]:
    """Return rows of weights as ggml quantizes them, as bytes. All weights matter alike, if a type must know that."""
    rows, width = weights.shape
    source = np.ascontiguousarray(weights, dtype=np.float32)
    to = np.empty((rows, int(library().ggml_row_size(kind, width))), np.uint8)
    equal = np.ones(width, np.float32)
    matter = equal.ctypes.data if _function("ggml_quantize_requires_imatrix")(kind) else None
    _function("ggml_quantize_chunk")(kind, source.ctypes.data_as(POINTER(c_float)), to.ctypes.data, 0, rows, width, matter)
    return to


def dequantize(kind: ggml_type, rows: NDArray[np.uint8], width: int) -> NDArray[np.float64]:
    """Return the values of quantized rows."""
    name = kind.name.removeprefix("GGML_TYPE_")
    function = _function(f"dequantize_row_{name if name.endswith('_K') else name.lower()}".replace("_Q", "_q"))
    function.restype, function.argtypes = None, (c_void_p, c_void_p, c_int64)
    values = np.empty((len(rows), width), np.float32)
    for row, to in zip(rows, values, strict=True):
        function(row.ctypes.data, to.ctypes.data, width)
    return values.astype(np.float64)


def multiply(
    kind: ggml_type,
    rows: NDArray[np.uint8],
    columns: Floats,
    *,
    kernels: llamacli_kernels = BEST,
    threads: int = 1,
    transposed: bool = False,
) -> Floats:
    """Multiply quantized rows of weights (..., rows, bytes) with columns of activations (..., columns, width).

    `transposed` hands over a view of the columns whose second and third dimensions are exchanged.
    """
    columns, rows = np.ascontiguousarray(columns, dtype=np.float32), np.ascontiguousarray(rows)
    with _Operation() as operation:
        weights = operation.tensor(kind, (columns.shape[-1], *reversed(rows.shape[:-1])))
        values = operation.tensor(ggml_type.GGML_TYPE_F32, tuple(reversed(columns.shape)))
        seen = _function("ggml_permute")(operation.context, values, 0, 2, 1, 3) if transposed else values
        product = _function("ggml_mul_mat")(operation.context, weights, seen)
        shape = columns.swapaxes(-2, -3).shape if transposed else columns.shape
        result = np.empty((*shape[:-1], rows.shape[-2]), np.float32)
        operation.compute(product, result, {weights: rows, values: columns}, kernels, threads)
    return result


def add_product(
    kind: ggml_type, rows: NDArray[np.uint8], column: Floats, to: Floats, *, kernels: llamacli_kernels = BEST, threads: int = 1
) -> Floats:
    """Add the product of quantized rows of weights (rows, bytes) and a column of activations to columns (columns, rows)."""
    with _Operation() as operation:
        weights = operation.tensor(kind, (len(column), len(rows)))
        values = operation.tensor(ggml_type.GGML_TYPE_F32, column.shape)
        columns = operation.tensor(ggml_type.GGML_TYPE_F32, tuple(reversed(to.shape)))
        product = _function("ggml_mul_mat")(operation.context, weights, values)
        result = np.empty_like(to)
        inputs = {weights: rows, values: column, columns: to}
        operation.compute(_function("ggml_add")(operation.context, columns, product), result, inputs, kernels, threads)
    return result


def multiply_experts(
    kind: ggml_type,
    rows: NDArray[np.uint8],
    columns: Floats,
    choices: NDArray[np.int32],
    *,
    kernels: llamacli_kernels = BEST,
    threads: int = 1,
) -> Floats:
    """Multiply columns of activations (tokens, 1 or used, width) with the rows (experts, rows, bytes) of the chosen experts.

    `choices` (tokens, used) are numbers of experts. The result has the shape (tokens, used, rows).
    """
    columns, rows = np.ascontiguousarray(columns, dtype=np.float32), np.ascontiguousarray(rows)
    with _Operation() as operation:
        weights = operation.tensor(kind, (columns.shape[-1], *reversed(rows.shape[:-1])))
        values = operation.tensor(ggml_type.GGML_TYPE_F32, tuple(reversed(columns.shape)))
        ids = operation.tensor(ggml_type.GGML_TYPE_I32, tuple(reversed(choices.shape)))
        product = _function("ggml_mul_mat_id")(operation.context, weights, values, ids)
        result = np.empty((*choices.shape, rows.shape[-2]), np.float32)
        operation.compute(product, result, {weights: rows, values: columns, ids: choices}, kernels, threads)
    return result


def attend(
    queries: Floats,
    keys: NDArray[Any],
    values: NDArray[Any],
    mask: NDArray[np.float16] | None,
    *,
    kernels: llamacli_kernels = BEST,
    threads: int = 1,
    bias: float = 0.0,
    cap: float = 0.0,
    sinks: Floats | None = None,
) -> Floats:
    """Flash attention of queries (heads, tokens, width) to keys and values (heads, keys, width), with a mask (tokens, keys).

    The scale of the scores is 1 / sqrt(width). The result has the shape (tokens, heads, width of the values).
    """
    with _Operation() as operation:
        kind = {np.dtype(np.float16): ggml_type.GGML_TYPE_F16, np.dtype(np.float32): ggml_type.GGML_TYPE_F32}
        arrays = [array if array is None else np.ascontiguousarray(array) for array in (queries, keys, values, mask)]
        tensors = [
            None if array is None else operation.tensor(kind[array.dtype], tuple(reversed(array.shape))) for array in arrays
        ]
        scale = 1 / math.sqrt(queries.shape[-1])
        attention = _function("ggml_flash_attn_ext")(operation.context, *tensors, scale, bias, cap)
        inputs = dict(zip(tensors, arrays, strict=True))
        if sinks is not None:
            tensor = operation.tensor(ggml_type.GGML_TYPE_F32, sinks.shape)
            _function("ggml_flash_attn_ext_add_sinks")(attention, tensor)
            inputs[tensor] = sinks
        result = np.empty((queries.shape[1], queries.shape[0], values.shape[-1]), np.float32)
        operation.compute(attention, result, inputs, kernels, threads)
    return result


class _Operation:
    """A context of ggml's for the tensors of one operation, and a backend that computes it."""

    def __enter__(self) -> Self:
        self.context = _function("ggml_init")(_InitParams(_MEMORY, None, True))
        self._backend = _function("ggml_backend_init_by_type")(_CPU, None)
        self._buffer = None
        return self

    def __exit__(self, *_: object) -> None:
        _function("ggml_backend_buffer_free")(self._buffer)
        _function("ggml_backend_free")(self._backend)
        _function("ggml_free")(self.context)

    def tensor(self, kind: ggml_type, shape: tuple[int, ...]) -> Any:
        """Create a tensor; the first number is that of the innermost dimension."""
        return _function("ggml_new_tensor_4d")(self.context, kind, *_four(shape))

    def compute(self, to: Any, result: Floats, inputs: dict[Any, Any], kernels: llamacli_kernels, threads: int) -> None:
        """Compute the tensor `to` from the arrays of the `inputs`, and copy it to `result`."""
        graph = _function("ggml_new_graph")(self.context)
        _function("ggml_build_forward_expand")(graph, to)
        self._buffer = _function("ggml_backend_alloc_ctx_tensors")(self.context, self._backend)
        for tensor, array in inputs.items():
            if tensor is not None:
                _function("ggml_backend_tensor_set")(tensor, array.ctypes.data, 0, array.nbytes)
        _set_threads(self._backend, threads)
        library().llamacli_choose_kernels(kernels)
        try:
            assert _function("ggml_backend_graph_compute")(self._backend, graph) == 0
        finally:
            library().llamacli_choose_kernels(UPSTREAM)
        _function("ggml_backend_tensor_get")(to, result.ctypes.data, 0, result.nbytes)


def _four(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, *[1] * (4 - len(shape)))


def _set_threads(backend: Any, threads: int) -> None:
    registry = _function("ggml_backend_dev_backend_reg")(_function("ggml_backend_get_device")(backend))
    address = _function("ggml_backend_reg_get_proc_address")(registry, b"ggml_backend_set_n_threads")
    ctypes.CFUNCTYPE(None, c_void_p, c_int)(address)(backend, threads)

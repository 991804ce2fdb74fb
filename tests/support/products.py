"""Matrix products on the CPU through ggml itself, as a model computes them, and the same in double precision."""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int64, c_size_t, c_void_p
from typing import Any

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
    "ggml_quantize_chunk": (c_size_t, (c_int, POINTER(c_float), c_void_p, c_int64, c_int64, c_int64, c_void_p)),
}


@functools.cache
def _function(name: str) -> Any:
    function = getattr(ctypes.CDLL(library()._handle._name), name)
    if name in _PROTOTYPES:
        function.restype, function.argtypes = _PROTOTYPES[name]
    return function


def quantize(kind: ggml_type, weights: Floats) -> NDArray[np.uint8]:
    """Return rows of weights as ggml quantizes them, as bytes."""
    rows, width = weights.shape
    source = np.ascontiguousarray(weights, dtype=np.float32)
    to = np.empty((rows, int(library().ggml_row_size(kind, width))), np.uint8)
    _function("ggml_quantize_chunk")(kind, source.ctypes.data_as(POINTER(c_float)), to.ctypes.data, 0, rows, width, None)
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
    columns = np.ascontiguousarray(columns, dtype=np.float32)
    rows = np.ascontiguousarray(rows)
    weight_shape = (columns.shape[-1], *reversed(rows.shape[:-1]))
    column_shape = tuple(reversed(columns.shape))
    context = _function("ggml_init")(_InitParams(_MEMORY, None, True))
    backend = _function("ggml_backend_init_by_type")(_CPU, None)
    weights = _function("ggml_new_tensor_4d")(context, kind, *_four(weight_shape))
    values = _function("ggml_new_tensor_4d")(context, ggml_type.GGML_TYPE_F32, *_four(column_shape))
    seen = _function("ggml_permute")(context, values, 0, 2, 1, 3) if transposed else values
    product = _function("ggml_mul_mat")(context, weights, seen)
    graph = _function("ggml_new_graph")(context)
    _function("ggml_build_forward_expand")(graph, product)
    buffer = _function("ggml_backend_alloc_ctx_tensors")(context, backend)
    try:
        _function("ggml_backend_tensor_set")(weights, rows.ctypes.data, 0, rows.nbytes)
        _function("ggml_backend_tensor_set")(values, columns.ctypes.data, 0, columns.nbytes)
        _set_threads(backend, threads)
        library().llamacli_choose_kernels(kernels)
        assert _function("ggml_backend_graph_compute")(backend, graph) == 0
        shape = (
            columns.shape if not transposed else (*columns.shape[:-3], columns.shape[-2], columns.shape[-3], columns.shape[-1])
        )
        result = np.empty((*shape[:-1], rows.shape[-2]), np.float32)
        _function("ggml_backend_tensor_get")(product, result.ctypes.data, 0, result.nbytes)
    finally:
        library().llamacli_choose_kernels(UPSTREAM)
        _function("ggml_backend_buffer_free")(buffer)
        _function("ggml_backend_free")(backend)
        _function("ggml_free")(context)
    return result


def _four(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, *[1] * (4 - len(shape)))


def _set_threads(backend: Any, threads: int) -> None:
    registry = _function("ggml_backend_dev_backend_reg")(_function("ggml_backend_get_device")(backend))
    address = _function("ggml_backend_reg_get_proc_address")(registry, b"ggml_backend_set_n_threads")
    ctypes.CFUNCTYPE(None, c_void_p, c_int)(address)(backend, threads)

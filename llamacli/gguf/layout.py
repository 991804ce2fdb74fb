"""Constants of the GGUF format: value types, tensor types with their block sizes, names of quantizations, limits.

Source: `ggml/include/gguf.h`, `ggml/include/ggml.h` and `include/llama.h` of llama.cpp.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32
MAX_DIMENSIONS = 4
MAX_TENSOR_NAME = 63
"""Longest name of a tensor in bytes (GGML_MAX_NAME less the terminating zero)."""

MAX_LAYERS = 512
MAX_EXPERTS = 1024
"""Limits of llama.cpp: LLAMA_MAX_LAYERS and LLAMA_MAX_EXPERTS in `src/llama-hparams.h`."""


class ValueType(IntEnum):
    """The type of a metadata value."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12

    @property
    def label(self) -> str:
        """The short name that llama.cpp uses: `u32`, `f32`, `str`."""
        return VALUE_LABELS[self]


VALUE_LABELS = ("u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "str", "arr", "u64", "i64", "f64")

VALUE_FORMATS = {
    ValueType.UINT8: "B", ValueType.INT8: "b", ValueType.UINT16: "H", ValueType.INT16: "h", ValueType.UINT32: "I",
    ValueType.INT32: "i", ValueType.FLOAT32: "f", ValueType.BOOL: "?", ValueType.UINT64: "Q", ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}  # fmt: skip
"""The `struct` format of each type of fixed size."""

VALUE_SIZES = {
    ValueType.UINT8: 1, ValueType.INT8: 1, ValueType.UINT16: 2, ValueType.INT16: 2, ValueType.UINT32: 4, ValueType.INT32: 4,
    ValueType.FLOAT32: 4, ValueType.BOOL: 1, ValueType.UINT64: 8, ValueType.INT64: 8, ValueType.FLOAT64: 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorType:
    """The packing of a tensor's elements: `block` elements of a row take `size` bytes."""

    name: str
    block: int
    size: int


TENSOR_TYPES = {
    0: TensorType("F32", 1, 4), 1: TensorType("F16", 1, 2), 2: TensorType("Q4_0", 32, 18), 3: TensorType("Q4_1", 32, 20),
    6: TensorType("Q5_0", 32, 22), 7: TensorType("Q5_1", 32, 24), 8: TensorType("Q8_0", 32, 34), 9: TensorType("Q8_1", 32, 36),
    10: TensorType("Q2_K", 256, 84), 11: TensorType("Q3_K", 256, 110), 12: TensorType("Q4_K", 256, 144),
    13: TensorType("Q5_K", 256, 176), 14: TensorType("Q6_K", 256, 210), 15: TensorType("Q8_K", 256, 292),
    16: TensorType("IQ2_XXS", 256, 66), 17: TensorType("IQ2_XS", 256, 74), 18: TensorType("IQ3_XXS", 256, 98),
    19: TensorType("IQ1_S", 256, 50), 20: TensorType("IQ4_NL", 32, 18), 21: TensorType("IQ3_S", 256, 110),
    22: TensorType("IQ2_S", 256, 82), 23: TensorType("IQ4_XS", 256, 136), 24: TensorType("I8", 1, 1),
    25: TensorType("I16", 1, 2), 26: TensorType("I32", 1, 4), 27: TensorType("I64", 1, 8), 28: TensorType("F64", 1, 8),
    29: TensorType("IQ1_M", 256, 56),
    30: TensorType("BF16", 1, 2), 34: TensorType("TQ1_0", 256, 54), 35: TensorType("TQ2_0", 256, 66),
    39: TensorType("MXFP4", 32, 17), 40: TensorType("NVFP4", 64, 36), 41: TensorType("Q1_0", 128, 18),
    42: TensorType("Q2_0", 64, 18),
}  # fmt: skip

REMOVED_TENSOR_TYPES = {
    4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8",
}  # fmt: skip
"""Types of old files, which llama.cpp no longer reads."""

FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS",
    23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS",
    31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0", 41: "Q2_0",
}  # fmt: skip
"""Names of the values of `general.file_type`, the quantization mix."""

POOLING_TYPES = {0: "none", 1: "mean", 2: "cls", 3: "last", 4: "rank"}
TOKEN_TYPES = {1: "normal", 2: "unknown", 3: "control", 4: "user_defined", 5: "unused", 6: "byte"}

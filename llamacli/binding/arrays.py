"""C arrays for the rooms above, which do not import ctypes."""

from __future__ import annotations

import array
import ctypes
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llamacli.binding.enums import llama_model_kv_override_type
from llamacli.binding.library import structs

_llama_batch = structs["llama_batch"]


@functools.lru_cache(maxsize=64)
def _array_type(element: Any, length: int) -> Any:
    """The type of arrays, which ctypes makes anew whenever no such array exists: that takes longer than short calls."""
    return element * length


def token_array(tokens: Sequence[int]) -> Any:
    """Return the tokens as a C array of int32."""
    return (ctypes.c_int32 * len(tokens))(*tokens)


def token_buffer(size: int) -> Any:
    """Allocate `size` int32, zeroed; indexing and slicing return integers."""
    return _array_type(ctypes.c_int32, size)()


def token_values(buffer: Any, count: int) -> array.array[int]:
    """Copy the first `count` tokens of a token buffer."""
    return array.array("i", bytes(memoryview(buffer).cast("B")[: 4 * count]))


def char_buffer(size: int) -> Any:
    """Allocate `size` chars, zeroed; `.raw` is their bytes."""
    return ctypes.create_string_buffer(size)


def byte_buffer(size: int) -> Any:
    """Allocate `size` uint8, zeroed."""
    return (ctypes.c_uint8 * size)()


def byte_array(data: bytes) -> Any:
    """Copy bytes into a C array of uint8."""
    return (ctypes.c_uint8 * len(data)).from_buffer_copy(data)


def byte_view(memory: Any) -> Any:
    """Return writable memory, such as a memoryview, as a C array of uint8 without copying."""
    return (ctypes.c_uint8 * len(memory)).from_buffer(memory)


def float_array(values: Iterable[float]) -> Any:
    """Return the values as a C array of float."""
    numbers = list(values)
    return (ctypes.c_float * len(numbers))(*numbers)


def string_array(texts: Sequence[str]) -> Any:
    """Return the texts as a C array of char pointers to UTF-8."""
    return (ctypes.c_char_p * len(texts))(*[text.encode() for text in texts])


def pointer_array(type_name: str, pointers: Sequence[Any]) -> Any:
    """Return the pointers to structures `type_name` as a C array that ends with NULL."""
    return (ctypes.POINTER(structs[type_name]) * (len(pointers) + 1))(*pointers)


def struct_array(type_name: str, rows: Sequence[tuple[Any, ...]]) -> Any:
    """Return a C array of structures `type_name`; a row has the fields of one, in order."""
    return _array_type(structs[type_name], len(rows))(*rows)


def metadata_overrides(values: Mapping[str, bool | int | float | str]) -> Any:
    """Return an array of `llama_model_kv_override` that overrides scalars of a model's metadata.

    Keys and texts have at most 127 bytes.
    """
    rows = (structs["llama_model_kv_override"] * (len(values) + 1))()  # the last one, whose key is empty, is the end
    for row, (key, value) in zip(rows, values.items(), strict=False):
        row.key = key.encode()
        if isinstance(value, bool):
            row.tag, row.val_bool = llama_model_kv_override_type.LLAMA_KV_OVERRIDE_TYPE_BOOL, value
        elif isinstance(value, int):
            row.tag, row.val_i64 = llama_model_kv_override_type.LLAMA_KV_OVERRIDE_TYPE_INT, value
        elif isinstance(value, float):
            row.tag, row.val_f64 = llama_model_kv_override_type.LLAMA_KV_OVERRIDE_TYPE_FLOAT, value
        else:
            row.tag, row.val_str = llama_model_kv_override_type.LLAMA_KV_OVERRIDE_TYPE_STR, value.encode()
    return rows


def new_struct(type_name: str) -> Any:
    """Allocate a structure, zeroed."""
    return structs[type_name]()


def reference(value: Any) -> Any:
    """Return a pointer to a structure or scalar, valid for one call."""
    return ctypes.byref(value)


def int64_buffer(size: int) -> Any:
    """Allocate `size` int64, zeroed; indexing and slicing return integers."""
    return (ctypes.c_int64 * size)()


def size_pair() -> tuple[Any, Any]:
    """Allocate two size_t, zeroed, for functions with two outputs; `.value` reads them."""
    return ctypes.c_size_t(), ctypes.c_size_t()


def int32() -> Any:
    """Allocate an int32, zeroed; `.value` reads it."""
    return ctypes.c_int32()


def float_view(pointer: Any, count: int) -> memoryview[float]:
    """View `count` floats at `pointer` as a memoryview of format `f`, without copying; valid as long as C keeps them."""
    raw = memoryview((ctypes.c_float * count).from_address(ctypes.addressof(pointer.contents)))
    return raw.cast("B").cast("f")


def copy_floats(pointer: Any, count: int) -> bytes:
    """Copy `count` floats at `pointer`."""
    return ctypes.string_at(pointer, 4 * count)


def copy_integers(pointer: Any, count: int) -> tuple[int, ...]:
    """Copy `count` integers at `pointer`."""
    return tuple(pointer[:count])


class ImportanceArray:
    """Memory for the importance matrix that the quantizer takes: floats of 32 bits by the name of their weight."""

    def __init__(self, weights: Mapping[str, bytes]) -> None:
        self._values = [(ctypes.c_float * (len(data) // 4)).from_buffer_copy(data) for data in weights.values()]
        floats = ctypes.POINTER(ctypes.c_float)
        rows = [
            (name.encode(), ctypes.cast(values, floats), len(values))
            for name, values in zip(weights, self._values, strict=True)
        ]
        self.array = struct_array("llama_model_imatrix_data", [*rows, (None, None, 0)])


def tensor_overrides(types: Sequence[tuple[str, int]]) -> Any:
    """Return the types of tensors by patterns of their names as an array that ends with NULL."""
    rows = [(pattern.encode(), kind) for pattern, kind in types]
    return struct_array("llama_model_tensor_override", [*rows, (None, 0)])


class BatchArrays:
    """Memory for a `llama_batch` of up to `capacity` tokens, each in one sequence.

    It is filled by slices, which keeps a step cheap.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._token: Any = (ctypes.c_int32 * capacity)()
        self._position: Any = (ctypes.c_int32 * capacity)()
        self._sequence_count = (ctypes.c_int32 * capacity)(*([1] * capacity))
        self._sequence: Any = (ctypes.c_int32 * capacity)()
        first = ctypes.addressof(self._sequence)
        int32_pointer = ctypes.POINTER(ctypes.c_int32)
        addresses = (ctypes.c_void_p * capacity)(*[first + 4 * i for i in range(capacity)])
        self._sequence_pointers = addresses
        self._output: Any = (ctypes.c_int8 * capacity)()
        self._batch = _llama_batch(
            n_tokens=0,
            token=ctypes.cast(self._token, int32_pointer),
            embd=None,
            pos=ctypes.cast(self._position, int32_pointer),
            n_seq_id=ctypes.cast(self._sequence_count, int32_pointer),
            seq_id=ctypes.cast(addresses, ctypes.POINTER(int32_pointer)),
            logits=ctypes.cast(self._output, ctypes.POINTER(ctypes.c_int8)),
        )

    def fill(self, tokens: list[int], positions: list[int], sequences: list[int], outputs: list[int]) -> Any:
        """Fill the `llama_batch` and return it. `outputs` is 1 for tokens whose logits are needed; all lists are equally long.

        Raises:
            ValueError: if there are more tokens than `capacity`.
        """
        count = len(tokens)
        if count > self.capacity:
            raise ValueError(f"{count} tokens do not fit in a batch of {self.capacity}")
        self._token[:count] = tokens
        self._position[:count] = positions
        self._sequence[:count] = sequences
        self._output[:count] = outputs
        self._batch.n_tokens = count
        return self._batch

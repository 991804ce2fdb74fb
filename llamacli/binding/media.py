"""libmtmd for the rooms above, which do not import ctypes: a projector, and pictures and sounds as chunks of embeddings."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from llamacli.binding.enums import mtmd_input_chunk_type
from llamacli.binding.library import address_of, declarations, library, structs

SECTIONS = 4
"""Positions of an embedding for models with M-RoPE."""

_AXES = "tyxz"
_floats = ctypes.POINTER(ctypes.c_float)


def open_projector(name: bytes, model: Any, *, gpu: bool, threads: int, most_tokens: int | None, cancel: Any) -> Any:
    """Return the `mtmd_context` of a projector's file, or a null pointer. Encoding polls `cancel`, a `CancelFlag`, too."""
    lib = library()
    params = lib.mtmd_context_params_default()
    params.use_gpu = gpu
    params.print_timings = False
    params.n_threads = threads
    params.warmup = False  # the first picture does what it would do
    if most_tokens is not None:
        params.image_max_tokens = most_tokens
    params.cb_eval = declarations.type("ggml_backend_sched_eval_callback")(address_of(lib.llamacli_node_callback))
    params.cb_eval_user_data = cancel.address
    params.progress_callback = declarations.type("mtmd_progress_callback")(address_of(lib.llamacli_progress_callback))
    params.progress_callback_user_data = cancel.address
    return lib.mtmd_init_from_file(name, model, params)


@dataclass(frozen=True, slots=True)
class NativeChunk:
    """A part of what a picture or sound becomes: `tokens` of text, or `count` embeddings that take `positions` positions."""

    tokens: tuple[int, ...]
    count: int = 0
    positions: int = 0
    is_causal: bool = True
    handle: Any = None


class MediaChunks:
    """The chunks of a picture or a sound. A context manager; `close()` frees them.

    Without data (None) they can be counted, but not encoded. `size` is the width and height of a picture, or the number of
    samples of a sound.
    """

    def __init__(self, context: Any, size: tuple[int, ...], data: bytes | None) -> None:
        lib = library()
        self._context = context
        self._handle = lib.mtmd_input_chunks_init()
        bitmap = _bitmap(size, data)
        try:
            part = structs["mtmd_input_part"](None, bitmap)
            parts = (ctypes.POINTER(structs["mtmd_input_part"]) * 1)(ctypes.pointer(part))
            self.failed = lib.mtmd_tokenize_from_parts(context, self._handle, parts, 1, False) != 0
        finally:
            lib.mtmd_bitmap_free(bitmap)

    def __iter__(self) -> Iterator[NativeChunk]:
        lib = library()
        for index in range(lib.mtmd_input_chunks_size(self._handle)):
            chunk = lib.mtmd_input_chunks_get(self._handle, index)
            if lib.mtmd_input_chunk_get_type(chunk) == mtmd_input_chunk_type.MTMD_INPUT_CHUNK_TYPE_TEXT:
                count = ctypes.c_size_t()
                tokens = lib.mtmd_input_chunk_get_tokens_text(chunk, ctypes.byref(count))
                yield NativeChunk(tuple(tokens[: count.value]))
            else:
                count = lib.mtmd_input_chunk_get_n_tokens(chunk)
                positions = lib.mtmd_input_chunk_get_n_pos(chunk)
                is_causal = not lib.mtmd_decode_use_non_causal(self._context, chunk)
                yield NativeChunk((), count, positions, is_causal, chunk)

    def close(self) -> None:
        """Free the chunks."""
        handle, self._handle = self._handle, None
        if handle is not None:
            library().mtmd_input_chunks_free(handle)


def _bitmap(size: tuple[int, ...], data: bytes | None) -> Any:
    lib = library()
    memory = ctypes.c_char_p(data)
    if len(size) == 1:
        return lib.mtmd_bitmap_init_from_audio(size[0], ctypes.cast(memory, _floats))
    return lib.mtmd_bitmap_init(*size, ctypes.cast(memory, ctypes.POINTER(ctypes.c_uint8)))


def sections_of(chunk: Any, count: int) -> tuple[list[list[int]], list[int]]:
    """Return the positions of the embeddings of a chunk at the beginning, a list for each section of M-RoPE.

    The second value has a 1 for sections in which they grow with the position of the chunk, and a 0 for others.
    """
    lib = library()
    image = lib.mtmd_input_chunk_get_tokens_image(chunk)
    if not image:  # a sound
        return [list(range(count))] * SECTIONS, [1] * SECTIONS
    found = [lib.mtmd_image_tokens_get_decoder_pos(image, 0, index) for index in range(count)]
    later = lib.mtmd_image_tokens_get_decoder_pos(image, 1, 0)
    sections = [[getattr(one, axis) for one in found] for axis in _AXES]
    return sections, [getattr(later, axis) - getattr(found[0], axis) for axis in _AXES]


def encode_chunk(context: Any, chunk: Any, count: int) -> bytes | None:
    """Return the embeddings of a chunk, `count` rows of 32-bit floats; None if libmtmd failed."""
    lib = library()
    if lib.mtmd_encode_chunk(context, chunk) != 0:
        return None
    return ctypes.string_at(lib.mtmd_get_output_embd(context), 4 * count)


class EmbeddingBatch:
    """A `llama_batch` of up to `capacity` embeddings, all in one sequence, with `sections` positions each."""

    def __init__(self, capacity: int, sections: int) -> None:
        self._position: Any = (ctypes.c_int32 * (capacity * sections))()
        self._sequence = ctypes.c_int32()
        one = ctypes.POINTER(ctypes.c_int32)
        pointer = ctypes.pointer(self._sequence)
        self._sequences = (one * capacity)(*[pointer] * capacity)
        self._count = (ctypes.c_int32 * capacity)(*[1] * capacity)
        self._output: Any = (ctypes.c_int8 * capacity)()
        self._batch = structs["llama_batch"](
            n_tokens=0, token=None, embd=None,
            pos=ctypes.cast(self._position, one),
            n_seq_id=ctypes.cast(self._count, one),
            seq_id=ctypes.cast(self._sequences, ctypes.POINTER(one)),
            logits=ctypes.cast(self._output, ctypes.POINTER(ctypes.c_int8)),
        )  # fmt: skip

    def fill(self, rows: bytes, positions: list[list[int]], sequence: int, *, output: bool) -> Any:
        """Fill the `llama_batch` and return it. `positions` has a list for each section, `output` is for the last row."""
        count = len(positions[0])
        for section, values in enumerate(positions):
            self._position[section * count : (section + 1) * count] = values
        self._sequence.value = sequence
        self._output[:count] = [0] * (count - 1) + [int(output)]
        self._rows = rows  # C reads them during the call
        self._batch.embd = ctypes.cast(ctypes.c_char_p(rows), _floats)
        self._batch.n_tokens = count
        return self._batch

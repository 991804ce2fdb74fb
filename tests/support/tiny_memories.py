"""Writes tiny models whose memory cannot be cut at any token: a sliding window, a recurrent state, or both kinds of layers."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any, Literal

import tiny

Kind = Literal["swa", "recurrent", "hybrid"]
"""gemma3 with a window of 64 tokens in one of two layers, mamba, and lfm2 with one layer of each kind."""

KINDS: tuple[Kind, ...] = ("swa", "recurrent", "hybrid")
ARCHITECTURES: dict[Kind, str] = {"swa": "gemma3", "recurrent": "mamba", "hybrid": "lfm2"}

WINDOW = 64
_WIDTH, _HEADS, _KV_HEADS, _FEED_FORWARD, _LAYERS = 64, 2, 1, 128, 2
_KV_WIDTH = _WIDTH // _HEADS * _KV_HEADS
_INNER, _STATE, _CONVOLUTION, _RANK = 2 * _WIDTH, 16, 4, 32


def memory_model(path: Path, kind: Kind, *, context: int = 4096, seed: int = 0) -> Path:
    """Write a model of a kind with random weights, and return the path."""
    vocabulary, architecture = tiny.default_vocabulary(), ARCHITECTURES[kind]
    metadata = tiny.default_metadata(
        vocabulary, architecture=architecture, layers=_LAYERS, width=_WIDTH, heads=_HEADS, kv_heads=_KV_HEADS,
        feed_forward=_FEED_FORWARD, context=context,
    )  # fmt: skip
    metadata |= {f"{architecture}.{key}": value for key, value in _KEYS[kind].items()}
    weights = _Weights(seed)
    tensors = [
        weights.matrix("token_embd.weight", len(vocabulary.tokens), _WIDTH, 1.0 if kind == "swa" else math.sqrt(_WIDTH)),
        weights.filled("token_embd_norm.weight" if kind == "hybrid" else "output_norm.weight", _WIDTH),
        weights.matrix("output.weight", len(vocabulary.tokens), _WIDTH, 4.0),
    ]
    for layer in range(_LAYERS):
        tensors += _LAYER[kind](weights, f"blk.{layer}.", layer)
    path.write_bytes(tiny.gguf_bytes(metadata, tensors))
    return path


_KEYS: dict[Kind, dict[str, Any]] = {
    "swa": {
        "attention.sliding_window": WINDOW,
        "attention.sliding_window_pattern": 2,
        "attention.key_length": _WIDTH // _HEADS,
        "attention.value_length": _WIDTH // _HEADS,
    },
    "recurrent": {
        "ssm.conv_kernel": _CONVOLUTION, "ssm.inner_size": _INNER, "ssm.state_size": _STATE, "ssm.time_step_rank": _RANK,
    },
    "hybrid": {
        "shortconv.l_cache": 3, "attention.head_count_kv": tiny.Typed(tiny.ARRAY, (0, _KV_HEADS), tiny.I32),
    },
}  # fmt: skip


class _Weights:
    """Random tensors, the same for a seed."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)

    def matrix(self, name: str, rows: int, columns: int, gain: float = 1.0) -> tiny.Tensor:
        scale = gain / math.sqrt(columns)
        data = tiny.floats(self._draw.gauss(0, scale) for _ in range(rows * columns))
        return tiny.Tensor(name, (columns, rows), data)

    def filled(self, name: str, size: int, value: float = 1.0) -> tiny.Tensor:
        return tiny.Tensor(name, (size,), tiny.floats([value] * size))

    def attention(self, prefix: str) -> list[tiny.Tensor]:
        head = _WIDTH // _HEADS
        return [
            self.matrix(prefix + "attn_q.weight", _WIDTH, _WIDTH),
            self.matrix(prefix + "attn_k.weight", _KV_WIDTH, _WIDTH),
            self.matrix(prefix + "attn_v.weight", _KV_WIDTH, _WIDTH),
            self.matrix(prefix + "attn_output.weight", _WIDTH, _WIDTH),
            self.filled(prefix + "attn_q_norm.weight", head),
            self.filled(prefix + "attn_k_norm.weight", head),
        ]

    def feed_forward(self, prefix: str) -> list[tiny.Tensor]:
        return [
            self.filled(prefix + "ffn_norm.weight", _WIDTH),
            self.matrix(prefix + "ffn_gate.weight", _FEED_FORWARD, _WIDTH),
            self.matrix(prefix + "ffn_up.weight", _FEED_FORWARD, _WIDTH),
            self.matrix(prefix + "ffn_down.weight", _WIDTH, _FEED_FORWARD),
        ]


def _swa_layer(weights: _Weights, prefix: str, _layer: int) -> list[tiny.Tensor]:
    norms = ("attn_norm", "post_attention_norm", "post_ffw_norm")
    return [
        *(weights.filled(f"{prefix}{name}.weight", _WIDTH) for name in norms),
        *weights.attention(prefix),
        *weights.feed_forward(prefix),
    ]


def _recurrent_layer(weights: _Weights, prefix: str, _layer: int) -> list[tiny.Tensor]:
    decay = tiny.floats(-float(state + 1) for _ in range(_INNER) for state in range(_STATE))
    return [
        weights.filled(prefix + "attn_norm.weight", _WIDTH),
        weights.matrix(prefix + "ssm_in.weight", 2 * _INNER, _WIDTH),
        weights.matrix(prefix + "ssm_conv1d.weight", _INNER, _CONVOLUTION),
        weights.filled(prefix + "ssm_conv1d.bias", _INNER, 0.1),
        weights.matrix(prefix + "ssm_x.weight", _RANK + 2 * _STATE, _INNER),
        weights.matrix(prefix + "ssm_dt.weight", _INNER, _RANK),
        weights.filled(prefix + "ssm_dt.bias", _INNER, -3.0),  # a slow decay: early tokens are remembered
        tiny.Tensor(prefix + "ssm_a", (_STATE, _INNER), decay),
        weights.filled(prefix + "ssm_d", _INNER),
        weights.matrix(prefix + "ssm_out.weight", _WIDTH, _INNER),
    ]


def _hybrid_layer(weights: _Weights, prefix: str, layer: int) -> list[tiny.Tensor]:
    recurrent = [
        weights.matrix(prefix + "shortconv.conv.weight", _WIDTH, 3),
        weights.matrix(prefix + "shortconv.in_proj.weight", 3 * _WIDTH, _WIDTH),
        weights.matrix(prefix + "shortconv.out_proj.weight", _WIDTH, _WIDTH),
    ]
    return [
        weights.filled(prefix + "attn_norm.weight", _WIDTH),
        *(weights.attention(prefix) if layer else recurrent),
        *weights.feed_forward(prefix),
    ]


_LAYER = {"swa": _swa_layer, "recurrent": _recurrent_layer, "hybrid": _hybrid_layer}

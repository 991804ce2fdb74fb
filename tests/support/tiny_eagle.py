"""Writes tiny EAGLE-3 heads, and a model whose next tokens such a head can know.

A head takes the states of three layers of a model and a token. That of `foreseeing_pair` makes the next token of the state
alone: the embedding of each token is a vector of its own (one-hot), the model adds nothing to it, and each token has one
successor.
"""

from __future__ import annotations

import array
import math
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tiny
from tiny import Tensor, floats

ARCHITECTURE = "eagle3"
_I64 = 27


def eagle_head(path: Path, *, change: Mapping[str, Any] | None = None, replace: Sequence[Tensor] = (), **options: Any) -> Path:
    """Write a head of random weights (see `head_parts`), and return its path.

    `change` sets metadata keys. `replace` takes the place of tensors, and removes them if there is no data.
    """
    metadata, tensors = head_parts(**options)
    replaced = {one.name: one for one in replace}
    kept = [replaced.pop(one.name, one) for one in tensors] + list(replaced.values())
    path.write_bytes(tiny.gguf_bytes(metadata | dict(change or {}), [one for one in kept if one.data]))
    return path


def head_parts(
    *,
    width: int = 64,
    taken: int = 64,
    layers: Sequence[int] = (0, 1, 1),
    vocabulary: tiny.Vocabulary | None = None,
    known: Sequence[int] | None = None,
    own: Sequence[str] = ("token_embd", "output"),
    normalizes: bool = False,
    seed: int = 5,
) -> tuple[dict[str, Any], list[Tensor]]:
    """The metadata and the tensors of a head for a model that is `taken` wide.

    `known` are the tokens that it can draft, None all. `own` are the optional tensors that it has; the others it takes from
    the model. `normalizes` is eagle3's `norm_before_fc` and `norm_before_residual`.
    """
    vocabulary = vocabulary or tiny.default_vocabulary()
    n_vocab, draw = len(vocabulary.tokens), random.Random(seed)
    metadata = tiny.default_metadata(vocabulary, architecture=ARCHITECTURE, layers=1, width=width, context=4096, template=None)
    metadata |= {
        f"{ARCHITECTURE}.target_layers": tiny.Typed(tiny.ARRAY, tuple(layers), tiny.I32),
        f"{ARCHITECTURE}.target_hidden_size": taken,
        f"{ARCHITECTURE}.norm_before_fc": normalizes,
        f"{ARCHITECTURE}.norm_before_residual": normalizes,
    }

    def matrix(name: str, columns: int, rows: int, gain: float = 1.0) -> Tensor:
        scale = gain / math.sqrt(columns)
        return Tensor(f"{name}.weight", (columns, rows), floats(draw.gauss(0, scale) for _ in range(rows * columns)))

    def ones(name: str, size: int = width) -> Tensor:
        return Tensor(f"{name}.weight", (size,), floats([1.0] * size))

    tensors = [
        matrix("fc", 3 * taken, width), ones("output_norm"), ones("blk.0.attn_norm"), ones("blk.0.attn_norm_2"),
        matrix("blk.0.attn_q", 2 * width, width), matrix("blk.0.attn_k", 2 * width, width // 2),
        matrix("blk.0.attn_v", 2 * width, width // 2), matrix("blk.0.attn_output", width, width), ones("blk.0.ffn_norm"),
        matrix("blk.0.ffn_gate", width, 128), matrix("blk.0.ffn_up", width, 128), matrix("blk.0.ffn_down", 128, width),
    ]  # fmt: skip
    if normalizes:
        tensors.append(ones("enc.output_norm", 3 * taken))
    if "token_embd" in own:
        tensors.append(matrix("token_embd", width, n_vocab, math.sqrt(width)))
    if "output" in own:
        tensors.append(matrix("output", width, n_vocab if known is None else len(known), 4.0))
    if known is not None:
        tensors.append(token_table(known))
    return metadata, tensors


def token_table(known: Sequence[int]) -> Tensor:
    """The tensor with the tokens that a head can draft."""
    numbers = array.array("q", known)
    if sys.byteorder == "big":
        numbers.byteswap()
    return Tensor("d2t", (len(known),), numbers.tobytes(), _I64)


def foreseeing_pair(folder: Path, *, unknown: int = 0) -> tuple[Path, Path]:
    """Write a model and the head that knows its next tokens, but for every `unknown`-th token, and return their paths."""
    vocabulary = tiny.default_vocabulary()
    n_vocab = len(vocabulary.tokens)
    width = -(-n_vocab // 64) * 64
    words = [token for token, kind in enumerate(vocabulary.types) if kind == tiny.NORMAL]
    random.Random(1).shuffle(words)
    after = dict(zip(words, [*words[1:], words[0]], strict=True))
    successor = [after.get(token, words[0]) for token in range(n_vocab)]
    before: list[list[int]] = [[] for _ in range(n_vocab)]
    for token, following in enumerate(successor):
        before[following].append(token)
    target = _model_of_successors(folder / "target.gguf", vocabulary, width, before)
    known = [token for token in range(n_vocab) if not unknown or token % unknown]
    steps = [[(column, 1.0) for column in before[row]] if row < n_vocab else [] for row in range(width)]
    moved = [[*entries, (row, -1.0)] if row < n_vocab else [] for row, entries in enumerate(steps)]
    gain = 1 / width  # of the square of what the norm makes of a one
    head = eagle_head(
        folder / f"head-{unknown}.gguf", width=width, taken=width, known=known if unknown else None,
        change={f"{ARCHITECTURE}.feed_forward_length": width},
        replace=[
            sparse("fc", 3 * width, [[(width + row, 1.0)] for row in range(width)]),
            sparse("blk.0.attn_output", width, [[] for _ in range(width)]),
            Tensor("blk.0.ffn_gate.weight", (width, width), floats([1.0] * width * width)),
            sparse("blk.0.ffn_up", width, moved),
            sparse("blk.0.ffn_down", width, [[(row, gain)] for row in range(width)]),
            sparse("token_embd", width, [[] for _ in range(n_vocab)]),
            sparse("output", width, [[(column, 1.0) for column in before[token]] for token in known]),
        ],
    )  # fmt: skip
    return target, head


def _model_of_successors(path: Path, vocabulary: tiny.Vocabulary, width: int, before: list[list[int]]) -> Path:
    n_vocab = len(vocabulary.tokens)
    metadata = tiny.default_metadata(vocabulary, width=width, context=4096)
    replaced = {
        "token_embd.weight": sparse("token_embd", width, [[(token, 1.0)] for token in range(n_vocab)]),
        "output.weight": sparse("output", width, [[(column, 1.0) for column in before[token]] for token in range(n_vocab)]),
    }
    tensors = []
    for one in tiny.default_tensors(n_vocab, width=width):
        silent = one.name.endswith(("attn_output.weight", "ffn_down.weight"))
        tensors.append(replaced.get(one.name, Tensor(one.name, one.shape, bytes(len(one.data))) if silent else one))
    path.write_bytes(tiny.gguf_bytes(metadata, tensors))
    return path


def sparse(name: str, columns: int, rows: Sequence[Sequence[tuple[int, float]]]) -> Tensor:
    """A matrix of zeros, but for the entries of each row: columns and values."""
    values = array.array("f", bytes(4 * columns * len(rows)))
    for number, entries in enumerate(rows):
        for column, value in entries:
            values[number * columns + column] = value
    return Tensor(f"{name}.weight", (columns, len(rows)), floats(values))

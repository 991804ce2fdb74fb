"""Writes tiny models that see: a language model and the projector that belongs to it. Standard library only.

With hand-set weights the answer to a question about a picture is the colour that most of it has, `red`, `green` or `blue`: the
patches' mean colour becomes three values of each embedding, which every token attends to alike, and which the output turns into
the word. With a seed the weights are random, so that the answer depends on each pixel and position, the same on every run.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tiny

Kind = Literal["idefics3", "qwen2vl", "gemma3", "ultravox"]
"""A projector that cuts pictures into slices, one with M-RoPE, one whose embeddings attend to each other, and one of sound,
which has random weights only.
"""

COLOURS = ("red", "green", "blue")

_WIDTH, _HEADS, _LAYERS = 64, 4, 2
_SEES, _HEADS_OF_VISION, _PATCH, _SIDE = 32, 2, 8, 32
_LETTERS = [f"{colour[:at]} {colour[at]}" for colour in COLOURS for at in range(1, len(colour))]
_MERGES = (*dict.fromkeys([*tiny.MERGES, *_LETTERS, "Ċ Ċ"]),)
_MARKS = ("<fake_token_around_image>", "<global-img>", "<|vision_start|>", "<|vision_end|>")
_ROWS = tuple(f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5))


@dataclass(frozen=True, slots=True)
class VisionModel:
    """A language model and its projector."""

    model: Path
    projector: Path


Seeing = Callable[..., VisionModel]
"""The fixture `seeing`: returns a model of a kind, and of a seed if its weights are random."""


def vision_model(
    folder: Path, kind: Kind = "idefics3", *, seed: int | None = None, context: int = 2048, **change: Any
) -> VisionModel:
    """Write both files to a folder. `change` sets keys of the projector's metadata, with _ in place of their first dots."""
    name = f"{kind}-{'hand' if seed is None else seed}"
    model, projector = folder / f"{name}.gguf", folder / f"mmproj-{name}.gguf"
    vocabulary = tiny.default_vocabulary(_MERGES, (*tiny.CONTROL_TOKENS, *_MARKS, *_ROWS))
    architecture = "qwen2vl" if kind == "qwen2vl" else "llama"
    metadata = tiny.default_metadata(
        vocabulary, architecture=architecture, layers=_LAYERS, width=_WIDTH, heads=_HEADS, context=context
    )
    if kind == "qwen2vl":
        metadata["qwen2vl.rope.dimension_sections"] = tiny.Typed(tiny.ARRAY, (2, 3, 3, 0), tiny.I32)
    tensors = list(tiny.default_tensors(len(vocabulary.tokens), layers=_LAYERS, width=_WIDTH, heads=_HEADS, seed=seed or 0))
    if seed is None:
        tensors = [_hand_set(tensor, vocabulary) for tensor in tensors]
    if kind == "qwen2vl":
        widths = {"q": _WIDTH, "k": _WIDTH // 2, "v": _WIDTH // 2}
        tensors += [
            tiny.Tensor(f"blk.{layer}.attn_{part}.bias", (width,), bytes(4 * width))
            for layer in range(_LAYERS)
            for part, width in widths.items()
        ]
    model.write_bytes(tiny.gguf_bytes(metadata, tensors))
    keys, weights = projector_parts(kind, seed)
    projector.write_bytes(tiny.gguf_bytes(keys | change, weights))
    return VisionModel(model, projector)


def _filled(tensor: tiny.Tensor, value: Callable[[int, int], float]) -> tiny.Tensor:
    """The tensor with a value for each row and column."""
    columns, rows = tensor.shape
    return tiny.Tensor(
        tensor.name, tensor.shape, tiny.floats(value(row, column) for row in range(rows) for column in range(columns))
    )


def _hand_set(tensor: tiny.Tensor, vocabulary: tiny.Vocabulary) -> tiny.Tensor:
    """The weights that answer with a colour and end then. Values 0 to 2 are the colour, 3 says that it was named."""
    words = {vocabulary.tokens.index(colour): place for place, colour in enumerate(COLOURS)}
    name = tensor.name.partition(".weight")[0].rpartition(".")[2]
    if name == "token_embd":
        return _filled(tensor, lambda row, column: float(column == 4 or (column == 3 and row in words)))
    if name == "output":
        return _filled(
            tensor,
            lambda row, column: 8.0 * (words.get(row) == column) + (200.0 if (row, column) == (vocabulary.eos, 3) else 0.0),
        )
    if name == "attn_v":  # of each token its colour
        return _filled(tensor, lambda row, column: float(row == column and row < 3))
    if name == "attn_output":
        return _filled(tensor, lambda row, column: float(row == column and row < 3))
    if name in ("attn_q", "attn_k", "ffn_down"):
        return _filled(tensor, lambda row, column: 0.0)
    return tensor


def projector_parts(kind: Kind, seed: int | None = None) -> tuple[dict[str, Any], list[tiny.Tensor]]:
    """The metadata and the tensors of a projector."""
    if kind == "ultravox":
        return _sound_metadata(), _sound_tensors(seed or 0)
    return _image_metadata(kind), _image_tensors(kind, seed)


_BINS, _STACKED, _POSITIONS = 80, 50, 1500
"""Of sound: the frequencies, how many frames become an embedding, and how many there are in 30 seconds."""


def _sound_metadata() -> dict[str, Any]:
    return {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "clip.has_audio_encoder": True,
        "clip.projector_type": "ultravox",
        "clip.audio.num_mel_bins": _BINS,
        "clip.audio.embedding_length": _SEES,
        "clip.audio.feed_forward_length": 2 * _SEES,
        "clip.audio.block_count": 1,
        "clip.audio.projection_dim": _WIDTH,
        "clip.audio.attention.head_count": _HEADS_OF_VISION,
        "clip.audio.attention.layer_norm_epsilon": 1e-5,
        "clip.audio.projector.stack_factor": _STACKED,
    }


def _sound_tensors(seed: int) -> list[tiny.Tensor]:
    draw = random.Random(seed)
    stacked = _STACKED * _SEES
    shapes: dict[str, tuple[int, ...]] = {
        "a.conv1d.1.weight": (3, _BINS, _SEES), "a.conv1d.1.bias": (1, _SEES),
        "a.conv1d.2.weight": (3, _SEES, _SEES), "a.conv1d.2.bias": (1, _SEES),
        "a.position_embd.weight": (_SEES, _POSITIONS), "a.post_ln.weight": (_SEES,), "a.post_ln.bias": (_SEES,),
        "a.blk.0.ln1.weight": (_SEES,), "a.blk.0.ln1.bias": (_SEES,), "a.blk.0.ln2.weight": (_SEES,),
        "a.blk.0.ln2.bias": (_SEES,), "a.blk.0.attn_q.weight": (_SEES, _SEES), "a.blk.0.attn_q.bias": (_SEES,),
        "a.blk.0.attn_k.weight": (_SEES, _SEES), "a.blk.0.attn_v.weight": (_SEES, _SEES), "a.blk.0.attn_v.bias": (_SEES,),
        "a.blk.0.attn_out.weight": (_SEES, _SEES), "a.blk.0.attn_out.bias": (_SEES,),
        "a.blk.0.ffn_up.weight": (_SEES, 2 * _SEES), "a.blk.0.ffn_up.bias": (2 * _SEES,),
        "a.blk.0.ffn_down.weight": (2 * _SEES, _SEES), "a.blk.0.ffn_down.bias": (_SEES,),
        "mm.a.norm_pre.weight": (stacked,), "mm.a.mlp.1.weight": (stacked, _SEES),
        "mm.a.norm_mid.weight": (_SEES // 2,), "mm.a.mlp.2.weight": (_SEES // 2, _WIDTH),
    }  # fmt: skip

    def tensor(name: str, shape: tuple[int, ...]) -> tiny.Tensor:
        return tiny.Tensor(name, shape, tiny.floats(draw.gauss(0, 0.3) for _ in range(math.prod(shape))))

    return [tensor(name, shape) for name, shape in shapes.items()]


def _image_metadata(kind: Kind) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "general.name": "Tiny projector",
        "clip.has_vision_encoder": True,
        "clip.projector_type": "qwen2vl_merger" if kind == "qwen2vl" else kind,
        "clip.use_gelu": True,
        "clip.vision.image_size": _SIDE,
        "clip.vision.patch_size": _PATCH,
        "clip.vision.embedding_length": _SEES,
        "clip.vision.feed_forward_length": 2 * _SEES,
        "clip.vision.block_count": 1,
        "clip.vision.projection_dim": _WIDTH,
        "clip.vision.attention.head_count": _HEADS_OF_VISION,
        "clip.vision.attention.layer_norm_epsilon": 1e-6,
        "clip.vision.image_mean": tiny.Typed(tiny.ARRAY, (0.5, 0.5, 0.5), tiny.F32),
        "clip.vision.image_std": tiny.Typed(tiny.ARRAY, (0.5, 0.5, 0.5), tiny.F32),
    }
    if kind != "qwen2vl":
        metadata |= {"clip.vision.projector.scale_factor": 2, "clip.vision.preproc_image_size": 2 * _SIDE}
    return metadata


def _image_tensors(kind: Kind, seed: int | None) -> list[tiny.Tensor]:
    draw = random.Random(seed)

    def tensor(name: str, shape: tuple[int, ...], value: Callable[[tuple[int, ...]], float], gain: float = 0.3) -> tiny.Tensor:
        if seed is not None:
            return tiny.Tensor(name, shape, tiny.floats(draw.gauss(0, gain) for _ in range(math.prod(shape))))
        return tiny.Tensor(name, shape, tiny.floats(value(place) for place in _places(shape)))

    def nothing(_: tuple[int, ...]) -> float:
        return 0.0

    def mean_colour(place: tuple[int, ...]) -> float:  # of a patch: channel to value
        return float(place[2] == place[3]) / (_PATCH * _PATCH)

    def same_colour(place: tuple[int, ...]) -> float:
        return float(place[0] == place[1] and place[0] < 3)

    merged = 4 * _SEES

    def mean_of_merged(place: tuple[int, ...]) -> float:
        return float(place[0] % _SEES == place[1] and place[1] < 3) / 4

    tensors = [tensor("v.patch_embd.weight", (_PATCH, _PATCH, 3, _SEES), mean_colour)]
    if kind == "qwen2vl":
        tensors += [
            tensor("v.patch_embd.weight.1", (_PATCH, _PATCH, 3, _SEES), nothing),
            tensor("mm.0.weight", (merged, merged), mean_of_merged, 0.1),
            tensor("mm.0.bias", (merged,), nothing),
            tensor("mm.2.weight", (merged, _WIDTH), same_colour, 0.1),
            tensor("mm.2.bias", (_WIDTH,), nothing),
        ]
    else:
        tensors += [
            tensor("v.patch_embd.bias", (_SEES,), nothing),
            tensor("v.position_embd.weight", (_SEES, (_SIDE // _PATCH) ** 2), nothing),
        ]
    if kind == "idefics3":
        tensors.append(tensor("mm.model.fc.weight", (merged, _WIDTH), mean_of_merged, 0.1))
    if kind == "gemma3":
        tensors += [
            tensor("mm.soft_emb_norm.weight", (_SEES,), lambda _: 1.0, 1.0),
            tensor("mm.input_projection.weight", (_WIDTH, _SEES), same_colour, 0.1),
        ]
    for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
        tensors += [
            tensor(f"v.blk.0.{part}.weight", (_SEES, _SEES), nothing),
            tensor(f"v.blk.0.{part}.bias", (_SEES,), nothing),
        ]
    for part in ("ln1", "ln2"):
        tensors += [
            tensor(f"v.blk.0.{part}.weight", (_SEES,), lambda _: 1.0, 1.0),
            tensor(f"v.blk.0.{part}.bias", (_SEES,), nothing),
        ]
    tensors += [
        tensor("v.blk.0.ffn_up.weight", (_SEES, 2 * _SEES), nothing),
        tensor("v.blk.0.ffn_up.bias", (2 * _SEES,), nothing),
        tensor("v.blk.0.ffn_down.weight", (2 * _SEES, _SEES), nothing),
        tensor("v.blk.0.ffn_down.bias", (_SEES,), nothing),
    ]
    return tensors


def _places(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The places of a tensor's values in their order, the fastest dimension first."""
    places: list[tuple[int, ...]] = [()]
    for size in reversed(shape):
        places = [(index, *rest) for rest in places for index in range(size)]
    return places

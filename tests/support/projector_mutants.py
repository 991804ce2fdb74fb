"""Mutants of projector files: metadata, shapes and names of tensors, and bytes anywhere."""

from __future__ import annotations

import functools
import math
import random
from dataclasses import replace
from typing import Any

import tiny
import tiny_vision
from mutants import alter_bytes
from tiny import ARRAY, F32, U32, Typed

from llamacli.gguf.check.projector import PROJECTOR_TYPES

NUMBERS = (0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 33, 64, 127, 256, 4096, 65535, 1 << 20, (1 << 31) - 1, 1 << 31)
FLOATS = (-1.0, 0.0, 1e-38, 1e-5, 0.5, 1.0, 1e4, 1e30, math.inf, -math.inf, math.nan)
TEXTS = ("", "none", "mlp", "idefics3", "x", "\x00", "é", "x" * 300)

SOMETIMES = (
    "clip.vision.image_min_pixels", "clip.vision.image_max_pixels", "clip.vision.preproc_min_tiles",
    "clip.vision.preproc_max_tiles", "clip.vision.preproc_image_size", "clip.vision.spatial_merge_size",
    "clip.vision.projector.scale_factor", "clip.vision.n_wa_pattern", "clip.vision.window_size",
    "clip.vision.attention.head_count_kv", "clip.vision.attention.head_dim", "clip.minicpmv_version",
    "clip.audio.num_mel_bins", "clip.audio.projector.stack_factor", "clip.audio.attention.head_dim",
)  # fmt: skip


@functools.cache
def _parts(kind: tiny_vision.Kind) -> tuple[dict[str, Any], list[tiny.Tensor]]:
    return tiny_vision.projector_parts(kind)


def mutant(chance: random.Random) -> tuple[tiny_vision.Kind, bytes, str]:
    """The kind of model that a mutant belongs to, its file, and what was done to it."""
    kind: tiny_vision.Kind = chance.choice(("idefics3", "qwen2vl", "gemma3", "ultravox"))
    metadata, tensors = (part.copy() for part in _parts(kind))
    done: list[str] = []
    for _ in range(chance.choice((1, 1, 2, 3))):
        match chance.randrange(8):
            case 0 | 1 | 2:
                key = chance.choice([*[one for one in metadata if one.startswith("clip.")], *SOMETIMES])
                metadata[key] = _value(metadata.get(key), chance)
                done.append(f"{key} = {metadata[key]!r:.60}")
            case 3:
                key = chance.choice(list(metadata))
                del metadata[key]
                done.append(f"without {key}")
            case 4:
                metadata["clip.projector_type"] = chance.choice(sorted(PROJECTOR_TYPES))
                done.append(metadata["clip.projector_type"])
            case 5:
                gone = tensors.pop(chance.randrange(len(tensors)))
                done.append(f"without {gone.name}")
            case 6:
                place = chance.randrange(len(tensors))
                shape = _shape(tensors[place].shape, chance)
                data = bytes(min(4 * math.prod(shape), 1 << 24))
                tensors[place] = replace(tensors[place], shape=shape, data=data)
                done.append(f"{tensors[place].name} {shape}")
            case _:
                first, second = chance.randrange(len(tensors)), chance.randrange(len(tensors))
                tensors[first] = replace(tensors[first], name=tensors[second].name + chance.choice(("", ".x")))
                done.append(f"renamed to {tensors[first].name}")
    data = tiny.gguf_bytes(metadata, tensors)
    if chance.random() < 0.05:
        data = alter_bytes(data, chance)
        done.append("bytes")
    return kind, data, "; ".join(done)


def _value(old: Any, chance: random.Random) -> Any:
    """Another value of a key, mostly of its type."""
    match chance.randrange(8):
        case 0:
            return chance.choice(TEXTS)
        case 1:
            return Typed(ARRAY, tuple(chance.choice(FLOATS) for _ in range(chance.randrange(5))), F32)
        case 2:
            return bool(chance.randrange(2))
        case 3:
            return Typed(F32, chance.choice(FLOATS))
    if isinstance(old, float):
        return Typed(F32, chance.choice(FLOATS))
    if isinstance(old, Typed) and old.type == ARRAY:
        return Typed(ARRAY, tuple(chance.choice(FLOATS) for _ in range(3)), F32)
    return Typed(U32, chance.choice(NUMBERS))


def _shape(shape: tuple[int, ...], chance: random.Random) -> tuple[int, ...]:
    sizes = list(shape)
    match chance.randrange(3):
        case 0:
            chance.shuffle(sizes)
        case 1:
            sizes[chance.randrange(len(sizes))] = chance.choice(NUMBERS[1:15])
        case _:
            sizes = sizes[:-1] or [1]
    return tuple(sizes)

"""Writes projector files with headers that llama.cpp would accept, and the tensors of an encoder without layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny
from tiny import ARRAY, F32, U32, Tensor, Typed

_SIZES = {"embedding_length": 32, "feed_forward_length": 64, "block_count": 0, "projection_dim": 64, "attention.head_count": 4}
_NORMAL = Typed(ARRAY, [0.5, 0.5, 0.5], F32)


def projector_metadata(kind: str = "vision", projector: str = "idefics3") -> dict[str, Any]:
    """The metadata of a projector with one encoder."""
    sizes = _SIZES | ({"image_size": 32, "patch_size": 8} if kind == "vision" else {"num_mel_bins": 80})
    own: dict[str, Any] = {f"clip.{kind}.{name}": Typed(U32, value) for name, value in sizes.items()}
    own |= {f"clip.{kind}.attention.layer_norm_epsilon": Typed(F32, 1e-5), f"clip.has_{kind}_encoder": True}
    if kind == "vision":
        own |= {"clip.vision.image_mean": _NORMAL, "clip.vision.image_std": _NORMAL}
    return {"general.architecture": "clip", "general.type": "mmproj", "clip.projector_type": projector, **own}


def projector_tensors(width: int = 64, name: str = "mm.model.fc.weight") -> list[Tensor]:
    """The tensors of such a projector, the last of which is the named one."""
    sees = _SIZES["embedding_length"]
    return [
        Tensor("v.patch_embd.weight", (8, 8, 3, sees), bytes(4 * 8 * 8 * 3 * sees)),
        Tensor(name, (sees, width), bytes(4 * sees * width)),
    ]


def write_projector(
    path: Path, metadata: dict[str, Any] | None = None, *, width: int = 64, tensor: str = "mm.model.fc.weight"
) -> Path:
    """Write a projector for models with embeddings of `width` values; return its path."""
    content = projector_metadata() if metadata is None else metadata
    path.write_bytes(tiny.gguf_bytes(content, projector_tensors(width, tensor)))
    return path

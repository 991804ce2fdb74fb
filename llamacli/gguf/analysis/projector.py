"""Projector files, which turn pictures or sounds into embeddings of a language model: their kinds and widths."""

from __future__ import annotations

from dataclasses import dataclass

from llamacli.gguf.header import Header

ARCHITECTURE = "clip"
"""`general.architecture` of every projector file."""

ENCODERS = ("vision", "audio")
"""What the encoders are called in the metadata."""

SOUND_RATE = 16_000
_SOUND_RATES = {"mimo_audio": 24_000}
"""Samples a second that encoders of sounds want: of these types, and of all others."""

_PATCHES = 4096
"""Patches of a picture if the file does not state its size."""

_OUTPUTS = {
    "ldp": ("mm.model.mb_block.1.block.2.1.bias", 0),
    "ldpv2": ("mm.model.peg.0.bias", 0),
    "mlp": ("mm.2.weight", 1),
    "mlp_norm": ("mm.3.bias", 0),
    "resampler": ("resampler.proj.weight", 0),
    "adapter": ("adapter.linear.dense_4h_to_h.weight", 1),
    "qwen2vl_merger": ("mm.2.bias", 0),
    "qwen2.5vl_merger": ("mm.2.bias", 0),
    "qwen3vl_merger": ("mm.2.bias", 0),
    "gemma3": ("mm.input_projection.weight", 0),
    "gemma3nv": ("mm.input_projection.weight", 0),
    "gemma4v": ("mm.input_projection.weight", 1),
    "idefics3": ("mm.model.fc.weight", 1),
    "pixtral": ("mm.2.weight", 1),
    "lightonocr": ("mm.2.weight", 1),
    "kimivl": ("mm.2.weight", 1),
    "lfm2": ("mm.2.weight", 1),
    "internvl": ("mm.model.mlp.3.weight", 1),
    "llama4": ("mm.model.fc.weight", 1),
    "ultravox": ("mm.a.mlp.2.weight", 1),
    "voxtral": ("mm.a.mlp.2.weight", 1),
    "qwen2a": ("mm.a.fc.weight", 1),
}  # fmt: skip
"""The tensor by type of projector, and the dimension of it, that has the width of the language model.

Those of other types are known by their metadata only.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """The encoder of pictures or of sounds in a projector file. What the file does not state is None.

    `width` is the number of values of the embeddings that it makes. `image_size` and `patch_size` are in pixels, `sound_rate`
    in samples a second.
    """

    type: str
    width: int | None
    image_size: int | None = None
    patch_size: int | None = None
    sound_rate: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Projector:
    """A projector file: its encoders, None for what it does not encode."""

    name: str
    image: Encoder | None
    audio: Encoder | None


def read_projector(header: Header) -> Projector | None:
    """Return what the header of a projector file says, None if it is that of another file."""
    if header.architecture != ARCHITECTURE:
        return None
    image = audio = None
    if header.flag("clip.has_vision_encoder"):
        image = _encoder(header, "vision")
    if header.flag("clip.has_audio_encoder"):
        audio = _encoder(header, "audio")
    return Projector(name=header.name, image=image, audio=audio)


def projector_type(header: Header, kind: str) -> tuple[str, str | None]:
    """Return the key that states the type of an encoder's projector, and the type; None if there is none."""
    general, own = "clip.projector_type", f"clip.{kind}.projector_type"
    key = general if header.text(general) else own
    return key, header.text(key)


def _encoder(header: Header, kind: str) -> Encoder:
    stated = projector_type(header, kind)[1] or "mlp"
    return Encoder(
        type=stated,
        width=_width(header, stated, kind),
        image_size=header.integer(f"clip.{kind}.image_size"),
        patch_size=header.integer(f"clip.{kind}.patch_size"),
        sound_rate=_SOUND_RATES.get(stated, SOUND_RATE) if kind == "audio" else None,
    )


def _width(header: Header, stated: str, kind: str) -> int | None:
    name, dimension = _OUTPUTS.get(stated, ("", 0))
    for tensor in header.tensors:
        if tensor.name == name:
            return tensor.shape[dimension] if dimension < len(tensor.shape) else 1
    return header.integer(f"clip.{kind}.projection_dim")


def projector_memory(header: Header) -> int:
    """Return about the bytes that a projector takes while it encodes: its weights, and the largest picture's activations."""
    size, patch, width, inner, heads = (
        header.integer(f"clip.vision.{name}") or 0
        for name in ("image_size", "patch_size", "embedding_length", "feed_forward_length", "attention.head_count")
    )
    patches = (size // patch) ** 2 if patch > 0 and size > 0 else _PATCHES
    return sum(tensor.size for tensor in header.tensors) + 4 * patches * (6 * width + 2 * inner + heads * patches)

"""Checks of the tensors of a projector: those that are missing, and shapes that the arithmetic of its layers does not take.

Source: `load_tensors` and `build_vit` in `tools/mtmd/clip.cpp` at commit 0c1e57098.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llamacli.gguf.check.finding import Finding
from llamacli.gguf.check.projector_tensors import REQUIRED_TENSORS
from llamacli.gguf.header import Header

Shapes = Mapping[str, tuple[int, ...]]
Expected = tuple[int | None, ...]

_MOST_LAYERS = 512
_MOST_FINDINGS = 5
_OTHER_LAYERS = ("gemma3nv", "qwen3tts_spkenc", "pockettts_gen")
"""Types whose layers have other tensors."""

_PLAIN = ("gemma3", "idefics3", "internvl", "lfm2", "mlp", "pixtral", "qwen2a", "qwen2vl_merger", "ultravox", "voxtral")
"""Types whose layers are all alike, and whose attention has no other form."""

_QWEN_2 = ("qwen2vl_merger", "qwen2.5vl_merger")
_PATCHES = ("v.patch_embd.weight", "v.patch_embd.weight.1")
_WHISPER = ("glma", "meralion", "musicflamingo", "qwen2a", "ultravox", "voxtral")
_BIASES = tuple(f"a.blk.0.{part}.bias" for part in ("ln1", "ln2", "attn_q", "attn_v"))
_OF_GRAPHS = {
    **dict.fromkeys(("cogvlm", "internvl", "llama4", "nemotron_v2_vl"), ("v.class_embd", "v.position_embd.weight")),
    **dict.fromkeys(("glm4v", "glm5v"), (*_PATCHES, "v.patch_embd.bias")),
    **dict.fromkeys((*_QWEN_2, "mimovl"), _PATCHES),
    **dict.fromkeys(
        ("adapter", "granite4_vision", "ldp", "ldpv2", "mlp", "resampler", "step3vl"),
        ("v.patch_embd.weight", "v.position_embd.weight"),
    ),
    **dict.fromkeys(_WHISPER, ("a.position_embd.weight", *_BIASES)),
    "gemma3nv": ("v.conv_stem.conv.weight", "v.msfa.ffn.pw_exp.conv.weight", "v.msfa.ffn.pw_proj.conv.weight"),
    "yasa2": ("v.patch_ln.weight", "v.backbone_ln.weight", "v.vision_pos_embed", "v.stage.0.blk.0.dw.weight"),
    "qwen3vl_merger": (*_PATCHES, "v.patch_embd.bias", "v.position_embd.weight"),
}
"""By type the tensors that are not required to load it, and without which encoding aborts."""

_FORBIDDEN = {
    **dict.fromkeys(_QWEN_2, ("v.patch_embd.bias", "v.class_embd")),
    **dict.fromkeys(_WHISPER, ("a.blk.0.attn_k.bias",)),
}
"""By type the tensors with which encoding aborts."""

_MERGES = {"idefics3": ("mm.model.fc.weight", "projector.scale_factor", 1), "qwen2vl_merger": ("mm.0.weight", "", 2)}
"""By type the tensor that takes several patches at once, and how many these are a side: the key and its default."""

_CHAINS = {"qwen2vl_merger": (("mm.0.weight", "mm.2.weight"),), "voxtral": (("mm.a.mlp.1.weight", "mm.a.mlp.2.weight"),)}
"""By type pairs of tensors, the second of which takes what the first makes."""

_MOST_FRAMES = 1500
"""Positions that 30 seconds of sound take."""


def tensor_findings(header: Header, kind: str, name: str) -> Iterator[Finding]:
    """Yield what is missing of the encoder `kind` ("vision" or "audio") of a projector of type `name`, else what cannot fit."""
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    layers = min(header.integer(f"clip.{kind}.block_count") or 0, _MOST_LAYERS) if name not in _OTHER_LAYERS else 0
    missing = [tensor for tensor in _required(shapes, kind, name, layers) if tensor not in shapes]
    for tensor in missing[:_MOST_FINDINGS]:
        yield Finding("error", f"tensor {tensor}", "missing")
    if len(missing) > _MOST_FINDINGS:
        yield Finding("error", "file", f"{len(missing) - _MOST_FINDINGS} more tensors are missing")
    for tensor in _FORBIDDEN.get(name, ()):
        if tensor in shapes:
            yield Finding("error", f"tensor {tensor}", f"projectors of the type {name} have none")
    if missing or name not in _PLAIN:
        return
    expected = dict(_layer_shapes(header, kind, shapes, layers))
    expected |= _outer_shapes(header, name, shapes) if kind == "vision" else _sound_shapes(header, name, shapes)
    positions = shapes.get("a.position_embd.weight") if kind == "audio" else None
    if positions is not None and (positions[1] if len(positions) > 1 else 1) < _MOST_FRAMES:
        yield Finding("error", "tensor a.position_embd.weight", f"has fewer than {_MOST_FRAMES} positions")
    for tensor, shape in expected.items():
        found = shapes.get(tensor)
        if found is not None and not _matches(found, shape):
            wanted = " x ".join("any" if size is None else str(size) for size in shape)
            yield Finding("error", f"tensor {tensor}", f"has shape {' x '.join(map(str, found))}, expected {wanted}")


def _matches(found: tuple[int, ...], expected: Expected) -> bool:
    """Return whether a shape is as expected; None is any size, and sizes of 1 at its end count for nothing."""
    length = max(len(found), len(expected))
    pairs = zip(found + (1,) * (length - len(found)), expected + (1,) * (length - len(expected)), strict=True)
    return all(size is None or have == size for have, size in pairs)


def _required(shapes: Shapes, kind: str, name: str, layers: int) -> Iterator[str]:
    yield from dict.fromkeys((*REQUIRED_TENSORS.get(name, ()), *_OF_GRAPHS.get(name, ())))
    if kind == "vision" and name in _PLAIN and name not in _OF_GRAPHS:
        yield "v.patch_embd.weight"
    for layer in range(layers):
        block = f"{kind[0]}.blk.{layer}."
        yield f"{block}attn_out.weight"
        if f"{block}ffn_gate_exps.weight" not in shapes:
            yield f"{block}ffn_up.weight"
            yield f"{block}ffn_down.weight"
        if name in _PLAIN:
            yield f"{block}ln1.weight"
            yield f"{block}ln2.weight"
            if f"{block}attn_qkv.weight" not in shapes:
                yield from (f"{block}attn_{part}.weight" for part in "qkv")
        if name in _QWEN_2:
            yield from (f"{block}attn_{part}.bias" for part in "qkv")


def _layer_shapes(header: Header, kind: str, shapes: Shapes, layers: int) -> Iterator[tuple[str, Expected]]:
    """Yield the shapes that the layers of an encoder must have."""
    width, heads, kv_heads, size = (
        header.integer(f"clip.{kind}.{key}")
        for key in ("embedding_length", "attention.head_count", "attention.head_count_kv", "attention.head_dim")
    )
    if not width or not heads:
        return
    size = size or width // heads
    inner = size * heads
    for layer in range(layers):
        block = f"{kind[0]}.blk.{layer}."
        for norm in ("ln1", "ln2"):
            yield from ((f"{block}{norm}.{part}", (width,)) for part in ("weight", "bias"))
        for part, outputs in (("q", inner), ("k", size * (kv_heads or heads)), ("v", size * (kv_heads or heads))):
            yield f"{block}attn_{part}.weight", (width, outputs)
            yield f"{block}attn_{part}.bias", (outputs,)
        yield f"{block}attn_qkv.weight", (width, 3 * inner)
        yield f"{block}attn_out.weight", (inner, width)
        yield f"{block}attn_out.bias", (width,)
        up, down = shapes.get(f"{block}ffn_up.weight", ()), shapes.get(f"{block}ffn_down.weight", ())
        names = ("down", "up") if down and up and down[0] == width and up[0] != width else ("up", "down")  # of old files
        yield f"{block}ffn_{names[0]}.weight", (width, None)
        first = shapes.get(f"{block}ffn_{names[0]}.weight", ())
        yield f"{block}ffn_{names[1]}.weight", (first[1] if len(first) > 1 else 1, width)


def _outer_shapes(header: Header, name: str, shapes: Shapes) -> Iterator[tuple[str, Expected]]:
    """Yield the shapes of what is before and behind the layers of an encoder of pictures."""
    width, side, patch = (header.integer(f"clip.vision.{key}") for key in ("embedding_length", "image_size", "patch_size"))
    if not width or not patch or side is None:
        return
    for tensor in ("v.patch_embd.weight", "v.patch_embd.weight.1"):
        yield tensor, (patch, patch, 3, width)
    yield "v.patch_embd.bias", (width,)
    if name in ("idefics3", "gemma3"):
        yield "v.position_embd.weight", (width, (side // patch) ** 2)
    for tensor in ("v.pre_ln.weight", "v.pre_ln.bias", "v.post_ln.weight", "v.post_ln.bias"):
        yield tensor, (width,)
    if name in _MERGES:
        tensor, key, default = _MERGES[name]
        merged = header.integer(f"clip.vision.{key}") or default
        yield tensor, (width * merged * merged, None)
    yield from _chained(name, shapes)


def _sound_shapes(header: Header, name: str, shapes: Shapes) -> Iterator[tuple[str, Expected]]:
    """Yield the shapes of what is before and behind the layers of an encoder of sound."""
    width, bins, stacked = (
        header.integer(f"clip.audio.{key}") for key in ("embedding_length", "num_mel_bins", "projector.stack_factor")
    )
    if not width or not bins or name not in _WHISPER:
        return
    for number, inputs in ((1, bins), (2, width)):
        yield f"a.conv1d.{number}.weight", (3, inputs, width)
        yield f"a.conv1d.{number}.bias", (1, width)
    yield "a.position_embd.weight", (width, None)
    for part in ("weight", "bias"):
        yield f"a.post_ln.{part}", (width,)
    if stacked:
        yield "mm.a.mlp.1.weight", (width * stacked, None)
    outputs = shapes.get("mm.a.mlp.1.weight", ())
    if name == "ultravox" and len(outputs) > 1 and stacked:  # half of them are gates
        yield "mm.a.norm_pre.weight", (width * stacked,)
        yield "mm.a.norm_mid.weight", (outputs[1] // 2,)
        yield "mm.a.mlp.2.weight", (outputs[1] // 2, None)
    if name == "qwen2a":
        yield "mm.a.fc.weight", (width, None)
    yield from _chained(name, shapes)


def _chained(name: str, shapes: Shapes) -> Iterator[tuple[str, Expected]]:
    for first, second in _CHAINS.get(name, ()):
        if len(shapes.get(first, ())) > 1:
            yield second, (shapes[first][1], None)

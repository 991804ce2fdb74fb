"""Checks of projector files: what llama.cpp requires to load their encoders, and on which values it aborts.

Source: `load_hparams` in `tools/mtmd/clip.cpp` at commit 0c1e57098.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from llamacli.gguf.analysis.projector import ENCODERS, projector_type
from llamacli.gguf.check.finding import Finding, key_finding, shown_value
from llamacli.gguf.check.projector_layers import tensor_findings
from llamacli.gguf.header import Header
from llamacli.gguf.layout import ValueType

PROJECTOR_TYPES = frozenset((
    "adapter", "cogvlm", "deepseek4v", "deepseekocr", "deepseekocr2", "dots3note_a", "dots3note_v", "dots_ocr", "exaone4_5",
    "gemma3", "gemma3nv", "gemma4a", "gemma4ua", "gemma4uv", "gemma4v", "glm4v", "glm5v", "glma",
    "granite4_vision", "granite_speech", "hunyuanvl", "idefics3", "internvl", "janus_pro", "kimik25", "kimivl", "ldp",
    "ldpv2", "lfm2", "lfm2a", "lightonocr", "ling3vl", "llama4", "meralion", "mimo_audio", "mimovl", "minicpmv4_6",
    "minimax_m3", "mlp", "muse-glimmer", "musicflamingo", "nemotron_v2_vl", "paddleocr", "parakeet", "phi4", "pixtral",
    "pockettts_gen", "pockettts_spkenc", "qwen2.5o", "qwen2.5vl_merger", "qwen2a", "qwen2vl_merger", "qwen3a",
    "qwen3tts_gen", "qwen3tts_spkenc", "qwen3vl_merger", "resampler", "step3vl", "ultravox", "voxtral", "yasa2", "youtuvl",
))  # fmt: skip
"""Types of projectors that llama.cpp loads: `PROJECTOR_TYPE_NAMES` in `tools/mtmd/clip-impl.h`, without `gemma3na`."""

_MOST = 1 << 20
_SIZES = {
    "embedding_length": range(1, _MOST),
    "feed_forward_length": range(_MOST),  # old files of Qwen2-VL have 0
    "block_count": range(513),
    "projection_dim": range(_MOST),
    "attention.head_count": range(1, 4097),
}
_IMAGE_SIZES = {"image_size": range(8193), "patch_size": range(1, 65536)}
_SOUND_SIZES = {"num_mel_bins": range(1, 4097)}
"""Sizes that llama.cpp requires, and what they may be."""

_TYPES = {
    **dict.fromkeys(("has_vision_encoder", "has_audio_encoder", "has_gen_audio_encoder"), ValueType.BOOL),
    **dict.fromkeys(("use_gelu", "use_silu"), ValueType.BOOL),
    **dict.fromkeys(("projector_type", "mm_patch_merge_type", "model_variant"), ValueType.STRING),
    **dict.fromkeys(
        (
            "image_min_pixels", "image_max_pixels", "preproc_min_tiles", "preproc_max_tiles", "preproc_image_size",
            "projector.scale_factor", "spatial_merge_size", "attention.head_count_kv", "attention.head_dim", "n_wa_pattern",
            "projector.stack_factor", "window_size", "minicpmv_query_num", "expert_used_count", "projector.query_side",
            "projector.window_side", "sam.block_count", "sam.embedding_length", "sam.head_count", "chunk_size",
            "conv_kernel_size", "local_block_count", "local_group_size", "max_pos_emb", "projector.downsample_rate",
            "projector.head_count", "projector.window_size", "rvq.num_quantizers", "subsampling_factor",
        ),
        ValueType.UINT32,
    ),
    "minicpmv_version": ValueType.INT32,
    "swiglu_clamp": ValueType.FLOAT32,
    **dict.fromkeys(
        (
            "feature_layer", "rvq.codebook_size", "wa_pattern_mode", "image_grid_pinpoints", "projector.spatial_offsets",
            "wa_layer_indexes",
        ),
        ValueType.ARRAY,
    ),
}  # fmt: skip
"""Types of keys that a file may leave out."""

_COLOURS = 3
_LARGEST = (1 << 31) - 1

_REQUIRED_KEYS = {
    "qwen2.5vl_merger": ("n_wa_pattern",),
    "dots_ocr": ("projector.scale_factor", "image_min_pixels", "image_max_pixels"),
    "dots3note_v": ("spatial_merge_size", "image_min_pixels", "image_max_pixels", "expert_used_count"),
    "deepseek4v": ("projector.scale_factor", "image_min_pixels"),
    **dict.fromkeys(
        ("deepseekocr", "deepseekocr2"), ("sam.block_count", "sam.head_count", "sam.embedding_length", "window_size")
    ),
    "exaone4_5": ("image_min_pixels", "image_max_pixels", "attention.head_count_kv"),
    "glm5v": ("swiglu_clamp", "image_min_pixels", "image_max_pixels"),
    "granite4_vision": ("projector.spatial_offsets", "projector.query_side", "projector.window_side"),
    "mimovl": ("attention.head_count_kv", "window_size", "wa_pattern_mode", "image_min_pixels", "image_max_pixels"),
    **dict.fromkeys(("paddleocr", "phi4"), ("image_min_pixels", "image_max_pixels")),
    "youtuvl": ("window_size", "wa_layer_indexes"),
    "granite_speech": (
        "chunk_size", "conv_kernel_size", "max_pos_emb", "projector.window_size", "projector.downsample_rate",
        "projector.head_count",
    ),
    "mimo_audio": ("window_size", "wa_pattern_mode", "local_block_count", "local_group_size"),
    "parakeet": ("subsampling_factor", "conv_kernel_size"),
    **dict.fromkeys(("ultravox", "voxtral", "meralion", "glma"), ("projector.stack_factor",)),
}  # fmt: skip
"""By type the keys of its encoder that llama.cpp requires beside those of all encoders."""

_OF_BOTH = {("qwen2.5o", "vision"): "qwen2.5vl_merger", ("qwen2.5o", "audio"): "qwen2a"}
"""What the type of a file with both encoders is to llama.cpp."""

_MERGES = ("projector.scale_factor", "spatial_merge_size")
_MOST_MERGED = 16
_MOST_WINDOW = 4096


def projector_findings(header: Header) -> Iterator[Finding]:
    """Yield what is missing from a projector file, and values that llama.cpp refuses or crashes on."""
    present = [kind for kind in ENCODERS if header.flag(f"clip.has_{kind}_encoder")]
    if not present:
        yield Finding("error", "file", "it has no encoder of pictures or sounds")
    for kind in present:
        key, name = projector_type(header, kind)
        if name is None:
            yield key_finding(header, key, "missing, expected the type of the projector")
        elif name not in PROJECTOR_TYPES:
            yield key_finding(header, key, f"is {shown_value(header, key)}, a projector that llama.cpp does not know")
        else:
            name = _OF_BOTH.get((name, kind), name)
            yield from tensor_findings(header, kind, name)
        yield from _size_findings(header, kind)
        yield from _number_findings(header, kind)
        yield from _range_findings(header, kind, name)
    yield from _type_findings(header)
    yield from _bias_findings(header)
    if not header.tensors:
        yield Finding("error", "file", "it has no tensors")


def _range_findings(header: Header, kind: str, name: str | None) -> Iterator[Finding]:
    """Yield keys that the type of a projector requires, and optional ones that are out of range."""
    for key in _REQUIRED_KEYS.get(name or "", ()):
        if f"clip.{kind}.{key}" not in header.metadata:
            yield key_finding(header, f"clip.{kind}.{key}", "missing")
    side, patch = (header.integer(f"clip.{kind}.{size}") for size in ("image_size", "patch_size"))
    merged = min(side // patch, _MOST_MERGED) if side and patch else _MOST_MERGED  # patches that become one, on each side
    ranges = {**dict.fromkeys(_MERGES, range(1, max(merged, 1) + 1)), "window_size": range(_MOST_WINDOW + 1)}
    for key, allowed in ranges.items():
        value = header.integer(f"clip.{kind}.{key}")
        if value is not None and value not in allowed:
            most = f"a number from {allowed.start} to {allowed.stop - 1}"
            yield key_finding(header, f"clip.{kind}.{key}", f"is {value}, expected {most}")
    least, most_pixels = (header.integer(f"clip.{kind}.image_{end}_pixels") for end in ("min", "max"))
    if least is not None and most_pixels is not None and least > most_pixels:
        message = f"is {most_pixels}, less than the {least} of image_min_pixels"
        yield key_finding(header, f"clip.{kind}.image_max_pixels", message)


def _type_findings(header: Header) -> Iterator[Finding]:
    """Yield keys that llama.cpp reads as another type than theirs, on which it aborts."""
    for key, entry in header.metadata.items():
        name = key.removeprefix("clip.").removeprefix("vision.").removeprefix("audio.")
        expected = _TYPES.get(name) if key.startswith("clip.") else None
        if expected is not None and entry.type != expected:
            yield key_finding(header, key, f"has type {entry.type.label}, expected {expected.label}")
        elif expected is ValueType.ARRAY and (array := header.array(key)) is not None and array.element != ValueType.INT32:
            yield key_finding(header, key, "is not an array of i32 numbers")
        elif expected is ValueType.UINT32 and (header.integer(key) or 0) > _LARGEST:
            yield key_finding(header, key, f"is {shown_value(header, key)}, more than {_LARGEST}")


def _bias_findings(header: Header) -> Iterator[Finding]:
    """Yield biases of another length than that of what they are added to."""
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    for name, shape in shapes.items():
        weight = shapes.get(f"{name.removesuffix('.bias')}.weight") if name.endswith(".bias") and len(shape) == 1 else None
        expected = (weight or (1,))[-1]
        if weight is not None and expected != shape[0]:
            yield Finding("error", f"tensor {name}", f"has {shape[0]} values, expected {expected}")


def _size_findings(header: Header, kind: str) -> Iterator[Finding]:
    for name, allowed in (_SIZES | (_IMAGE_SIZES if kind == "vision" else _SOUND_SIZES)).items():
        key = f"clip.{kind}.{name}"
        entry = header.metadata.get(key)
        if entry is None:
            yield key_finding(header, key, "missing")
        elif entry.type != ValueType.UINT32:
            yield key_finding(header, key, f"has type {entry.type.label}, expected {ValueType.UINT32.label}")
        elif header.integer(key) not in allowed:
            most = f"a number from {allowed.start} to {allowed.stop - 1}"
            yield key_finding(header, key, f"is {shown_value(header, key)}, expected {most}")
    width, heads = (header.integer(f"clip.{kind}.{name}") for name in ("embedding_length", "attention.head_count"))
    if width and heads and width % heads and header.integer(f"clip.{kind}.attention.head_dim") is None:
        yield key_finding(header, f"clip.{kind}.attention.head_count", f"is {heads}, which does not divide a width of {width}")


def _number_findings(header: Header, kind: str) -> Iterator[Finding]:
    key = f"clip.{kind}.attention.layer_norm_epsilon"
    epsilon = header.number(key)
    if key not in header.metadata:
        yield key_finding(header, key, "missing")
    elif header.metadata[key].type != ValueType.FLOAT32 or epsilon is None or not 0 <= epsilon < math.inf:
        yield key_finding(header, key, f"is {shown_value(header, key)}, expected a small positive number")
    if kind != "vision":
        return
    for name in ("image_mean", "image_std"):
        array = header.array(f"clip.vision.{name}")
        if array is None or array.element != ValueType.FLOAT32 or array.count < _COLOURS:
            yield key_finding(header, f"clip.vision.{name}", f"missing, or not an array of {_COLOURS} numbers")

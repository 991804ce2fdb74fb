"""Projector files: what `info` says of them, and what `info --check` and loading refuse."""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny import ARRAY, F32, U32, Tensor, Typed
from tiny_projector import projector_metadata, projector_tensors, write_projector
from tiny_vision import Kind, Seeing, projector_parts

from llamacli.engine.media.compatibility import check_projector
from llamacli.errors import ModelFileError, ModelUnsupportedError
from llamacli.gguf.analysis.projector import projector_memory, read_projector
from llamacli.gguf.analysis.summary import summarize
from llamacli.gguf.check.finding import Finding
from llamacli.gguf.check.model import check_model
from llamacli.gguf.check.projector import PROJECTOR_TYPES
from llamacli.gguf.model import read_file_header, read_files
from llamacli.gguf.source import FileSource

NAMES = Path(__file__).parents[2] / "vendor/llama.cpp/tools/mtmd/clip-impl.h"


def findings(path: Path) -> list[Finding]:
    with FileSource(path) as source:
        return [finding for finding in check_model(read_files(path), [source]) if finding.severity == "error"]


def test_details_are_read(tmp_path: Path) -> None:
    path = write_projector(tmp_path / "mmproj.gguf")
    with FileSource(path) as source:
        details = summarize(read_files(path), source).details
    assert dict(details) == {
        "vision": "projector idefics3", "vision image size": "32 pixels", "vision patch": "8 pixels",
        "vision layers": "0 layers", "fits": "models with embeddings of 64 values",
    }  # fmt: skip
    projector = read_projector(read_file_header(path))
    assert projector is not None
    assert projector.image is not None
    assert (projector.image.width, projector.image.patch_size, projector.audio) == (64, 8, None)


@pytest.mark.parametrize(("name", "rate"), [("ultravox", 16_000), ("mimo_audio", 24_000)])
def test_sounds_have_a_rate(tmp_path: Path, name: str, rate: int) -> None:
    path = write_projector(tmp_path / "mmproj.gguf", projector_metadata("audio", name), tensor="mm.a.mlp.2.weight")
    projector = read_projector(read_file_header(path))
    assert projector is not None
    assert projector.audio is not None
    assert projector.audio.sound_rate == rate


def test_memory_is_that_of_the_weights_and_more(tmp_path: Path) -> None:
    header = read_file_header(write_projector(tmp_path / "mmproj.gguf"))
    weights = 4 * 32 * 64 + 4 * 8 * 8 * 3 * 32
    patches = (32 // 8) ** 2
    assert projector_memory(header) == weights + 4 * patches * (6 * 32 + 2 * 64 + 4 * patches)


def test_a_sound_projector_has_no_findings(tmp_path: Path, seeing: Seeing) -> None:
    assert findings(write_projector(tmp_path / "mmproj.gguf")) == []
    kinds: tuple[Kind, ...] = ("idefics3", "qwen2vl", "gemma3")
    assert [findings(seeing(kind).projector) for kind in kinds] == [[], [], []]
    assert findings(seeing("ultravox", 1).projector) == []


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("idefics3", {"v.blk.0.attn_q.weight": None}, "tensor v.blk.0.attn_q.weight: missing"),
        ("idefics3", {"mm.model.fc.weight": None}, "tensor mm.model.fc.weight: missing"),
        ("idefics3", {"mm.model.fc.weight": (64, 64)}, "tensor mm.model.fc.weight: has shape 64 x 64, expected 128 x any"),
        ("idefics3", {"v.patch_embd.weight": (8, 8, 2, 32)},
         "tensor v.patch_embd.weight: has shape 8 x 8 x 2 x 32, expected 8 x 8 x 3 x 32"),
        ("idefics3", {"v.blk.0.ffn_down.weight": (32, 32)},
         "tensor v.blk.0.ffn_down.weight: has shape 32 x 32, expected 64 x 32"),
        ("qwen2vl", {"v.patch_embd.weight.1": None}, "tensor v.patch_embd.weight.1: missing"),
        ("qwen2vl", {"v.patch_embd.bias": (32,)}, "tensor v.patch_embd.bias: projectors of the type qwen2vl_merger have none"),
        ("ultravox", {"a.position_embd.weight": (32, 100)}, "tensor a.position_embd.weight: has fewer than 1500 positions"),
        ("ultravox", {"a.blk.0.attn_k.bias": (32,)}, "tensor a.blk.0.attn_k.bias: projectors of the type ultravox have none"),
    ],
)  # fmt: skip
def test_tensors_are_there_and_fit(tmp_path: Path, kind: Kind, change: dict[str, tuple[int, ...] | None], message: str) -> None:
    metadata, tensors = projector_parts(kind, 1)
    tensors = [tensor for tensor in tensors if tensor.name not in change]
    tensors += [Tensor(name, shape, bytes(4 * math.prod(shape))) for name, shape in change.items() if shape is not None]
    path = tmp_path / "mmproj.gguf"
    path.write_bytes(tiny.gguf_bytes(metadata, tensors))
    assert [f"{finding.subject}: {finding.message}" for finding in findings(path)] == [message]


@pytest.mark.parametrize(
    ("projector", "more", "message"),
    [
        ("phi4", {}, "key clip.vision.image_min_pixels: missing"),
        ("idefics3", {"clip.vision.projector.scale_factor": Typed(U32, 0)},
         "key clip.vision.projector.scale_factor: is 0, expected a number from 1 to 4"),
        ("idefics3", {"clip.vision.image_min_pixels": Typed(U32, 9), "clip.vision.image_max_pixels": Typed(U32, 8)},
         "key clip.vision.image_max_pixels: is 8, less than the 9 of image_min_pixels"),
        ("idefics3", {"clip.minicpmv_version": Typed(U32, 3)}, "key clip.minicpmv_version: has type u32, expected i32"),
        ("idefics3", {"clip.vision.feature_layer": Typed(ARRAY, [1.0], F32)},
         "key clip.vision.feature_layer: is not an array of i32 numbers"),
        ("idefics3", {"clip.vision.n_wa_pattern": Typed(U32, 1 << 31)},
         f"key clip.vision.n_wa_pattern: is {1 << 31}, more than {(1 << 31) - 1}"),
    ],
)  # fmt: skip
def test_keys_of_the_type_are_there_and_in_range(tmp_path: Path, projector: str, more: dict[str, Any], message: str) -> None:
    path = write_projector(tmp_path / "mmproj.gguf", projector_metadata("vision", projector) | more)
    assert message in [f"{finding.subject}: {finding.message}" for finding in findings(path)]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("clip.has_vision_encoder", False, "it has no encoder of pictures or sounds"),
        ("clip.projector_type", None, "missing, expected the type of the projector"),
        ("clip.projector_type", "mine", "is 'mine', a projector that llama.cpp does not know"),
        ("clip.vision.patch_size", None, "missing"),
        ("clip.vision.patch_size", Typed(U32, 0), "is 0, expected a number from 1 to 65535"),
        ("clip.vision.image_size", Typed(U32, 8193), "is 8193, expected a number from 0 to 8192"),
        ("clip.vision.image_size", Typed(F32, 3.0), "has type f32, expected u32"),
        ("clip.vision.block_count", Typed(U32, 1 << 31), f"is {1 << 31}, expected a number from 0 to 512"),
        ("clip.vision.attention.head_count", Typed(U32, 5), "is 5, which does not divide a width of 32"),
        ("clip.vision.attention.layer_norm_epsilon", None, "missing"),
        ("clip.vision.attention.layer_norm_epsilon", Typed(F32, float("nan")), "is nan, expected a small positive number"),
        ("clip.vision.image_mean", Typed(ARRAY, [0.5], F32), "missing, or not an array of 3 numbers"),
        ("clip.vision.image_std", "x", "missing, or not an array of 3 numbers"),
    ],
)
def test_what_llama_cpp_refuses_is_found(tmp_path: Path, tiny_model: Path, key: str, value: Any, message: str) -> None:
    content = {name: entry for name, entry in (projector_metadata() | {key: value}).items() if entry is not None}
    path = write_projector(tmp_path / "mmproj.gguf", content)
    assert message in [finding.message for finding in findings(path)]
    with pytest.raises((ModelFileError, ModelUnsupportedError)):
        check_projector(path, read_file_header(tiny_model))


def test_a_projector_without_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mmproj.gguf"
    path.write_bytes(tiny.gguf_bytes(projector_metadata(), []))
    assert [finding.message for finding in findings(path)][-1:] == ["it has no tensors"]


@pytest.mark.parametrize(("shape", "expected"), [((2, 4), 4), ((), 1)])
def test_a_bias_is_as_long_as_its_weight(tmp_path: Path, shape: tuple[int, ...], expected: int) -> None:
    path = tmp_path / "mmproj.gguf"
    weight = Tensor("mm.weight", shape, bytes(4 * math.prod(shape)))
    path.write_bytes(tiny.gguf_bytes(projector_metadata(), [*projector_tensors(), weight, Tensor("mm.bias", (3,), bytes(12))]))
    assert [finding.message for finding in findings(path)] == [f"has 3 values, expected {expected}"]


def test_altered_sizes_are_refused_or_used(tmp_path: Path) -> None:
    """Every size of the header, replaced: nothing but a finding, whatever the number."""
    sound = tiny.gguf_bytes(projector_metadata(), projector_tensors())
    path = tmp_path / "mmproj.gguf"
    for key in (name for name in projector_metadata() if name.startswith("clip.vision.")):
        place = sound.index(key.encode()) + len(key) + 4
        for number in (0, 1, 2**31 - 1, 2**31, 2**32 - 1):
            path.write_bytes(sound[:place] + struct.pack("<I", number) + sound[place + 4 :])
            try:
                findings(path)
                projector_memory(read_file_header(path))
            except ModelFileError:
                continue


def test_the_types_are_llama_cpps() -> None:
    if not NAMES.exists():
        pytest.skip("the sources of llama.cpp are not here")
    text = NAMES.read_text().partition("PROJECTOR_TYPE_NAMES = {")[2].partition("};")[0]
    assert frozenset(re.findall(r'"([^"]+)"', text)) - {"gemma3na"} == PROJECTOR_TYPES

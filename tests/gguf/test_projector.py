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
from tiny_projector import projector_metadata, write_projector

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
        "vision layers": "1 layer", "fits": "models with embeddings of 64 values",
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
    assert findings(path) == []


def test_memory_is_that_of_the_weights_and_more(tmp_path: Path) -> None:
    header = read_file_header(write_projector(tmp_path / "mmproj.gguf"))
    weights = 4 * 8 * 64
    patches = (32 // 8) ** 2
    assert projector_memory(header) == weights + 4 * patches * (6 * 32 + 2 * 64 + 4 * patches)


def test_a_sound_projector_has_no_findings(tmp_path: Path) -> None:
    assert findings(write_projector(tmp_path / "mmproj.gguf")) == []


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
    assert [finding.message for finding in findings(path)] == ["it has no tensors"]


@pytest.mark.parametrize(("shape", "expected"), [((2, 4), 4), ((), 1)])
def test_a_bias_is_as_long_as_its_weight(tmp_path: Path, shape: tuple[int, ...], expected: int) -> None:
    path = tmp_path / "mmproj.gguf"
    weight = Tensor("mm.weight", shape, bytes(4 * math.prod(shape)))
    path.write_bytes(tiny.gguf_bytes(projector_metadata(), [weight, Tensor("mm.bias", (3,), bytes(12))]))
    assert [finding.message for finding in findings(path)] == [f"has 3 values, expected {expected}"]


def test_altered_sizes_are_refused_or_used(tmp_path: Path) -> None:
    """Every size of the header, replaced: nothing but a finding, whatever the number."""
    sound = tiny.gguf_bytes(projector_metadata(), [Tensor("mm.model.fc.weight", (8, 64), bytes(2048))])
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
    assert frozenset(re.findall(r'"([^"]+)"', text)) == PROJECTOR_TYPES

"""Differences between models, hashes of tensors and files, and the summary."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny import ARRAY, F32, Tensor, Typed

from llamacli.errors import ModelFileError
from llamacli.gguf.analysis import hashes as hashing
from llamacli.gguf.analysis.diff import Difference, compare, compare_data
from llamacli.gguf.analysis.hashes import hash_model
from llamacli.gguf.analysis.summary import Summary, summarize
from llamacli.gguf.model import ModelFiles, read_files
from llamacli.gguf.source import FileSource, Source


def opened(path: Path) -> tuple[ModelFiles, Sequence[Source]]:
    files = read_files(path)
    return files, [FileSource(place) for place in files.locations]


def differences(old: Path, new: Path) -> list[Difference]:
    one, one_sources = opened(old)
    other, other_sources = opened(new)
    headers = compare(one, other, one_sources[0], other_sources[0])
    return headers + compare_data(one, other, one_sources, other_sources)


def test_a_model_is_like_itself_however_it_is_split(tmp_path: Path) -> None:
    whole = tiny.tiny_model(tmp_path / "whole.gguf")
    assert differences(whole, whole) == []
    assert differences(whole, tiny.split_model(tmp_path)[0]) == []
    assert differences(tiny.split_model(tmp_path)[0], whole) == []


CHANGES: list[tuple[dict[str, Any], list[Difference]]] = [
    ({"change": {"general.name": "Other"}}, [Difference("key", "general.name", "changed", "Tiny", "Other")]),
    ({"drop": ["general.name"]}, [Difference("key", "general.name", "removed", "Tiny", None)]),
    ({"change": {"new": True}}, [Difference("key", "new", "added", None, "true")]),
    (
        {"change": {"general.file_type": Typed(tiny.U64, 0)}},
        [Difference("key", "general.file_type", "changed", "0 (u32)", "0 (u64)")],
    ),
    (
        {"change": {"tokenizer.ggml.token_type": Typed(ARRAY, [3, 3, 3, 4, *[1] * 305], tiny.I32)}},
        [Difference("key", "tokenizer.ggml.token_type", "changed", "i32[309], at 3: 1", "i32[309], at 3: 4 (1 differ)")],
    ),
    (
        {"change": {"tokenizer.ggml.merges": [*tiny.MERGES, "a b"]}},
        [Difference("key", "tokenizer.ggml.merges", "changed", "str[50], at 50: missing", "str[51], at 50: a b (1 differ)")],
    ),
    (
        {"drop_tensors": ["output.weight"]},
        [Difference("tensor", "output.weight", "removed", "F32 [64, 309]", None)],
    ),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_what_differs(tmp_path: Path, number: int) -> None:
    options, expected = CHANGES[number]
    old = tiny.tiny_model(tmp_path / "old.gguf")
    assert differences(old, tiny.tiny_model(tmp_path / "new.gguf", **options)) == expected


def test_other_weights_are_a_difference(tmp_path: Path) -> None:
    old = tiny.tiny_model(tmp_path / "old.gguf")
    new = tmp_path / "new.gguf"
    data = bytearray(old.read_bytes())
    data[-1] ^= 1
    new.write_bytes(data)
    expected = [
        Difference("tensor", "blk.1.ffn_down.weight", "changed", "F32 [128, 64], its data", "F32 [128, 64], other data")
    ]
    assert differences(old, new) == expected


def test_hashes_are_those_of_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny.tiny_model(tmp_path / "model.gguf")
    data = path.read_bytes()
    files, sources = opened(path)
    whole = hash_model(files, sources)
    assert whole.files == ((str(path), hashlib.sha256(data).hexdigest()),)
    for (name, digest), tensor in zip(whole.tensors, files.tensors, strict=True):
        assert name == tensor.name
        assert digest == hashlib.sha256(data[tensor.offset : tensor.offset + tensor.size]).hexdigest()
    monkeypatch.setattr(hashing, "BLOCK", 1000)  # tensors that cross many blocks, and blocks that hold many tensors
    progress: list[tuple[int, int]] = []
    assert hash_model(files, sources, lambda done, total: progress.append((done, total))) == whole
    assert progress[-1] == (len(data), len(data))


def test_a_cut_file_is_not_hashed(tmp_path: Path) -> None:
    path = tiny.tiny_model(tmp_path / "model.gguf")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelFileError, match="before its last tensor"):
        hash_model(*opened(path))


def summary_of(path: Path) -> Summary:
    files, sources = opened(path)
    return summarize(files, sources[0])


def test_summary(tmp_path: Path) -> None:
    change = {"general.sampling.temp": 0.6, "general.sampling.top_k": 20, "tokenizer.chat_template.tool_use": "{{ tools }}"}
    summary = summary_of(tiny.tiny_model(tmp_path / "model.gguf", change=change))
    assert (summary.kind, summary.name, summary.architecture, summary.licence) == ("model", "Tiny", "llama", "apache-2.0")
    assert summary.parameters == sum(tensor.elements for tensor in read_files(tmp_path / "model.gguf").tensors)
    assert (summary.quantization, summary.bits_per_weight) == ("F32", 32.0)
    assert summary.dimensions.context_length == 512
    assert summary.dimensions.pooling is None
    assert summary.vocabulary is not None
    assert (summary.vocabulary.type, summary.vocabulary.pre, summary.vocabulary.size) == ("BPE", "smollm", 309)
    special = [(token.role, token.id, token.text) for token in summary.vocabulary.special]
    assert special == [("bos", 1, "<|im_start|>"), ("eos", 2, "<|im_end|>"), ("padding", 0, "<|endoftext|>")]
    assert [name for name, _ in summary.templates] == ["default", "tool_use"]
    assert dict(summary.sampling) == {"temp": pytest.approx(0.6), "top_k": 20}


def test_quantization_without_a_file_type_is_the_largest_share(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    tensors = [Tensor("a", (256,), b"\0" * 144, 12), Tensor("b", (8,), b"\0" * 32, 0)]
    path.write_bytes(tiny.gguf_bytes({"general.architecture": "llama"}, tensors))
    summary = summary_of(path)
    assert summary.quantization == "Q4_K"
    assert summary.bits_per_weight == pytest.approx(8 * 176 / 264)
    assert [share.type for share in summary.shares] == ["Q4_K", "F32"]


def test_pooling_and_special_files(tmp_path: Path) -> None:
    assert summary_of(tiny.tiny_model(tmp_path / "e.gguf", embedding=True)).dimensions.pooling == "mean"
    adapter = tmp_path / "adapter.gguf"
    metadata = {"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora", "adapter.lora.alpha": 16.0}
    adapter.write_bytes(tiny.gguf_bytes(metadata, [Tensor("blk.0.attn_q.weight.lora_a", (8, 4), b"\0" * 128)]))
    summary = summary_of(adapter)
    assert summary.kind == "a LoRA adapter"
    assert dict(summary.details) == {"adapter type": "lora", "rank": "4", "alpha": "16"}
    projector = tmp_path / "mmproj.gguf"
    metadata = {
        "general.architecture": "clip",
        "clip.has_vision_encoder": True,
        "clip.projector_type": "mlp",
        "clip.vision.image_size": 336,
    }
    projector.write_bytes(tiny.gguf_bytes(metadata, [Tensor("v", (1,), b"\0" * 4)]))
    summary = summary_of(projector)
    assert summary.kind == "an image or audio projector"
    assert dict(summary.details) == {"vision": "projector mlp", "vision image size": "336 pixels"}


def test_a_token_id_outside_the_vocabulary_has_no_text(tmp_path: Path) -> None:
    change = {"tokenizer.ggml.eos_token_id": 5000, "tokenizer.ggml.scores": Typed(ARRAY, [0.0], F32)}
    summary = summary_of(tiny.tiny_model(tmp_path / "model.gguf", change=change))
    assert summary.vocabulary is not None
    assert {token.role: token.text for token in summary.vocabulary.special}["eos"] is None


def test_tensors_without_data_have_a_hash(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny.gguf_bytes({"a": 1}, [Tensor("full", (1,), b"\1" * 4), Tensor("none", (0,), b"")]))
    assert dict(hash_model(*opened(path)).tensors)["none"] == hashlib.sha256(b"").hexdigest()

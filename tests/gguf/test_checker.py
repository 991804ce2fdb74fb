"""The soundness checker: each kind of damage is found, and sound files are left in peace."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny import ARRAY, F32, STRING, Tensor, Typed

from llamacli.gguf.check.finding import Finding
from llamacli.gguf.check.model import MAX_FINDINGS, check_model
from llamacli.gguf.model import read_files
from llamacli.gguf.source import FileSource


def check(path: Path) -> list[Finding]:
    files = read_files(path)
    sources = [FileSource(location) for location in files.locations]
    try:
        return check_model(files, sources)
    finally:
        for source in sources:
            source.close()


@pytest.mark.parametrize("options", [{}, {"byte_order": ">"}, {"version": 2}, {"template": None}, {"embedding": True}])
def test_sound_files_have_no_findings(tmp_path: Path, options: dict[str, Any]) -> None:
    assert check(tiny.tiny_model(tmp_path / "model.gguf", **options)) == []


def test_a_vocabulary_without_weights_lacks_no_tensors(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny.gguf_bytes(tiny.default_metadata(tiny.default_vocabulary())))
    assert [finding for finding in check(path) if finding.severity == "error"] == []


def test_sound_parts_have_no_findings(tmp_path: Path) -> None:
    assert check(tiny.split_model(tmp_path)[0]) == []


@pytest.mark.demo
def test_the_demo_model_is_sound(demo_model: Path) -> None:
    assert [finding for finding in check(demo_model) if finding.severity != "note"] == []


DAMAGE: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "unknown architecture": (
        {"change": {"general.architecture": "lama", **{f"lama.{name}": 2 for name in ("block_count", "embedding_length")}}},
        "error", "key lama.context_length", "missing"),
    "missing key of the architecture": (
        {"drop": ["llama.attention.layer_norm_rms_epsilon"]},
        "error", "key llama.attention.layer_norm_rms_epsilon", "missing, but llama requires it"),
    "token id": (
        {"change": {"tokenizer.ggml.eos_token_id": 309}},
        "warning", "key tokenizer.ggml.eos_token_id", "outside the vocabulary of 309"),
    "token type": (
        {"change": {"tokenizer.ggml.token_type": Typed(ARRAY, [77] * 309, tiny.I32)}},
        "warning", "key tokenizer.ggml.token_type", "309 tokens have the unknown type 77"),
    "scores": (
        {"change": {"tokenizer.ggml.scores": Typed(ARRAY, [math.nan] * 309, F32)}},
        "warning", "key tokenizer.ggml.scores", "309 scores are not finite"),
    "merges without a space": (
        {"change": {"tokenizer.ggml.merges": ["ab", "t h"]}},
        "warning", "key tokenizer.ggml.merges", "1 merges are not two texts"),
    "merges to no token": (
        {"change": {"tokenizer.ggml.merges": ["x y"]}},
        "warning", "key tokenizer.ggml.merges", "1 merges result in a text that is not a token"),
    "no merges": ({"drop": ["tokenizer.ggml.merges"]}, "error", "key tokenizer.ggml.merges", "a BPE vocabulary requires it"),
    "escape sequence": (
        {"change": {"general.name": "a\x1b[31m"}},
        "warning", "key general.name", "control or invisible characters: a\\x1b[31m"),
    "direction override": ({"change": {"general.author": "a\u202eb"}}, "warning", "key general.author", "\\u202e"),
    "not UTF-8": ({"change": {"general.name": Typed(STRING, b"\xff")}}, "warning", "key general.name", "not UTF-8"),
    "name with controls": ({"change": {"a\tb": 1}}, "warning", "key a\\x09b", "the name has control"),
    "not finite": ({"change": {"llama.rope.freq_base": math.inf}}, "warning", "key llama.rope.freq_base", "is inf"),
    "layers": ({"change": {"llama.block_count": 3}}, "error", "tensors", "layer 2 of 3 has no tensors (1 such layers)"),
    "more layers": ({"change": {"llama.block_count": 1}}, "error", "tensors", "layer 1 has tensors, but block_count is 1"),
    "width": ({"change": {"llama.embedding_length": 128}}, "error", "tensor token_embd.weight", "expected (128, 309)"),
    "KV heads for another number of layers": (
        {"change": {"llama.attention.head_count_kv": Typed(ARRAY, [2, 2, 2], tiny.U32)}},
        "error", "key llama.attention.head_count_kv", "has 3 elements for 2 layers"),
    "KV heads that divide nothing": (
        {"change": {"llama.attention.head_count_kv": Typed(ARRAY, [2, 3], tiny.U32)}},
        "error", "key llama.attention.head_count_kv", "is 3 in layer 1, expected a divisor of the 4 heads"),
    "no KV heads": (
        {"change": {"llama.attention.head_count_kv": 0}},
        "error", "tensor blk.0.attn_k.weight", "expected 0 (head_count_kv * key_length)"),
    "negative epsilon": (
        {"change": {"llama.attention.layer_norm_rms_epsilon": -1e-5}},
        "error", "key llama.attention.layer_norm_rms_epsilon", "is -1e-05"),
    "signed context": (
        {"change": {"llama.context_length": Typed(tiny.I64, 512)}},
        "error", "key llama.context_length", "has type i64, expected u32"),
    "negative base of rotations": (
        {"change": {"llama.rope.freq_base": -1.0}},
        "error", "key llama.rope.freq_base", "is -1, expected a positive number"),
    "epsilon as a double": (
        {"change": {"llama.attention.layer_norm_rms_epsilon": Typed(tiny.F64, 1e-5)}},
        "error", "key llama.attention.layer_norm_rms_epsilon", "has type f64, expected f32"),
    "heads as texts": (
        {"change": {"llama.attention.head_count": ["4", "4"]}},
        "error", "key llama.attention.head_count", "is an array of str, expected u32"),
    "split count as text": ({"change": {"split.count": "1"}}, "error", "key split.count", "has type str, expected u16"),
    "key length": (
        {"change": {"llama.attention.key_length": 32, "llama.rope.dimension_count": 32}},
        "error", "tensor blk.1.attn_q.weight", "expected 128 (head_count * key_length) as dimension 1"),
    "rotated dimensions": (
        {"change": {"llama.rope.dimension_count": 8}}, "error", "key llama.rope.dimension_count", "is 8, expected 16"),
    "feed-forward length": (
        {"change": {"llama.feed_forward_length": 7}}, "error", "tensor blk.0.ffn_down.weight", "expected 7 (feed_forward"),
    "pre-tokenizer": (
        {"change": {"tokenizer.ggml.pre": "mine"}}, "error", "key tokenizer.ggml.pre", "is 'mine', an unknown pre-tokenizer"),
    "no experts": (
        {"change": {"llama.expert_count": 4, "llama.expert_used_count": 2}},
        "error", "tensor blk.0.ffn_up_exps.weight", "missing in 2 of 2 layers"),
    "missing tensor": (
        {"drop_tensors": ["blk.1.ffn_up.weight"]}, "error", "tensor blk.1.ffn_up.weight", "missing"),
    "values of another length": (
        {"change": {"llama.attention.value_length": 8}},
        "error", "key llama.attention.value_length", "keys have 16 elements and values 8"),
    "odd rotation": (
        {"change": {"general.architecture": "stablelm", "stablelm.embedding_length": 64, "stablelm.attention.head_count": 4,
                    "stablelm.rope.dimension_count": 7, "stablelm.block_count": 2}},
        "error", "key stablelm.rope.dimension_count", "is 7, expected an even number"),
    "rotation of more than a key": (
        {"change": {"general.architecture": "stablelm", "stablelm.embedding_length": 64, "stablelm.attention.head_count": 4,
                    "stablelm.rope.dimension_count": 32, "stablelm.block_count": 2}},
        "error", "key stablelm.rope.dimension_count", "is 32, more than the 16 elements of a key"),
    "a size of 0": (
        {"change": {"general.architecture": "mamba", "mamba.ssm.state_size": 0}},
        "error", "key mamba.ssm.state_size", "is 0, expected a number from 1"),
    "a size as text": (
        {"change": {"general.architecture": "mamba", "mamba.ssm.state_size": "x"}},
        "error", "key mamba.ssm.state_size", "has type str, expected u32"),
    "a name as a number": ({"change": {"general.name": 7}}, "error", "key general.name", "has type u32, expected str"),
    "size of the vocabulary": (
        {"change": {"llama.vocab_size": "x"}}, "error", "key llama.vocab_size", "has type str, expected u32"),
    "length of experts without the key": ({"drop": ["llama.feed_forward_length"]}, "error", "key llama.feed_forward_length",
        "missing, but the layers have feed-forward tensors"),
    "missing norm": ({"drop_tensors": ["blk.1.attn_norm.weight"]}, "error", "tensor blk.1.attn_norm.weight", "missing"),
    "missing norm of the model": (
        {"drop_tensors": ["output_norm.weight"]}, "error", "tensor output_norm.weight", "missing, but llama requires it"),
    "missing projections": (
        {"drop_tensors": ["blk.0.attn_k.weight", "blk.1.attn_k.weight"]},
        "error", "tensor blk.0.attn_k.weight", "missing in 2 of 2 layers"),
    "file type": ({"change": {"general.file_type": 777}}, "note", "key general.file_type", "an unknown quantization"),
    "template": ({"template": "{% if x %}"}, "error", "template default, line 1", "if is never closed"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found(name: str, tmp_path: Path) -> None:
    options, severity, place, message = DAMAGE[name]
    found = check(tiny.tiny_model(tmp_path / "model.gguf", **options))
    hits = [finding for finding in found if finding.subject == place and message in finding.message]
    assert [finding.severity for finding in hits] == [severity], found
    assert all(f"{finding.subject}: {finding.message}".isprintable() for finding in found)


def test_an_unknown_architecture_is_only_a_warning(tmp_path: Path) -> None:
    metadata = {f"lama.{name}": 2 for name in ("block_count", "embedding_length", "context_length")}
    change = {"general.architecture": "lama", **metadata}
    found = check(tiny.tiny_model(tmp_path / "model.gguf", change=change))
    assert ("warning", "unknown architecture 'lama'") in [(finding.severity, finding.message) for finding in found]


def test_bytes_that_belong_to_nothing(tmp_path: Path) -> None:
    path = tiny.tiny_model(tmp_path / "model.gguf")
    data = path.read_bytes()
    path.write_bytes(data + b"hidden")
    assert [finding.message for finding in check(path)] == ["6 bytes after the last tensor"]


def test_padding_that_is_not_zero(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    metadata = tiny.default_metadata(tiny.default_vocabulary())
    tensors = [Tensor("blk.0.a", (1,), b"\1" * 4), Tensor("blk.1.b", (1,), b"\1" * 4)]
    data = tiny.gguf_bytes(metadata, tensors)
    path.write_bytes(data)
    assert "the padding after it is not zero" not in [finding.message for finding in check(path)]
    path.write_bytes(data[:-40] + b"hide" + data[-36:])
    assert ("tensor blk.0.a", "the padding after it is not zero") in [
        (finding.subject, finding.message) for finding in check(path)
    ]


def test_tensors_that_overlap(tmp_path: Path) -> None:
    path = tiny.tiny_model(tmp_path / "model.gguf")
    data = bytearray(path.read_bytes())
    place = data.index(b"output_norm.weight") + 18 + 4 + 8 + 4
    data[place : place + 8] = struct.pack("<Q", 33)
    path.write_bytes(data)
    messages = [finding.message for finding in check(path) if finding.subject == "tensor output_norm.weight"]
    assert any("overlaps" in message for message in messages)
    assert any("not aligned to 32 bytes" in message for message in messages)


def test_a_file_with_very_many_findings_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    tensors = [Tensor(f"t{number}\x1b", (1,), b"\1" * 4) for number in range(600)]
    path.write_bytes(tiny.gguf_bytes(tiny.default_metadata(tiny.default_vocabulary()), tensors))
    found = check(path)
    assert len(found) == MAX_FINDINGS + 1
    assert found[-1].message.endswith("more findings")


def test_a_layer_count_beyond_all_bounds_is_only_a_finding(tmp_path: Path) -> None:
    found = check(tiny.tiny_model(tmp_path / "model.gguf", change={"llama.block_count": Typed(tiny.U64, 2**60)}))
    assert any("layer 2 of 1152921504606846976 has no tensors" in finding.message for finding in found)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("blk.1.attn_v.weight", {"shape": (64, 32, 2)}, "has shape [64, 32, 2], expected 2 dimensions"),
        ("blk.0.attn_output.weight", {"shape": (64,)}, "has shape [64], expected 64 (embedding_length) as dimension 1"),
        ("blk.1.attn_q.weight", {"shape": (64,)}, "has shape [64], expected 2 dimensions"),
        ("blk.0.attn_k.weight", {"shape": (64, 16)}, "expected 32 (head_count_kv * key_length) as dimension 1"),
        ("blk.0.ffn_gate.weight", {"shape": (128, 64)}, "expected 64 (embedding_length) as dimension 0"),
        ("blk.0.ffn_norm.weight", {"shape": (32,)}, "expected 64 (embedding_length) as dimension 0"),
        ("blk.1.ffn_up.weight", {"type": 26}, "has type I32, with which llama.cpp cannot compute"),
        ("blk.1.attn_norm.weight", {"type": 26}, "has type I32, expected F32"),
        ("output.weight", {"type": 24}, "has type I8, with which llama.cpp cannot compute"),
    ],
)
def test_damaged_tensors_are_found(tmp_path: Path, name: str, change: dict[str, Any], message: str) -> None:
    vocabulary = tiny.default_vocabulary()
    tensors = list(tiny.default_tensors(len(vocabulary.tokens)))
    number = next(number for number, tensor in enumerate(tensors) if tensor.name == name)
    changed = replace(tensors[number], **change)
    size = math.prod(changed.shape) * {0: 4, 24: 1, 26: 4}[changed.type]
    tensors[number] = replace(changed, data=(changed.data * 2)[:size])
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny.gguf_bytes(tiny.default_metadata(vocabulary), tensors))
    hits = [finding for finding in check(path) if finding.subject == f"tensor {name}" and message in finding.message]
    assert [finding.severity for finding in hits] == ["error"], check(path)

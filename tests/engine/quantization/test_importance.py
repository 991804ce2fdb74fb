"""Importance matrices: their files, and what is collected from a tiny model."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_bert

from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.quantization.collector import collect
from llamacli.engine.quantization.importance import Importance, ImportanceEntry, merged, read_importance, write_importance
from llamacli.engine.quantization.types import ChunkCollected, CollectRequest, parse_recipe, parse_tensor_rule
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.model import Model
from llamacli.errors import ModelUnsupportedError, UsageError

TEXT = ("The harbour was quiet when the first boats came home. " * 8).encode()


def floats(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


WHOLE = Importance(
    (
        ImportanceEntry("blk.0.ffn_up.weight", floats(4.0, 8.0), (4,)),
        ImportanceEntry("blk.0.ffn_up_exps.weight", floats(1.0, 3.0, 5.0, 7.0), (2, 0)),
    ),
    ("a.txt", "b.txt"),
    3,
    512,
)


def written(path: Path, importance: Importance = WHOLE) -> Path:
    with path.open("wb") as file:
        write_importance(file, importance)
    return path


def request(path: Path, **more) -> CollectRequest:
    how = {"text": TEXT, "n_ctx": 32, "context": ContextParams(threads=1), "model": ModelParams(), **more}
    return CollectRequest(path=str(path), **how)


def collected(asked: CollectRequest) -> dict[str, ImportanceEntry]:
    events = list(collect(asked, CancelFlag()))
    return {event.name: event for event in events if isinstance(event, ImportanceEntry)}


# --- files --------------------------------------------------------------------------------------------------------------


def test_a_file_gives_back_what_was_written(tmp_path):
    found = read_importance(written(tmp_path / "i.gguf"))
    assert found == WHOLE
    assert {name: struct.unpack(f"<{len(data) // 4}f", data) for name, data in found.weights().items()} == {
        "blk.0.ffn_up.weight": (1.0, 2.0),
        "blk.0.ffn_up_exps.weight": (0.5, 1.5, 1.0, 1.0),  # an expert that was never used weighs all columns alike
    }


def test_another_reader_understands_the_file(tmp_path):
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(written(tmp_path / "i.gguf"))
    tensors = {tensor.name: (list(tensor.shape), tensor.data.ravel().tolist()) for tensor in reader.tensors}
    assert tensors["blk.0.ffn_up_exps.weight.in_sum2"] == ([2, 2], [1, 3, 5, 7])
    assert tensors["blk.0.ffn_up_exps.weight.counts"] == ([1, 2], [2, 0])
    assert reader.fields["imatrix.chunk_count"].contents() == 3
    assert reader.fields["imatrix.datasets"].contents() == ["a.txt", "b.txt"]


def test_the_older_format_is_read(tmp_path):
    name = b"blk.0.ffn_up.weight"
    data = (
        struct.pack("<ii", 1, len(name)) + name + struct.pack("<ii", 4, 2) + floats(4, 8) + struct.pack("<ii", 4, 5) + b"a.txt"
    )
    (tmp_path / "old.dat").write_bytes(data)
    found = read_importance(tmp_path / "old.dat")
    assert found == Importance((ImportanceEntry(name.decode(), floats(4, 8), (4,)),), ("a.txt",), 4)
    assert struct.unpack("<2f", found.weights()[name.decode()]) == (1, 2)


def test_matrices_are_added_up():
    found = merged([WHOLE, WHOLE])
    assert found.entries[0] == ImportanceEntry("blk.0.ffn_up.weight", floats(8, 16), (8,))
    assert found.datasets == ("a.txt", "b.txt")
    other = Importance((ImportanceEntry("blk.0.ffn_up.weight", floats(1), (1,)),))
    with pytest.raises(UsageError, match="not of one model"):
        merged([WHOLE, other])


def legacy(count: int, length: int, values: int) -> bytes:
    return struct.pack("<ii", count, length) + b"x" * 8 + struct.pack("<ii", 1, values) + bytes(8)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 3, legacy(0, 8, 1), legacy(1 << 30, 8, 1), legacy(1, -1, 1), legacy(1, 1 << 30, 1), legacy(1, 8, 1 << 30),
     legacy(1, 8, -1), legacy(2, 8, 2), b"GGUF", b"GGUF" + bytes(100)],
)  # fmt: skip
def test_other_files_are_refused(tmp_path, data):
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises((UsageError, ValueError)):
        read_importance(tmp_path / "bad")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (ImportanceEntry("a", floats(math.nan), (1,)), "negative or not finite"),
        (ImportanceEntry("a", floats(-1), (1,)), "negative or not finite"),
    ],
)
def test_impossible_values_are_refused(tmp_path, entry, message):
    with pytest.raises(UsageError, match=message):
        read_importance(written(tmp_path / "i.gguf", Importance((entry,))))


def test_a_model_is_not_an_importance_matrix(tiny_model):
    with pytest.raises(UsageError, match="is not an importance matrix"):
        read_importance(tiny_model)


def test_every_damage_is_refused_or_harmless(tmp_path):
    whole = written(tmp_path / "i.gguf").read_bytes()
    for index in range(0, len(whole), 3):
        damaged = tmp_path / "damaged.gguf"
        damaged.write_bytes(whole[:index] + bytes([whole[index] ^ 0xFF]) + whole[index + 1 :])
        try:
            found = read_importance(damaged)
        except ValueError:
            continue
        assert all(np.isfinite(np.frombuffer(data, "<f4")).all() for data in found.weights().values())


# --- collecting ---------------------------------------------------------------------------------------------------------


def test_sums_are_those_of_the_squares_of_the_first_layers_input(tiny_model):
    with Model(tiny_model) as model:
        vocabulary = model.vocabulary
        tokens = vocabulary.tokenize(TEXT, add_special=True)[:64]
        if vocabulary.add_bos:
            tokens[0] = tokens[32] = vocabulary.bos
        size = vocabulary.size
    table = next(one for one in tiny.default_tensors(size) if one.name == "token_embd.weight")
    rows = np.frombuffer(table.data, "<f4").reshape(size, 64)[tokens].astype(float)
    rows /= np.sqrt((rows**2).mean(axis=1, keepdims=True) + 1e-5)
    found = collected(request(tiny_model, chunks=2))
    for name in ("attn_q", "attn_k", "attn_v"):
        entry = found[f"blk.0.{name}.weight"]
        assert entry.counts == (64,)
        assert np.frombuffer(entry.sums, "<f4") == pytest.approx((rows**2).sum(axis=0), rel=1e-4)


def test_every_matrix_of_the_layers_has_an_entry(tiny_model):
    names = {f"blk.{layer}.{name}.weight" for layer in (0, 1) for name in
             ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")}  # fmt: skip
    assert set(collected(request(tiny_model, chunks=1))) == names
    assert set(collected(request(tiny_model, chunks=1, with_output=True))) == names | {"output.weight"}
    assert {entry.counts for entry in collected(request(tiny_model, chunks=3)).values()} == {(96,)}


def test_what_is_collected_can_be_written_and_read(tiny_model, tmp_path):
    entries = collected(request(tiny_model, chunks=1))
    found = read_importance(written(tmp_path / "i.gguf", Importance(tuple(entries.values()), ("t",), 1, 32)))
    assert {entry.name: entry for entry in found.entries} == entries


def test_a_cancelled_collection_gives_what_it_has(tiny_model):
    flag, done, entries = CancelFlag(), 0, []
    for event in collect(request(tiny_model), flag):
        if isinstance(event, ChunkCollected):
            done = event.done
            flag.set()
        else:
            entries.append(event)
    assert done == 1
    assert min(entry.counts[0] for entry in entries) >= 32


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: request(tiny.tiny_model(path / "m.gguf"), text=b"short"), UsageError, "too short: it has"),
        (lambda path: request(tiny_bert.tiny_bert(path / "m.gguf")), ModelUnsupportedError, "does not continue text"),
    ],
)
def test_what_cannot_be_collected_is_said(tmp_path, make: Callable[[Path], CollectRequest], error, message):
    with pytest.raises(error, match=message):
        list(collect(make(tmp_path), CancelFlag()))


# --- rules --------------------------------------------------------------------------------------------------------------


def test_sums_that_are_too_large_are_refused():
    part = Importance((ImportanceEntry("a", floats(3e38), (1,)),))
    with pytest.raises(UsageError, match="too large"):
        merged([part, part])


def test_a_huge_count_can_be_written(tmp_path):
    part = Importance((ImportanceEntry("a", floats(1), (10**17,)),), chunk_size=1)
    assert read_importance(written(tmp_path / "i.gguf", merged([part, part]))).chunks == 2**32 - 1


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a file without an end")
def test_a_file_without_an_end_is_refused():
    with pytest.raises(UsageError, match="not an importance matrix"):
        read_importance(Path("/dev/zero"))


def test_rules_are_patterns_and_types():
    for pattern in ("(?:a|b)c", "a(?=b)", "a(?!b)", r"a\(?b"):
        assert parse_tensor_rule(f"{pattern}=F16") == (pattern, "F16")
    assert parse_tensor_rule(r"blk\.[0-3]\.ffn_down=q6_k") == (r"blk\.[0-3]\.ffn_down", "Q6_K")
    assert parse_recipe("# mixed\nffn_down=Q6_K\n\nattn_v=q8_0 # values\n", "r") == (("ffn_down", "Q6_K"), ("attn_v", "Q8_0"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ffn_down", "is not PATTERN=TYPE"),
        ("=Q8_0", "is not PATTERN=TYPE"),
        ("(=Q8_0", "invalid regular expression"),
        ("a{99999999999999999999}=Q8_0", "invalid regular expression"),
        ("(" * 20_000 + "=Q8_0", "more than 256 characters"),
        ("(?i)ffn=Q8_0", "llama.cpp does not know"),
        ("(?P<n>ffn)=Q8_0", "llama.cpp does not know"),
        ("(?<=blk)ffn=Q8_0", "llama.cpp does not know"),
        ("a=Q4_K_M", "unknown type of a tensor"),
        ("a=I32", "unknown type of a tensor"),
    ],
)
def test_other_rules_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse_tensor_rule(text)
    with pytest.raises(UsageError, match=f"r, line 2: .*{message}"):
        parse_recipe(f"\n{text}\n", "r")

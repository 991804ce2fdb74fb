"""Reading GGUF headers: what is in them, and what is said about those that are broken."""

from __future__ import annotations

import errno
import gzip
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
from memory_source import MemorySource
from tiny import ARRAY, BOOL, F32, F64, I8, I64, STRING, U8, U16, U32, U64, Tensor, Typed, gguf_bytes, string_bytes

from llamacli.errors import ModelError, ModelFileError, ModelNotFoundError, ModelUnsupportedError
from llamacli.gguf.arrays import read_array, read_bytes
from llamacli.gguf.check.loadable import check_loadable
from llamacli.gguf.header import Header, Lazy
from llamacli.gguf.layout import ValueType
from llamacli.gguf.parser.cursor import WINDOW
from llamacli.gguf.parser.header import read_header
from llamacli.gguf.source import FileSource

ONE_OF_EACH = {
    "u8": Typed(U8, 200), "i8": Typed(I8, -5), "u16": Typed(U16, 65535), "u32": Typed(U32, 2**32 - 1), "u64": Typed(U64, 2**63),
    "i64": Typed(I64, -(2**63)), "f32": Typed(F32, 0.5), "f64": Typed(F64, 1e300), "yes": Typed(BOOL, True),
    "no": Typed(BOOL, False), "text": "täxt", "empty": "", "strings": ["a", "", "ü" * 300],
    "numbers": Typed(ARRAY, [1, -2, 3], I64), "flags": Typed(ARRAY, [True, False], BOOL), "none": Typed(ARRAY, [], F32),
}  # fmt: skip


def read(data: bytes) -> Header:
    return read_header(MemorySource(data, "test.gguf"))


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("version", [2, 3])
def test_values_and_arrays(byte_order: str, version: int) -> None:
    source = MemorySource(gguf_bytes(ONE_OF_EACH, byte_order=byte_order, version=version), "test.gguf")
    header = read_header(source)
    assert (header.byte_order, header.version) == (byte_order, version)
    for key, typed in ONE_OF_EACH.items():
        entry = header.metadata[key]
        expected = typed.value if isinstance(typed, Typed) else typed
        if isinstance(entry.value, Lazy):
            assert read_array(source, header, entry.value) == expected
        else:
            assert entry.value == expected
            assert type(entry.value) is type(expected)


def test_typed_access(tiny_model: Path) -> None:
    with FileSource(tiny_model) as source:
        header = read_header(source)
    assert header.integer("llama.block_count") == 2
    assert header.integer("general.name") is None
    assert header.integer("tokenizer.ggml.add_bos_token") is None
    assert header.flag("tokenizer.ggml.add_bos_token") is False
    assert header.number("llama.rope.freq_base") == 10000.0
    assert header.text("general.name") == "Tiny"
    assert header.array("general.name") is None
    assert header.integer("nothing") is None
    assert header.data_offset % 32 == 0
    embedding = header.tensors[0]
    assert (embedding.name, embedding.shape, embedding.type.name) == ("token_embd.weight", (64, 309), "F32")
    assert embedding.size == 64 * 309 * 4


def test_many_strings_of_all_lengths_are_skipped_exactly() -> None:
    """The pattern that skips short strings, the loop for long ones, and the seams between windows."""
    lengths = [n % 97 for n in range(3000)] + [130, 0, 5000, 300_000, 1] + [7] * 40_000 + [200] * 300
    strings = ["x" * length for length in lengths]
    source = MemorySource(gguf_bytes({"strings": strings, "after": 42}), "test.gguf")
    header = read_header(source)
    assert header.integer("after") == 42
    assert source.size > 3 * WINDOW
    array = header.array("strings")
    assert array is not None
    assert array.count == len(strings)
    assert array.size == sum(lengths) + 8 * len(lengths)
    assert read_array(source, header, array) == strings


def test_strings_of_zero_bytes_do_not_mislead_the_skipping() -> None:
    strings = [b"\0" * (n % 20) for n in range(1000)]
    header = read(gguf_bytes({"strings": Typed(ARRAY, strings, STRING), "after": 42}))
    assert header.integer("after") == 42


def test_a_long_text_is_left_in_the_file() -> None:
    source = MemorySource(gguf_bytes({"tokenizer.huggingface.json": "j" * (3 << 20), "after": 42}))
    header = read_header(source)
    assert header.integer("after") == 42
    value = header.metadata["tokenizer.huggingface.json"].value
    assert isinstance(value, Lazy)
    assert (value.element, value.size) == (None, 3 << 20)


def test_text_that_is_not_utf8_keeps_its_bytes() -> None:
    text = read(gguf_bytes({"general.name": Typed(STRING, b"caf\xe9")})).text("general.name")
    assert text == "caf\udce9"


def header_with(count_tensors: int, count_keys: int, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, count_tensors, count_keys) + rest


def key(name: bytes, kind: int, value: bytes) -> bytes:
    return string_bytes(name, "<") + struct.pack("<I", kind) + value


def tensor(name: bytes, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return string_bytes(name, "<") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


BROKEN = {
    "nothing": (b"", "empty"),
    "magic cut": (b"GG", "inside the magic"),
    "zeros": (b"\0" * 100, "begins with zeros"),
    "noise": (bytes(range(128, 228)), "found 80 81 82 83"),
    "ggml": (b"lmgg" + b"\1" * 100, "old GGML"),
    "ggjt": (b"tjgg" + b"\1" * 100, "ggjt"),
    "pytorch": (b"PK\x03\x04" + b"\1" * 100, "PyTorch"),
    "pickle": (b"\x80\x02}q" + b"\1" * 100, "pickle"),
    "safetensors": (struct.pack("<Q", 60) + b'{"__metadata__": {' + b" " * 100, "safetensors"),
    "html": (b"\n<!DOCTYPE html><html>", "web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "Git LFS pointer"),
    "gzip": (gzip.compress(b"GGUF" * 100), "gzip"),
    "json": (b'{"model": 1}', "JSON"),
    "text": (b"Not a model.\n", "text"),
    "version 1": (b"GGUF" + struct.pack("<I", 1) + b"\0" * 40, "version 1"),
    "version 99": (b"GGUF" + struct.pack("<I", 99) + b"\0" * 40, "version 99, expected 2 or 3"),
    "version 0": (b"GGUF" + struct.pack("<I", 0) + b"\0" * 40, "version 0"),
    "2^63 tensors": (header_with(2**63, 0), "9223372036854775808 tensors do not fit"),
    "2^63 keys": (header_with(0, 2**63), "9223372036854775808 keys do not fit"),
    "key beyond the end": (header_with(0, 1, struct.pack("<QII", 2**40, 1, 1)), "has 1099511627776 bytes, but only"),
    "empty key": (header_with(0, 1, key(b"", U8, b"\1" + b"\0" * 8)), "is 0 bytes long, expected 1 to 65535"),
    "key not UTF-8": (header_with(0, 1, key(b"a\xff", U8, b"\1")), "is not UTF-8"),
    "value type 13": (header_with(0, 1, key(b"a", 13, b"\1" * 8)), "has type 13, expected 0 to 12"),
    "string beyond the end": (header_with(0, 1, key(b"a", STRING, struct.pack("<Q", 99))), "has 99 bytes"),
    "array of arrays": (header_with(0, 1, key(b"a", ARRAY, struct.pack("<IQ", ARRAY, 1))), "array of arrays"),
    "array beyond the end": (header_with(0, 1, key(b"a", ARRAY, struct.pack("<IQ", U32, 2**62))), "but only 0 remain"),
    "strings beyond the end": (header_with(0, 1, key(b"a", ARRAY, struct.pack("<IQ", STRING, 2**61))), "strings, but only 0"),
    "duplicate key": (header_with(0, 2, key(b"a", U8, b"\1") * 2 + b"\0" * 9), "duplicate key a"),
    "alignment 3": (gguf_bytes({"general.alignment": 3}), "power of two"),
    "alignment as text": (gguf_bytes({"general.alignment": "32"}), "power of two"),
    "5 dimensions": (header_with(1, 0, tensor(b"a", (1, 1, 1, 1, 1))), "5 dimensions, expected 0 to 4"),
    "tensor type 77": (header_with(1, 0, tensor(b"a", (1,), 77)), "type 77"),
    "tensor type dropped": (header_with(1, 0, tensor(b"a", (1,), 31)), "Q4_0_4_4"),
    "dimensions overflow": (header_with(1, 0, tensor(b"a", (2**32, 2**32))), "has 2^63 or more elements"),
    "half a block": (header_with(1, 0, tensor(b"a", (33,), 2)), "has rows of 33 elements, not a multiple of 32"),
    "duplicate tensor": (header_with(2, 0, tensor(b"a", (1,)) * 2), "duplicate tensor a"),
    "long tensor name": (header_with(1, 0, tensor(b"a" * 64, (1,))), "is 64 bytes long, expected 1 to 63"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_headers(name: str, tmp_path: Path) -> None:
    data, expected = BROKEN[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    for examine in (lambda: read(data), lambda: check_loadable(path)):
        with pytest.raises(ModelError) as caught:
            examine()
        assert expected in str(caught.value)
        assert_one_line(caught.value)


def assert_one_line(error: ModelError) -> None:
    text = str(error)
    assert text.isprintable()
    assert len(text) < 200


def test_truncated_at_any_byte(tiny_model: Path, tmp_path: Path) -> None:
    """Every length of the header, and many of the data."""
    data = tiny_model.read_bytes()
    end = read(data).data_offset
    path = tmp_path / "cut.gguf"
    for length in [*range(0, end, 13), *range(end - 40, end + 40), *range(end, len(data), 50_011), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ModelFileError) as caught:
            check_loadable(path)
        assert_one_line(caught.value)
    path.write_bytes(data)
    assert check_loadable(path).architecture == "llama"


def test_a_truncated_file_says_where_it_ends(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny_model.read_bytes()[:100_000])
    with pytest.raises(ModelFileError, match=r"ends at byte 100000, but its tensors reach to byte 461760 \(it is truncated"):
        check_loadable(path)


def test_control_characters_are_escaped_in_messages() -> None:
    name = b"a\x1b]0;evil\x07\xe2\x80\xae"
    with pytest.raises(ModelFileError) as caught:
        read(header_with(0, 2, key(name, U8, b"\1") * 2 + b"\0" * 9))
    assert "a\\x1b]0;evil\\x07\\u202e" in str(caught.value)
    assert_one_line(caught.value)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "dangling.gguf").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe.gguf")
    cases: list[tuple[Any, type[ModelError], str]] = [
        (tmp_path / "no.gguf", ModelNotFoundError, "no such model file"),
        (tmp_path / "no" / "no.gguf", ModelNotFoundError, "no such model file"),
        (tmp_path, ModelFileError, "is a directory"),
        (tmp_path / "dangling.gguf", ModelNotFoundError, "a link to a file that does not exist"),
        (tmp_path / "pipe.gguf", ModelFileError, "not a regular file"),
        ("a\0b", ModelNotFoundError, r"a\\x00b"),
    ]
    for path, kind, message in cases:
        with pytest.raises(kind, match=message):
            check_loadable(path)


def test_no_permission(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)  # the file's mode would not do: root may read everything
    with pytest.raises(ModelFileError, match="permission denied"):
        check_loadable(tiny_model)


UNLOADABLE: dict[str, tuple[dict[str, Any], str]] = {
    "no architecture": ({"drop": ["general.architecture"]}, "general.architecture: missing"),
    "no layers": ({"change": {"llama.block_count": 0}}, "is 0, expected a number from 1 to 512"),
    "too many layers": ({"change": {"llama.block_count": 513}}, "is 513"),
    "no context": ({"drop": ["llama.context_length"]}, "llama.context_length: missing"),
    "width as text": ({"change": {"llama.embedding_length": "64"}}, "has type str, expected u32"),
    "heads": ({"change": {"llama.attention.head_count": 4_000_000}}, "expected 0 to 64, the length of an embedding"),
    "kv heads": ({"change": {"llama.attention.head_count_kv": 3}}, "a divisor of the 4 heads"),
    "experts used": ({"change": {"llama.expert_used_count": 2}}, "is 2 of 0 experts"),
    "experts": ({"change": {"llama.expert_count": 2000, "llama.expert_used_count": 2}}, "more than 1024"),
    "expert groups": (
        {"change": {"llama.expert_count": 8, "llama.expert_used_count": 2, "llama.expert_group_count": 9}}, "for 8 experts"),
    "rope scaling": ({"change": {"llama.rope.scaling.type": "odd"}}, "expected one of none, linear, yarn, longrope"),
    "pooling": ({"change": {"llama.pooling_type": 9}}, "is 9, expected 0 to 4"),
    "no tokenizer": ({"drop": ["tokenizer.ggml.model"]}, "tokenizer.ggml.model: missing"),
    "no tokens": ({"drop": ["tokenizer.ggml.tokens"]}, "tokenizer.ggml.tokens: missing"),
    "tokens as numbers": ({"change": {"tokenizer.ggml.tokens": [1, 2]}}, "not an array of strings"),
    "few types": ({"change": {"tokenizer.ggml.token_type": Typed(ARRAY, [1], tiny.I32)}}, "has 1 elements for 309 tokens"),
    "types of another type": ({"change": {"tokenizer.ggml.token_type": Typed(ARRAY, [1] * 309, U8)}}, "is an array of u8"),
    "same token twice": ({"change": {"tokenizer.ggml.tokens": ["same"] * 309}}, "tokens 0 and 1 are both 'same'"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNLOADABLE)
def test_what_would_abort_llama_cpp_is_refused(name: str, tmp_path: Path) -> None:
    options, expected = UNLOADABLE[name]
    path = tiny.tiny_model(tmp_path / "model.gguf", **options)
    with pytest.raises(ModelFileError, match=expected) as caught:
        check_loadable(path)
    assert_one_line(caught.value)


def test_tensors_must_lie_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    data = tiny.tiny_model(path).read_bytes()
    place = data.index(b"output_norm.weight") + 18 + 4 + 8 + 4
    for offset, expected in ((2**40, "but its tensors reach to byte"), (0, "overlaps the previous tensor")):
        path.write_bytes(data[:place] + struct.pack("<Q", offset) + data[place + 8 :])
        with pytest.raises(ModelFileError, match=expected):
            check_loadable(path)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    path = tmp_path / "file.gguf"
    cases = {
        "LoRA adapter": {"general.type": "adapter", "general.architecture": "llama"},
        "projector": {"general.type": "mmproj", "general.architecture": "clip"},
        "importance matrix": {"general.type": "imatrix"},
    }
    for expected, metadata in cases.items():
        path.write_bytes(gguf_bytes(metadata, [Tensor("a", (8,), b"\0" * 32)]))
        with pytest.raises(ModelUnsupportedError, match=expected):
            check_loadable(path)


def test_a_vocabulary_alone_is_enough_where_that_is_said(tmp_path: Path) -> None:
    vocabulary = tiny.default_vocabulary()
    path = tmp_path / "vocabulary.gguf"
    path.write_bytes(gguf_bytes({"general.architecture": "llama", **tiny.tokenizer_metadata(vocabulary)}))
    assert check_loadable(path, vocabulary_only=True).architecture == "llama"
    with pytest.raises(ModelUnsupportedError, match="a vocabulary but no weights"):
        check_loadable(path)


@pytest.mark.skipif(sys.byteorder == "big", reason="the other byte order is the foreign one")
def test_big_endian_files_are_read_but_not_loaded(tmp_path: Path) -> None:
    path = tiny.tiny_model(tmp_path / "big.gguf", byte_order=">")
    header = read(path.read_bytes())
    assert header.array("tokenizer.ggml.tokens") is not None
    assert [entry.type for entry in header.metadata.values()].count(ValueType.ARRAY) == 3
    with pytest.raises(ModelUnsupportedError, match="is big-endian"):
        check_loadable(path)


def test_a_file_that_shrinks_while_it_is_read(tiny_model: Path, tmp_path: Path) -> None:
    """A memory map would end the process here."""
    path = tmp_path / "shrinks.gguf"
    path.write_bytes(gguf_bytes({"a": "x" * 400_000, "b": "y" * 400_000, "after": 1}))
    with FileSource(path) as source:
        os.truncate(path, 1000)
        with pytest.raises(ModelFileError, match="shrank while"):
            read_header(source)


def test_names_and_texts_are_kept_within_bounds() -> None:
    texts = {f"text.{number}": "x" * 500_000 for number in range(20)}
    source = MemorySource(gguf_bytes(texts))
    header = read_header(source)
    kept = [entry for entry in header.metadata.values() if isinstance(entry.value, str)]
    assert 0 < len(kept) < 20
    left = header.metadata["text.19"].value
    assert isinstance(left, Lazy)
    assert b"".join(read_bytes(source, left)) == b"x" * 500_000
    with pytest.raises(ModelFileError, match="more than 4 MiB of names"):
        read(gguf_bytes({f"{number:05}" + "k" * 60_000: 1 for number in range(100)}))

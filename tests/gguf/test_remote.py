"""Headers read over ranges: few requests, bounded bytes; and the memory estimate made from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from memory_source import MemorySource

from llamacli.errors import ModelFileError
from llamacli.gguf.analysis.memory import Workload, estimate_memory
from llamacli.gguf.model import ModelFiles, gather
from llamacli.gguf.parser.header import read_header
from llamacli.gguf.remote import MIB, PART_STEP, STEPS, Allowance, RangeSource


class Server:
    """Files by name, and the ranges that were asked for."""

    def __init__(self, **files: bytes) -> None:
        self.files = files
        self.ranges: list[tuple[int, int]] = []
        self.allowance = Allowance()

    def open(self, name: str, *, later_part: bool = False) -> RangeSource:
        def fetch(start: int, end: int) -> tuple[bytes, int]:
            data = self.files[name]
            self.ranges.append((start, min(end, len(data))))
            return data[start:end], len(data)

        return RangeSource(name, fetch, self.allowance, later_part=later_part)


def vocabulary(tokens: int, merges: int, length: int) -> bytes:
    texts = [f"{number:0{length}}" for number in range(tokens)]
    metadata = tiny.default_metadata(tiny.default_vocabulary())
    metadata |= tiny.tokenizer_metadata(tiny.Vocabulary(tuple(texts), (1,) * tokens, ("a b" + "c" * length,) * merges))
    return tiny.gguf_bytes(metadata, tiny.default_tensors(16))


def test_a_small_header_takes_one_request(tiny_model: Path) -> None:
    server = Server(model=tiny_model.read_bytes() + b"\0" * (4 * MIB))
    header = read_header(server.open("model"))
    assert header.architecture == "llama"
    assert server.ranges == [(0, MIB)]


def test_a_large_header_takes_a_handful_of_requests() -> None:
    data = vocabulary(50_000, 50_000, 145) + b"\0" * (20 * MIB)
    server = Server(model=data)
    source = server.open("model")
    header = read_header(source)
    assert header == read_header(MemorySource(data, "model"))
    fetched = sum(end - start for start, end in server.ranges)
    assert header.data_offset > 14 * MIB
    assert fetched <= 16 * MIB
    assert len(server.ranges) == server.allowance.requests <= 6
    assert source.read(header.data_offset - 100, 100) == data[header.data_offset - 100 : header.data_offset]
    assert len(server.ranges) <= 6


def test_reading_again_fetches_nothing(tiny_model: Path) -> None:
    server = Server(model=tiny_model.read_bytes())
    source = server.open("model")
    assert source.read(10, 1000) == source.read(10, 1000) == tiny_model.read_bytes()[10:1010]
    assert len(server.ranges) == 1
    assert source.read(source.size - 5, 100) == tiny_model.read_bytes()[-5:]


def test_arrays_of_numbers_are_not_fetched() -> None:
    data = tiny.gguf_bytes({"numbers": tiny.Typed(tiny.ARRAY, bytes(12 * MIB), tiny.U8), "after": 7})
    server = Server(model=data)
    assert read_header(server.open("model")).integer("after") == 7
    assert sum(end - start for start, end in server.ranges) < 2 * MIB


def test_a_header_that_is_too_long_is_refused() -> None:
    server = Server(model=vocabulary(10_000, 10_000, 1000))
    with pytest.raises(ModelFileError, match="longer than 16 MiB, the limit for a file on a server"):
        read_header(server.open("model"))
    assert sum(end - start for start, end in server.ranges) <= sum(STEPS)


def test_later_parts_take_small_requests(tmp_path: Path) -> None:
    paths = tiny.split_model(tmp_path)
    server = Server(**{path.name: path.read_bytes() + b"\0" * MIB for path in paths})
    names = tuple(path.name for path in paths)
    files = gather(names, lambda name: read_header(server.open(name, later_part=name != names[0])))
    assert len(files.parts) == 3
    assert server.ranges == [(0, MIB), (0, PART_STEP), (0, PART_STEP)]


def files_of(data: bytes) -> tuple[ModelFiles, MemorySource]:
    source = MemorySource(data, "model")
    return ModelFiles(("model",), (read_header(source),)), source


def test_the_estimate_follows_context_sequences_and_cache_type(tiny_model: Path) -> None:
    files, source = files_of(tiny_model.read_bytes())
    base = estimate_memory(files, source, Workload(context=512))
    assert base.weights == sum(tensor.size for tensor in files.tensors)
    assert base.cache == 512 * 2 * (32 + 32) * 2  # cells, layers, keys and values, bytes
    assert estimate_memory(files, source, Workload(context=500)).cache == base.cache  # whole pages of cells
    assert estimate_memory(files, source, Workload(context=512, sequences=4)).cache == 4 * base.cache
    smaller = estimate_memory(files, source, Workload(context=512, cache_type_k="q8_0", cache_type_v="q4_0"))
    assert smaller.cache == 512 * 2 * (34 + 18)
    assert base.total == base.weights + base.cache + base.compute


def test_sliding_windows_and_head_counts_per_layer(tmp_path: Path) -> None:
    change = {
        "llama.attention.head_count_kv": [2, 0],
        "llama.attention.sliding_window": 256,
        "llama.attention.sliding_window_pattern": [True, False],
    }
    path = tiny.tiny_model(tmp_path / "model.gguf", change=change)
    files, source = files_of(path.read_bytes())
    cache = estimate_memory(files, source, Workload(context=8192, ubatch=512)).cache
    assert cache == 768 * (32 + 32) * 2

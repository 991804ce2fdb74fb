"""Damaged headers by the thousand: nothing but our errors, none slow, none large.

`pytest tests/gguf/test_fuzz.py --fuzz-cases 1000000` runs more of them. The seed of a failing case is in the message.
"""

from __future__ import annotations

import random
import resource
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
from memory_source import MemorySource
from tiny import ARRAY, BOOL, F32, F64, I8, STRING, U16, U64, Tensor, Typed

from llamacli.errors import ModelError
from llamacli.gguf.analysis.diff import compare
from llamacli.gguf.analysis.memory import Workload, estimate_memory
from llamacli.gguf.analysis.summary import summarize
from llamacli.gguf.check.model import check_model
from llamacli.gguf.check.template import features
from llamacli.gguf.model import ModelFiles
from llamacli.gguf.parser.header import read_header

MAX_SECONDS = 1.0
MAX_GROWTH = 200 << 20
"""Bytes by which the process may grow over all cases."""

EXTREMES = (
    0,
    1,
    2,
    3,
    7,
    8,
    255,
    2**15,
    2**16,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**40,
    2**61,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
SNIPPETS = (b"\x1b[31m", b"\xff\xfe", b"\0" * 8, b"GGUF", b"{% if", b"{{", b"'", b"tokenizer.ggml.tokens", b"general.alignment")


def bodies() -> list[bytes]:
    """Small sound files that differ in version, byte order, types and arrays."""
    vocabulary = tiny.default_vocabulary()
    tensors = [
        Tensor("token_embd.weight", (64, 4), b"\1" * 1024),
        Tensor("blk.0.ffn_up.weight", (256,), b"\2" * 144, 12),
        Tensor("blk.1.attn_norm.weight", (3,), b"\3" * 12),
    ]
    metadata = tiny.default_metadata(vocabulary)
    kinds = {
        "general.alignment": 32,
        "a.f64": Typed(F64, 1.5),
        "a.i8": Typed(ARRAY, [1, -1], I8),
        "a.u64": Typed(U64, 9),
        "a.bool": Typed(ARRAY, [True], BOOL),
        "a.empty": Typed(ARRAY, [], STRING),
        "split.no": Typed(U16, 0),
        "tokenizer.chat_template": tiny.CHATML,
        "general.sampling.temp": Typed(F32, 0.5),
        "llama.expert_used_count": Typed(ARRAY, [0.0, -0.0], F32),
        "llama.attention.head_count": Typed(ARRAY, [4, 4], U16),
        "llama.attention.head_count_kv": Typed(ARRAY, [1.0, 2.0], F64),
        "llama.attention.sliding_window_pattern": Typed(ARRAY, [True, False], BOOL),
        "llama.attention.sliding_window": 16,
        "llama.embedding_length": 64,
    }
    short = tiny.Vocabulary(("a", "b", "ab"), (1, 1, 3), merges=("a b",), scores=(0.0, 0.5, 1.0))
    small = tiny.tokenizer_metadata(short) | kinds | {"general.architecture": "llama", "llama.block_count": 2}
    return [
        tiny.gguf_bytes(metadata, tensors),
        tiny.gguf_bytes(small, tensors),
        tiny.gguf_bytes(small, tensors, byte_order=">"),
        tiny.gguf_bytes(small, tensors, version=2),
        tiny.gguf_bytes({"general.type": "adapter", "general.architecture": "llama", "adapter.type": "lora"}, tensors),
        tiny.gguf_bytes({"general.architecture": "clip", "clip.has_vision_encoder": True}, tensors),
    ]


def mutate(draw: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One to four random changes."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(changed)) if changed else 0
        match draw.randrange(8):
            case 0:
                changed[place : place + 1] = bytes([draw.randrange(256)])
            case 1:
                changed[place : place + 1] = bytes([(changed[place] if changed else 0) ^ (1 << draw.randrange(8))])
            case 2 | 3:
                number = draw.choice(EXTREMES)
                changed[place : place + 8] = struct.pack(draw.choice("<>") + "Q", number)
            case 4:
                del changed[place : place + draw.randint(1, 40)]
            case 5:
                changed[place:place] = draw.choice(SNIPPETS)
            case 6:
                other = draw.choice(others)
                start = draw.randrange(len(other))
                changed[place : place + draw.randint(1, 200)] = other[start : start + draw.randint(1, 200)]
            case 7:
                del changed[place:]
    return bytes(changed)


def examine(data: bytes) -> str | None:
    """Everything that looks at a header. Returns the message of the error, or None."""
    source = MemorySource(data, "fuzz.gguf")
    try:
        files = ModelFiles(("fuzz.gguf",), (read_header(source),))
        check_model(files, [source])
        for _, template in summarize(files, source).templates:
            features(template)
        compare(files, files, source, source)
        estimate_memory(files, source, Workload(context=4096))
    except ModelError as error:
        return str(error)
    return None


def resident() -> int:
    """The process's peak memory in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    """No more address space than the process has and MAX_GROWTH: what wants more fails here, instead of taking the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() if sys.platform == "linux" else 0
    if used:
        resource.setrlimit(resource.RLIMIT_AS, (used + MAX_GROWTH, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.usefixtures("bounded_memory")
def test_damaged_headers(pytestconfig: pytest.Config) -> None:
    seeds = bodies()
    for body in seeds:
        assert examine(body) is None
    before = resident()
    refused = 0
    for case in range(pytestconfig.getoption("--fuzz-cases")):
        draw = random.Random(case)
        data = mutate(draw, draw.choice(seeds), seeds)
        start = time.process_time()
        try:
            message = examine(data)
        except Exception as error:
            raise AssertionError(f"case {case}: {error!r}") from error
        assert time.process_time() - start < MAX_SECONDS, f"case {case} took too long"
        if message is not None:
            refused += 1
            assert message.isprintable(), f"case {case}: {message!r}"
            assert len(message) < 200, f"case {case}: {message!r}"
    assert refused > 0
    assert resident() - before < MAX_GROWTH

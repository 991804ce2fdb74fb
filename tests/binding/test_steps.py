"""Graphs in steps: each operation has the bits that it has alone, whatever threads compute at the same time."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llamacli.binding.enums import ggml_type
from llamacli.binding.library import library
from llamacli.engine.params import ContextParams, FlashAttention, ModelParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model
from tests.support import products
from tests.support.tiny_bert import tiny_bert
from tests.support.tiny_experts import mixture
from tests.support.tiny_memories import KINDS
from tests.support.tiny_mtp import mtp_model

pytestmark = pytest.mark.skipif(
    not library().llamacli_kernels_instructions(), reason="this processor has none of the instructions of the kernels"
)

N_CTX = 512


class EachNode:
    """Wants to see every node of a graph, so that each is computed as a graph of its own."""

    def __init__(self) -> None:
        self.nodes = 0
        self._callback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_bool, ctypes.c_void_p)(self._see)
        self.callback = ctypes.cast(self._callback, ctypes.c_void_p).value or 0
        self.address = 0

    def _see(self, _tensor: int, _asks: bool, _data: int) -> bool:
        self.nodes += 1
        return True


@pytest.fixture(scope="module", params=["llama", "Q8_0", *KINDS, "mtp", "experts"])
def any_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of each kind of graph."""
    kind, path = request.param, tmp_path_factory.mktemp("steps") / "tiny.gguf"
    if kind in KINDS:
        kept: dict[str, Path] = request.getfixturevalue("memory_models")
        return kept[kind]
    if kind in ("llama", "Q8_0"):
        found: Path = request.getfixturevalue({"llama": "tiny_model", "Q8_0": "quantized_model"}[kind])
        return found
    return mtp_model(path) if kind == "mtp" else mixture(path)


@pytest.fixture(autouse=True)
def follows_load() -> Iterator[None]:
    """Let threads wait as they do for users."""
    before = library().llamacli_follows_load()
    library().llamacli_follow_load(True)
    yield
    library().llamacli_follow_load(before)


def bits(
    model: Model, threads: int, flash_attention: FlashAttention, *, alone: bool = False, prompt: int = 100, singles: int = 4
) -> list[bytes]:
    """The logits after a prompt, single tokens, and a few at a time. `alone`: each operation is computed by itself."""
    found, place = [], 0
    params = ContextParams(n_ctx=N_CTX, threads=threads, flash_attention=flash_attention, all_outputs=True)
    observer = EachNode() if alone else None
    with Context(model, params, observer=observer) as context:
        for count in (prompt, *[1] * singles, 2, 3, 7):
            tokens = [5 + 7 * (place + i) % 90 for i in range(count)]
            context.decode(tokens, list(range(place, place + count)), [0] * count, [1] * count)
            found += [bytes(context.logits(i)) for i in range(count)]
            place += count
    assert observer is None or observer.nodes > 100
    return found


@pytest.mark.parametrize("flash_attention", ["on", "off"])
def test_operations_have_the_bits_that_they_have_alone(any_model: Path, flash_attention: FlashAttention) -> None:
    with Model(any_model) as model:
        expected = bits(model, 1, flash_attention, alone=True)
        for threads in (1, 2, 3, 4, 8):
            assert bits(model, threads, flash_attention) == expected, f"{threads} threads"


@pytest.mark.demo
@pytest.mark.parametrize("flash_attention", ["on", "off"])
def test_the_demo_model_too(demo_model: Path, flash_attention: FlashAttention) -> None:
    with Model(demo_model) as model:
        expected = bits(model, 2, flash_attention, alone=True, prompt=20, singles=2)
        for threads in (1, 2, 3):
            assert bits(model, threads, flash_attention, prompt=20, singles=2) == expected, f"{threads} threads"


def test_encoders_too(tmp_path: Path) -> None:
    def vector(threads: int, count: int, observer: EachNode | None = None) -> bytes:
        params = ContextParams(n_ctx=64, threads=threads, embeddings=True, pooling="mean")
        with Context(model, params, observer=observer) as context:
            context.decode([6 + i % 40 for i in range(count)], list(range(count)), [0] * count, [1] * count)
            return ctypes.string_at(library().llama_get_embeddings_seq(context.handle, 0), 4 * model.n_embd)

    with Model(tiny_bert(tmp_path / "bert.gguf")) as model:
        for count in (1, 5, 60):
            expected = vector(1, count, EachNode())
            assert [vector(threads, count) for threads in (1, 2, 3, 8)] == [expected] * 4


def test_graphs_that_come_again_and_others_between_them(tiny_model: Path, tmp_path: Path) -> None:
    """More graphs than one are kept, and each context has its own."""
    with Model(tiny_model) as first, Model(mixture(tmp_path / "experts.gguf")) as second:
        params = ContextParams(n_ctx=N_CTX, threads=2, flash_attention="off", all_outputs=True)
        expected = {model: bits(model, 2, "off", prompt=1, singles=60) for model in (first, second)}
        with Context(first, params) as a, Context(second, params) as b, Context(first, params) as c:
            found: dict[Context, list[bytes]] = {a: [], b: [], c: []}
            for place in range(61):
                for context, logits in found.items():
                    context.decode([5 + 7 * place % 90], [place], [0], [1])
                    logits.append(bytes(context.logits(0)))
        assert found[a] == found[c] == expected[first][:61]
        assert found[b] == expected[second][:61]


def test_threads_that_come_late_change_nothing(tiny_model: Path) -> None:
    """More threads than processors, for many steps."""
    with Model(tiny_model) as model:
        expected = bits(model, 1, "auto", singles=150)
        for threads in (3, 8):
            assert bits(model, threads, "auto", singles=150) == expected


def test_prompts_whose_logits_nobody_wants(any_model: Path) -> None:
    """Products of no columns."""
    with Model(any_model) as model, Context(model, ContextParams(n_ctx=N_CTX, threads=2)) as context:
        expected = bits(model, 2, "auto", prompt=9, singles=1)[9]
        context.decode([5 + 7 * i for i in range(9)], list(range(9)), [0] * 9, [0] * 9)
        context.decode([5 + 7 * 9], [9], [0], [1])
        assert bytes(context.logits(0)) == expected


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_a_product_that_is_added_to_several_columns(threads: int) -> None:
    draw = np.random.default_rng(2)
    weights, column, to = (draw.normal(size=shape).astype(np.float32) for shape in ((32, 64), (64,), (3, 32)))
    kind = ggml_type.GGML_TYPE_Q8_0
    rows = products.quantize(kind, weights)
    product = products.multiply(kind, rows, column[None])
    assert np.array_equal(products.add_product(kind, rows, column, to, threads=threads), to + product)


def test_upstream_kernels_compute_node_by_node(tiny_model: Path) -> None:
    with Model(tiny_model, ModelParams(kernels="upstream")) as model:
        expected = bits(model, 1, "off", alone=True)
        assert bits(model, 2, "off") == bits(model, 1, "off") == expected

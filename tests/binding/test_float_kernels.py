"""Our kernels for weights in floating point against double precision, and against themselves."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import tiny
from numpy.typing import NDArray

from llamacli.binding.enums import ggml_type
from llamacli.binding.library import library
from llamacli.engine.params import CacheType, ContextParams, FlashAttention
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model
from tests.support.products import AVX2, BEST, UPSTREAM, Floats, multiply

KINDS = [ggml_type.GGML_TYPE_F32, ggml_type.GGML_TYPE_F16, ggml_type.GGML_TYPE_BF16]
SHAPES = ((1, 32), (2, 64), (7, 64), (16, 96), (33, 576), (67, 384))
COUNTS = (1, 2, 3, 4, 5, 6, 7, 12, 13, 17, 35)

pytestmark = pytest.mark.skipif(
    not library().llamacli_kernels_instructions(), reason="this processor has none of the instructions of the kernels"
)


def random(*shape: int, seed: int = 1) -> Floats:
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), np.float32)


def stored(kind: ggml_type, values: Floats) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The bytes of weights, and the values that they stand for."""
    if kind == ggml_type.GGML_TYPE_F16:
        halves = values.astype(np.float16)
        return halves.view(np.uint8), halves.astype(np.float64)
    if kind == ggml_type.GGML_TYPE_BF16:
        upper = (values.view(np.uint32) >> 16).astype(np.uint16)
        return upper.view(np.uint8), (upper.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return values.view(np.uint8), values.astype(np.float64)


def one(kind: ggml_type, value: float) -> NDArray[np.uint8]:
    """The bytes of one weight."""
    return stored(kind, np.array([[value]], np.float32))[0][0]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(("rows", "width"), SHAPES)
def test_products_agree_with_double_precision(kind: ggml_type, rows: int, width: int) -> None:
    weights, values = stored(kind, random(rows, width))
    for count in COUNTS:
        columns = random(count, width, seed=count)
        expected, size = columns @ values.T, np.abs(columns) @ np.abs(values).T
        for kernels in (BEST, AVX2):
            found = multiply(kind, weights, columns, kernels=kernels, threads=2)
            assert np.all(np.abs(found - expected) <= 6e-8 * (width / 16 + 5) * size)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_result_depends_neither_on_its_neighbours_nor_on_threads_nor_on_instructions(kind: ggml_type) -> None:
    weights, _ = stored(kind, random(67, 192))
    columns = random(35, 192)
    alone = np.concatenate([multiply(kind, weights, columns[i : i + 1]) for i in range(len(columns))])
    for count, threads in itertools.product(COUNTS, (1, 2, 3, 9)):
        assert multiply(kind, weights, columns[:count], threads=threads).tobytes() == alone[:count].tobytes()
    for count in COUNTS:
        found = multiply(kind, weights, columns[:count], kernels=AVX2, threads=2)
        assert found.tobytes() == alone[:count].tobytes()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_matrices_are_shared_by_heads_and_columns_may_be_views(kind: ggml_type) -> None:
    weights = stored(kind, random(2 * 20, 64))[0].reshape(2, 20, -1)
    columns = random(4, 8, 64)
    expected = np.stack([multiply(kind, weights[i // 2], columns[i]) for i in range(4)])
    assert multiply(kind, weights, columns, threads=2).tobytes() == expected.tobytes()
    view = multiply(kind, weights[0], columns, transposed=True, threads=2)
    assert view.tobytes() == np.stack([multiply(kind, weights[0], columns[:, i]) for i in range(8)]).tobytes()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("kernels", [BEST, AVX2], ids=["best", "AVX2"])
def test_what_is_not_finite_stays_in_its_row_and_column(kind: ggml_type, kernels: int) -> None:
    weights, columns = stored(kind, random(18, 64))[0].copy(), random(8, 64)
    expected = multiply(kind, weights, columns, kernels=kernels)
    columns[1, 40], columns[4, 3] = np.nan, -np.inf
    bytes_of_nan = one(kind, np.nan)
    weights[17, : len(bytes_of_nan)] = bytes_of_nan
    found = multiply(kind, weights, columns, kernels=kernels)
    assert np.isnan(found[1]).all()
    assert not np.isfinite(found[4]).any()
    assert np.isnan(found[:, 17]).all()
    kept = [0, 2, 3, 5, 6, 7]
    assert found[kept, :17].tobytes() == expected[kept, :17].tobytes()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_extreme_numbers(kind: ggml_type) -> None:
    for weight, activation in ((6e4, 1e30), (1e-7, 1e-30), (0.0, 3e38), (-0.0, 1e-42)):
        weights, values = stored(kind, np.full((5, 32), weight, np.float32))
        columns = np.full((3, 32), activation, np.float32)
        expected = (columns.astype(np.float64) @ values.T).astype(np.float32)
        assert np.allclose(multiply(kind, weights, columns), expected, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_errors_are_at_most_those_of_upstream(kind: ggml_type) -> None:
    weights, values = stored(kind, random(64, 576))
    columns = random(32, 576)
    exact = columns.astype(np.float64) @ values.T
    own, theirs = (
        np.sqrt(np.mean((multiply(kind, weights, columns, kernels=kernels) - exact) ** 2)) for kernels in (BEST, UPSTREAM)
    )
    assert own <= theirs * 1.05


@pytest.mark.parametrize("flash", ["off", "on", "auto"])
@pytest.mark.parametrize("cache", ["f16", "f32", "bf16"])
def test_a_token_has_the_same_logits_in_every_batch(tmp_path: Path, flash: FlashAttention, cache: CacheType) -> None:
    if cache == "bf16" and flash != "off":
        pytest.skip("flash attention to keys in BF16 is llama.cpp's")
    path = tiny.tiny_model(tmp_path / "model.gguf", width=128)
    tokens = [5 + 7 * i % 200 for i in range(40)]
    found = []
    for sizes in ([1] * 40, [40], [2, 5, 31, 1, 1], [33, 7]):
        params = ContextParams(n_ctx=64, threads=2, flash_attention=flash, cache_type_k=cache, cache_type_v=cache, n_outputs=40)
        with Model(path) as model, Context(model, params) as context:
            logits, start = [], 0
            for size in sizes:
                context.decode(tokens[start : start + size], list(range(start, start + size)), [0] * size, [1] * size)
                logits += [bytes(context.logits(i)) for i in range(size)]
                start += size
        found.append(logits)
    assert found[1:] == found[:1] * 3

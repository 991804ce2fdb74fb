"""Our kernels against double precision, and against themselves for other shapes, threads and instructions."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from llamacli.binding.enums import ggml_type
from llamacli.binding.library import library
from llamacli.engine.params import ContextParams, Kernels, ModelParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model
from tests.support.products import AVX2, BEST, UPSTREAM, Floats, dequantize, multiply, quantize

SCALES = {
    ggml_type.GGML_TYPE_Q4_0: (0,),
    ggml_type.GGML_TYPE_Q4_1: (0, 2),
    ggml_type.GGML_TYPE_Q5_0: (0,),
    ggml_type.GGML_TYPE_Q5_1: (0, 2),
    ggml_type.GGML_TYPE_Q8_0: (0,),
    ggml_type.GGML_TYPE_Q2_K: (80, 82),
    ggml_type.GGML_TYPE_Q3_K: (108,),
    ggml_type.GGML_TYPE_Q4_K: (0, 2),
    ggml_type.GGML_TYPE_Q5_K: (0, 2),
    ggml_type.GGML_TYPE_Q6_K: (208,),
    ggml_type.GGML_TYPE_IQ2_XXS: (0,),
    ggml_type.GGML_TYPE_IQ2_XS: (0,),
    ggml_type.GGML_TYPE_IQ2_S: (0,),
    ggml_type.GGML_TYPE_IQ3_XXS: (0,),
    ggml_type.GGML_TYPE_IQ3_S: (0,),
    ggml_type.GGML_TYPE_IQ4_NL: (0,),
    ggml_type.GGML_TYPE_IQ4_XS: (0,),
    ggml_type.GGML_TYPE_MXFP4: (),
}
"""The types with kernels, and where the halves of a unit's scale and minimum are. MXFP4's scale is the exponent in byte 0."""

BLOCK = 32
KINDS = list(SCALES)
UNITS = {kind: 256 if kind.name.endswith(("_K", "_S", "_XS", "_XXS")) else 32 for kind in KINDS}
"""Weights that are stored together. Widths in these tests are for units of 32; they are longer for larger ones."""
SHAPES = ((1, 32), (7, 64), (16, 96), (33, 576), (195, 160))

needs_kernels = pytest.mark.skipif(
    not library().llamacli_kernels_instructions(), reason="this processor has none of the instructions of the kernels"
)


def random(*shape: int, seed: int = 1) -> Floats:
    """Activations with the outliers that models have."""
    values = np.random.default_rng(seed).standard_normal((2, *shape))
    return np.asarray(values[0] * np.exp(values[1]), np.float32)


def rounded(columns: Floats) -> NDArray[np.float64]:
    """The columns as the kernels see them: 8 bits with a scale in single precision for each block."""
    blocks = columns.reshape(-1, BLOCK)
    largest = np.abs(blocks).max(axis=1, keepdims=True)
    factors = np.where(largest > 0, np.float32(127) / np.where(largest > 0, largest, 1), 0).astype(np.float32)
    quants = np.rint(blocks * factors)
    return (quants * (largest / np.float32(127)).astype(np.float64)).reshape(columns.shape)


def fuzzed(kind: ggml_type, rows: int, width: int, scales: NDArray[np.float16], exponents: list[int]) -> NDArray[np.uint8]:
    """Rows of random bytes, with scales and minima drawn from `scales` or `exponents`."""
    generator = np.random.default_rng(2)
    size = int(library().ggml_row_size(kind, UNITS[kind]))
    blocks = generator.integers(0, 256, (rows * width // UNITS[kind], size), np.uint8)
    if not SCALES[kind]:
        blocks[:, 0] = generator.choice(exponents, len(blocks))
    for offset in SCALES[kind]:
        blocks[:, offset : offset + 2] = generator.choice(scales, len(blocks)).view(np.uint8).reshape(-1, 2)
    return blocks.reshape(rows, -1)


def check(kind: ggml_type, rows: NDArray[np.uint8], columns: Floats) -> None:
    """Compare with double precision: what remains are the roundings of one multiplication and two additions for each block."""
    weights, seen = dequantize(kind, rows, columns.shape[-1]), rounded(columns)
    expected, size = seen @ weights.T, np.abs(seen) @ np.abs(weights).T
    for kernels in (BEST, AVX2):
        found = multiply(kind, rows, columns, kernels=kernels)
        assert np.all(np.abs(found - expected) <= 2e-6 * size + 1e-37)


@needs_kernels
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(("rows", "width"), SHAPES)
def test_products_agree_with_double_precision(kind: ggml_type, rows: int, width: int) -> None:
    width *= UNITS[kind] // BLOCK
    weights = quantize(kind, random(rows, width))
    for count in (1, 2, 3, 4, 5, 17):
        check(kind, weights, random(count, width, seed=count))


@needs_kernels
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("scales", "exponents"),
    [
        (np.array([0.0, -0.0], np.float16), [0]),
        (np.array([6e-8, -6e-8, 1e-5], np.float16), [0, 1, 2, 3]),
        (np.array([65504.0, -65504.0, 1.0, -1.0], np.float16), [128, 239]),
    ],
    ids=["zero", "denormal", "largest"],
)
def test_any_bytes_are_weights(kind: ggml_type, scales: NDArray[np.float16], exponents: list[int]) -> None:
    width = 3 * UNITS[kind]
    check(kind, fuzzed(kind, 21, width, scales, exponents), random(5, width))


@needs_kernels
@pytest.mark.parametrize("kernels", [BEST, AVX2], ids=["best", "AVX2"])
def test_every_exponent_of_mxfp4_is_a_scale(kernels: int) -> None:
    kind, count = ggml_type.GGML_TYPE_MXFP4, 240  # with larger ones a sum of integers overflows before its scale is applied
    rows = np.full((count, int(library().ggml_row_size(kind, BLOCK))), 0x22, np.uint8)
    rows[:, 0] = np.arange(count)
    column = np.zeros((1, BLOCK), np.float32)
    column[0, 0] = 127 / 128
    expected = dequantize(kind, rows, BLOCK) @ column[0].astype(np.float64)
    assert multiply(kind, rows, column, kernels=kernels).tobytes() == expected.astype(np.float32).tobytes()


@needs_kernels
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_result_depends_neither_on_its_neighbours_nor_on_threads_nor_on_instructions(kind: ggml_type) -> None:
    width = 6 * UNITS[kind]
    weights, columns = quantize(kind, random(67, width)), random(35, width)
    alone = np.concatenate([multiply(kind, weights, columns[i : i + 1]) for i in range(len(columns))])
    for count, threads in itertools.product((2, 3, 4, 5, 8, 15, 16, 17, 31, 35), (1, 2, 3, 9)):
        together = multiply(kind, weights, columns[:count], threads=threads)
        assert together.tobytes() == alone[:count].tobytes()
    assert multiply(kind, weights, columns, kernels=AVX2, threads=2).tobytes() == alone.tobytes()


@needs_kernels
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_matrices_are_shared_by_heads_and_columns_may_be_views(kind: ggml_type) -> None:
    width = 2 * UNITS[kind]
    weights = quantize(kind, random(2 * 20, width)).reshape(2, 20, -1)
    columns = random(4, 3, width)
    expected = np.stack([multiply(kind, weights[i // 2], columns[i]) for i in range(4)])
    assert multiply(kind, weights, columns, threads=2).tobytes() == expected.tobytes()
    one = weights[0]
    view = multiply(kind, one, columns, transposed=True, threads=2)
    assert view.tobytes() == np.stack([multiply(kind, one, columns[:, i]) for i in range(3)]).tobytes()


@needs_kernels
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("kernels", [BEST, AVX2], ids=["best", "AVX2"])
def test_what_is_not_finite_stays_in_its_row_and_column(kind: ggml_type, kernels: int) -> None:
    width, scales = 2 * UNITS[kind], SCALES[kind]
    weights, columns = quantize(kind, random(18, width)), random(6, width)
    expected = multiply(kind, weights, columns, kernels=kernels)
    columns[1, 40], columns[4, 3] = np.nan, -np.inf
    for scale in scales[:1]:
        weights[17, scale : scale + 2] = np.frombuffer(np.float16(np.nan).tobytes(), np.uint8)
    found = multiply(kind, weights, columns, kernels=kernels)
    assert np.isnan(found[[1, 4]]).all()
    assert np.isnan(found[:, 17]).all() or not scales
    kept = [0, 2, 3, 5]
    assert found[kept, :17].tobytes() == expected[kept, :17].tobytes()


@needs_kernels
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_tiny_and_huge_activations(kind: ggml_type) -> None:
    width = 2 * UNITS[kind]
    weights = quantize(kind, random(16, width))
    for factor in (1e-30, 1e30):
        check(kind, weights, random(3, width) * np.float32(factor))
    for factor in (0.0, 1e-42):
        assert not multiply(kind, weights, random(3, width) * np.float32(factor)).any()


@needs_kernels
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_errors_are_at_most_those_of_upstream(kind: ggml_type) -> None:
    width = 2 * UNITS[kind] if UNITS[kind] > BLOCK else 576
    weights, columns = quantize(kind, random(64, width)), random(32, width)
    exact = columns.astype(np.float64) @ dequantize(kind, weights, width).T
    errors = [
        np.sqrt(np.mean((multiply(kind, weights, columns, kernels=kernels) - exact) ** 2)) for kernels in (BEST, UPSTREAM)
    ]
    assert errors[0] <= errors[1] * 1.002
    assert errors[1] > 0


@needs_kernels
def test_each_thread_has_a_choice_of_its_own() -> None:
    lib = library()
    lib.llamacli_choose_kernels(BEST)
    seen: list[int] = []
    other = threading.Thread(target=lambda: seen.append(lib.llamacli_chosen_kernels()))
    other.start()
    other.join()
    assert [lib.llamacli_chosen_kernels(), *seen] == [BEST, UPSTREAM]
    lib.llamacli_choose_kernels(UPSTREAM)


@needs_kernels
@pytest.mark.demo
def test_models_are_evaluated_with_their_kernels(demo_model: Path) -> None:
    found: dict[Kernels, list[bytes]] = {"own": [], "upstream": []}
    for kernels in (*found, *found):
        with (
            Model(demo_model, ModelParams(kernels=kernels)) as model,
            Context(model, ContextParams(n_ctx=32, threads=1)) as context,
        ):
            context.decode([1, 2, 3], [0, 1, 2], [0, 0, 0], [0, 0, 1])
            found[kernels].append(bytes(context.logits(2)))
    assert found["own"][0] == found["own"][1] != found["upstream"][0] == found["upstream"][1]

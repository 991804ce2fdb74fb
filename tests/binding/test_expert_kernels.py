"""Products of mixtures of experts: each column has the bits that it has with the matrix of its expert alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from llamacli.binding.enums import ggml_type
from llamacli.binding.library import library
from tests.support.products import AVX2, BEST, UPSTREAM, Floats, dequantize, multiply, multiply_experts, quantize

KINDS = [
    ggml_type.GGML_TYPE_F16,
    ggml_type.GGML_TYPE_Q8_0,
    ggml_type.GGML_TYPE_MXFP4,
    ggml_type.GGML_TYPE_Q2_K,
    ggml_type.GGML_TYPE_Q4_K,
    ggml_type.GGML_TYPE_Q6_K,
]
EXPERTS, USED, ROWS, WIDTH = 9, 3, 37, 512

pytestmark = pytest.mark.skipif(
    not library().llamacli_kernels_instructions(), reason="this processor has none of the instructions of the kernels"
)


def weights_of(kind: ggml_type) -> NDArray[np.uint8]:
    return quantize(kind, random(EXPERTS * ROWS, WIDTH)).reshape(EXPERTS, ROWS, -1)


def random(*shape: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def choices_of(tokens: int, experts: int = EXPERTS, seed: int = 5) -> NDArray[np.int32]:
    """Different experts for each token, some of them for many."""
    generator = np.random.default_rng(seed)
    return np.stack([generator.choice(experts, USED, replace=False) for _ in range(tokens)]).astype(np.int32)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("shared", [True, False], ids=["one column for all experts", "a column for each"])
def test_columns_have_the_bits_of_their_expert_alone(kind: ggml_type, shared: bool) -> None:
    weights = weights_of(kind)
    for tokens in (1, 2, 7, 40):
        choices, columns = choices_of(tokens), random(tokens, 1 if shared else USED, WIDTH)
        alone = np.stack(
            [
                [multiply(kind, weights[choice], columns[token, 0 if shared else i][None])[0] for i, choice in enumerate(row)]
                for token, row in enumerate(choices)
            ]
        )
        for threads in (1, 2, 5):
            found = multiply_experts(kind, weights, columns, choices, threads=threads)
            assert found.tobytes() == alone.tobytes()
        found = multiply_experts(kind, weights, columns, choices, kernels=AVX2, threads=2)
        assert found.tobytes() == alone.tobytes()


@pytest.mark.parametrize("kind", KINDS[1:], ids=lambda kind: kind.name)
def test_errors_are_at_most_those_of_upstream(kind: ggml_type) -> None:
    weights, choices, columns = weights_of(kind), choices_of(40), random(40, USED, WIDTH)
    values = dequantize(kind, weights.reshape(EXPERTS * ROWS, -1), WIDTH).reshape(EXPERTS, ROWS, WIDTH)
    exact = np.einsum("tuw,turw->tur", columns.astype(np.float64), values[choices])
    errors = [
        np.sqrt(np.mean((multiply_experts(kind, weights, columns, choices, kernels=kernels, threads=2) - exact) ** 2))
        for kernels in (BEST, UPSTREAM)
    ]
    assert errors[0] <= errors[1] * 1.01


def test_one_expert_for_all_tokens_and_one_that_nobody_chooses() -> None:
    kind = ggml_type.GGML_TYPE_Q4_K
    weights, columns = weights_of(kind), random(33, 1, WIDTH)
    choices = np.full((33, 1), EXPERTS - 1, np.int32)
    expected = multiply(kind, weights[-1], columns[:, 0], threads=2)
    assert multiply_experts(kind, weights, columns, choices, threads=2).tobytes() == expected.tobytes()


def test_what_is_not_finite_stays_in_its_column() -> None:
    kind = ggml_type.GGML_TYPE_MXFP4
    weights, columns, choices = weights_of(kind), random(9, USED, WIDTH), choices_of(9)
    expected = multiply_experts(kind, weights, columns, choices)
    columns[4, 1, 77] = np.inf
    found = multiply_experts(kind, weights, columns, choices, threads=3)
    assert np.isnan(found[4, 1]).all()
    found[4, 1] = expected[4, 1]
    assert found.tobytes() == expected.tobytes()
